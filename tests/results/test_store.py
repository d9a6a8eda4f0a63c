from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pretune.errors import ClaimLost, PretuneError, UsageError
from pretune.results import store
from pretune.results.schema import SCHEMA_VERSION
from pretune.results.store import Study, write_atomically
from support.records import make_record, publish

ITEM = {
    "eval_task": "nli",
    "eval_format": "default",
    "shots": 0,
    "scorer": "sum",
    "item": "7",
    "choices": [" yes", " no"],
    "scores": [-1.0, -2.0],
    "prediction": "yes",
    "gold": "no",
    "value": 0.0,
}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "study")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def test_looking_at_a_study_creates_nothing(study):
    assert study.find_finished("k") is None
    assert not study.is_finished("a")
    assert list(study.finished_runs()) == []
    assert list(study.failures()) == []
    assert not study.root.exists()


def test_published_cell_is_found_by_its_request(study):
    record = make_record(items=[ITEM], facts={"rows": 8})
    work = study.work / record.run_id
    work.mkdir(parents=True)
    (work / "step.ckpt").write_text("x")
    publish(study, record)
    assert study.find_finished(record.request_key) == record.run_id
    assert names(study.runs) == [record.run_id]
    files = ["SHA256SUMS", "config.yaml", "items.parquet", "metrics.parquet", "run.json"]
    assert names(study.run_dir(record.run_id)) == files
    body = study.read_run(record.run_id)
    assert body["status"] == "finished"
    assert body["schema_version"] == SCHEMA_VERSION
    assert (body["id"], body["request_key"], body["facts"]) == (record.identity, record.request_key, {"rows": 8})
    assert study.read_config(record.run_id) == {"seed": 0, "name": "é: #"}
    assert not work.exists()


def test_metrics_and_items_carry_the_run(study):
    record = make_record(items=[ITEM, {**ITEM, "item": "8", "prompt": "p"}])
    publish(study, record)
    (metrics,) = pq.read_table(study.run_dir(record.run_id) / "metrics.parquet").to_pylist()
    assert (metrics["run_id"], metrics["kind"], metrics["value"], metrics["ci_low"]) == (
        record.run_id, "evaluate", 0.5, None,
    )  # fmt: skip
    first, second = pq.read_table(study.run_dir(record.run_id) / "items.parquet").to_pylist()
    assert first == {"run_id": record.run_id, **ITEM, "prompt": None}
    assert second["prompt"] == "p"


def test_model_moves_into_the_run(study):
    record = make_record()
    model = study.work / record.run_id / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_text("weights")
    publish(study, record, model=model)
    assert (study.run_dir(record.run_id) / "model" / "model.safetensors").read_text() == "weights"


@pytest.mark.parametrize("moment", ["dump_yaml", "metrics_frame", "write_items", "flush", "rename"])
def test_publishing_that_breaks_off_leaves_no_run(study, monkeypatch, moment):
    """Whichever write is the last one, no folder appears in the place of the run, and nothing says it is finished."""
    record = make_record(items=[ITEM])

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "rename") if moment == "rename" else (store, moment)), stop)
        with pytest.raises(KeyboardInterrupt):
            publish(study, record)
    assert names(study.runs) == []
    assert names(study.index) == []
    assert study.find_finished(record.request_key) is None
    publish(study, record)
    assert study.find_finished(record.request_key) == record.run_id


def test_folder_left_by_a_killed_process_is_no_run(study):
    left = study.runs / ".evaluate-a-0123456789ab.deadbeef"
    left.mkdir(parents=True)
    (left / "run.json").write_text("{}")
    assert list(study.finished_runs()) == []
    publish(study, make_record())
    assert [path.name for path in study.finished_runs()] == [make_record().run_id]


def test_lost_claim_publishes_nothing(study):
    record = make_record()
    claim, thief = study.claim(record.run_id), study.claim(record.run_id)
    assert claim.try_acquire()
    claim.path.unlink()
    assert thief.try_acquire()
    with pytest.raises(ClaimLost):
        study.publish(record, claim)
    assert names(study.runs) == []
    assert names(study.index) == []
    study.publish(record, thief)
    assert study.is_finished(record.run_id)


def test_second_publication_changes_nothing(study):
    publish(study, make_record())
    before = {
        name: (study.run_dir(make_record().run_id) / name).read_bytes() for name in ("run.json", "metrics.parquet")
    }
    publish(study, make_record(metrics=[{"metric": "accuracy", "value": 0.9}], facts={"second": True}))
    after = {name: (study.run_dir(make_record().run_id) / name).read_bytes() for name in before}
    assert after == before
    assert names(study.runs) == [make_record().run_id]


