"""A finished run is known by its content: whatever bit of it changes, it is named, set aside and made again."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.errors import DamagedFile
from pretune.results import load, store
from pretune.results.checksums import NAME, find_damaged, read_sums, write_sums
from pretune.results.store import Study, read_checked
from support.records import make_record, publish

ITEM = {"eval_task": "nli", "scorer": "sum", "item": "7", "choices": ["a"], "scores": [-1.0], "value": 0.0}
FILES = ("run.json", "config.yaml", "metrics.parquet", "items.parquet", NAME)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = Study(tmp_path / "study")
    publish(found, make_record(items=[ITEM]))
    return found


def fresh(study: Study) -> Study:
    """The study as another process sees it."""
    return Study(study.root)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_run_is_named_and_not_finished_and_is_made_again(
    study: Study, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    record = make_record(items=[ITEM])
    path = study.run_dir(record.run_id) / name
    content = path.read_bytes()
    other = {
        "flip": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        "truncate": content[: len(content) // 2],
        "empty": b"",
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(other[damage])
    if (name, damage) == (NAME, "missing"):
        assert fresh(study).is_finished(record.run_id)  # as a run of a version that wrote none
        return
    again = fresh(study)
    assert again.find_finished(record.request_key) is None
    assert again.find_finished(record.request_key) is None
    if (name, damage) != ("run.json", "missing"):  # a folder without it is no run
        (said,) = caplog.messages
        assert str(path.parent) in said
        assert "damaged" in said
        assert len(load(study.root)) == (0 if name == "metrics.parquet" or damage != "flip" and name == NAME else 1)
    publish(again, record)
    assert fresh(study).find_finished(record.request_key) == record.run_id
    assert again.find_finished(record.request_key) == record.run_id
    if (name, damage) != ("run.json", "missing"):
        (aside,) = study.damaged.iterdir()
        assert aside.name.startswith(record.run_id)
        assert "set aside" in caplog.text


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), name=st.sampled_from(FILES[:-1]))
def test_any_bit_that_changes_is_noticed(study: Study, where: float, bit: int, name: str) -> None:
    path = study.run_dir(make_record().run_id) / name
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        assert not fresh(study).is_finished(make_record().run_id)
        with pytest.raises(DamagedFile, match=f"{name} is damaged"):
            read_checked(path)
    finally:
        path.write_bytes(original)
    assert fresh(study).is_finished(make_record().run_id)


def test_run_of_a_version_without_checksums_is_read_as_before(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    folder = study.run_dir(make_record().run_id)
    (folder / NAME).unlink()
    assert len(load(study.root)) == 1
    assert fresh(study).is_finished(folder.name)
    (folder / "run.json").write_text("{")
    caplog.set_level(logging.WARNING)
    assert not fresh(study).is_finished(folder.name)
    assert f"{folder / 'run.json'} is damaged" in caplog.text


def test_many_items_are_compared_only_when_they_are_read(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study.run_dir(make_record().run_id) / "items.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"?" + content[-8:])
    monkeypatch.setattr(store, "SMALL", 100)
    assert fresh(study).is_finished(make_record().run_id)
    with pytest.raises(DamagedFile, match=r"items\.parquet is damaged .*; delete its folder and run its command again"):
        read_checked(path)


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a b").write_bytes(b"1")
    (tmp_path / "deep" / "é").write_bytes(b"2")
    write_sums(tmp_path)
    assert set(read_sums(tmp_path) or {}) == {"a b", "deep/é"}
    subprocess.run(["sha256sum", "--check", "--strict", NAME], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "a b").write_bytes(b"3")
    assert find_damaged(tmp_path, read_sums(tmp_path) or {}) == [tmp_path / "a b"]
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["sha256sum", "--check", "--strict", NAME], cwd=tmp_path, check=True, capture_output=True)


def test_weights_that_were_not_kept_are_no_damage(study: Study) -> None:
    record = make_record("train-a-0123456789ab", request_key="t" * 64)
    model = study.work / record.run_id / "model-1"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    publish(study, record, model=model)
    kept = study.run_dir(record.run_id) / "model" / "model.safetensors"
    assert "model/model.safetensors" in (read_sums(study.run_dir(record.run_id)) or {})
    kept.unlink()
    assert fresh(study).is_finished(record.run_id)