def test_success_replaces_a_failure(study):
    record = make_record()
    study.record_failure(record.run_id, {"error": "boom", "command": "python train.py"})
    (failure,) = study.failures()
    assert (failure["run_id"], failure["status"], failure["error"]) == (record.run_id, "failed", "boom")
    assert not study.is_finished(record.run_id)
    assert list(study.finished_runs()) == []
    publish(study, record)
    assert list(study.failures()) == []
    assert "failure.json" not in names(study.run_dir(record.run_id))
    assert names(study.runs) == [record.run_id]


def test_later_failure_replaces_an_earlier_one(study):
    for message in ("first", "second"):
        study.record_failure("train-a", {"error": message})
    assert [failure["error"] for failure in study.failures()] == ["second"]
    assert names(study.runs) == ["train-a"]


def test_failure_never_replaces_a_success(study):
    record = make_record()
    publish(study, record)
    study.record_failure(record.run_id, {"error": "late"})
    study.clear_failure(record.run_id)
    assert study.is_finished(record.run_id)
    assert list(study.failures()) == []


def test_clear_failure_removes_only_failures(study):
    study.record_failure("train-a", {"error": "boom"})
    study.clear_failure("train-a")
    study.clear_failure("train-none")
    assert names(study.runs) == []


@pytest.mark.parametrize("body", ["{", "[]", "7"])
def test_damaged_failure_record_is_still_listed(study, body):
    study.record_failure("train-a", {"error": "boom"})
    (study.runs / "train-a" / "failure.json").write_text(body)
    assert list(study.failures()) == [{"run_id": "train-a", "error": "unreadable failure record"}]


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '"text"', '{"run_id": "../outside"}', '{"run_id": "gone"}'])
def test_damaged_or_dangling_index_entry_finds_nothing(study, body):
    record = make_record()
    publish(study, record)
    outside = study.root / "outside"
    outside.mkdir()
    (outside / "run.json").write_text("{}")
    (study.index / f"{record.request_key}.json").write_text(body)
    assert study.find_finished(record.request_key) is None
    study.remember(record.request_key, record.run_id)
    assert study.find_finished(record.request_key) == record.run_id


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff"])
def test_damaged_run_record_is_named(study, body):
    record = make_record()
    publish(study, record)
    (study.run_dir(record.run_id) / "run.json").write_bytes(body)
    with pytest.raises(PretuneError, match=rf"{record.run_id}/run\.json is damaged"):
        study.read_run(record.run_id)


@pytest.mark.parametrize("body", [b"", b"a: [", b"\xff", b"!!python/object/apply:os.getcwd []"])
def test_damaged_configuration_is_named_and_never_builds_objects(study, body):
    record = make_record()
    publish(study, record)
    (study.run_dir(record.run_id) / "config.yaml").write_bytes(body)
    with pytest.raises(PretuneError, match=r"config\.yaml is damaged"):
        study.read_config(record.run_id)


def test_reading_what_is_not_there_is_an_error_of_use(study):
    for read in (study.read_run, study.read_config):
        with pytest.raises(UsageError, match="run=train-none: no finished run"):
            read("train-none")


def test_find_run_by_a_unique_prefix(study):
    ids = ["train-a-000000000001", "train-a-000000000002", "train-b-000000000003"]
    for run_id in ids:
        publish(study, make_record(run_id))
    study.record_failure("train-b-failed", {"error": "boom"})
    assert study.find_run(ids[0]) == ids[0]
    assert study.find_run("train-b") == ids[2]
    with pytest.raises(
        UsageError, match=rf"not unique; 2 runs begin so; did you mean one of these in .*runs.\n  {ids[0]}\n  {ids[1]}$"
    ):
        study.find_run("train-a")
    with pytest.raises(UsageError, match=r"no finished run begins so; did you mean one of these in .*runs.\n  train-a"):
        study.find_run("train-aa-0000000001")


def test_a_run_whose_name_begins_another_is_found_by_its_whole_name(study):
    for run_id in ("train-a-0", "train-a-00"):
        publish(study, make_record(run_id))
    assert study.find_run("train-a-0") == "train-a-0"


def test_misspelt_metric_column_is_refused(study):
    with pytest.raises(ValueError, match="acuracy"):
        publish(study, make_record(metrics=[{"acuracy": 1.0}]))
    assert names(study.runs) == []


def test_atomic_write_keeps_the_old_file_when_it_breaks_off(tmp_path, monkeypatch):
    target = tmp_path / "file.json"
    write_atomically(target, b"old")

    def stop(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file.json"]


def test_run_record_is_json_for_any_value(study):
    record = make_record(facts={"path": Path("/x"), "name": "é"})
    publish(study, record)
    text = (study.run_dir(record.run_id) / "run.json").read_text()
    assert json.loads(text)["facts"] == {"path": "/x", "name": "é"}
