"""The compacted file is a copy that may be old, damaged or half-written: the table is the same with and without."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pretune.results import compact, compaction, load
from pretune.results.store import Study
from pretune.results.table import compact_when_due
from support.crashing import kill_at_each_change
from support.records import make_record, publish


def add(study: Study, number: int, value: float = 0.5) -> str:
    rows = [{"eval_task": "nli", "metric": name, "value": value, "n": number} for name in ("b", "a")]
    record = make_record(f"evaluate-{number:02d}-0123456789ab", request_key=f"{number}" * 32, metrics=rows)
    publish(study, record)
    return record.run_id


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = Study(tmp_path / "study")
    for number in (1, 3, 5):
        add(found, number)
    return found


def read_alone(study: Study) -> pd.DataFrame:
    """The table without the compacted file."""
    twin = Path(f"{study.root}-alone")
    shutil.copytree(study.root, twin, ignore=shutil.ignore_patterns("compacted"))
    try:
        return load(twin)
    finally:
        shutil.rmtree(twin)


def check(study: Study) -> pd.DataFrame:
    table = load(study.root)
    pd.testing.assert_frame_equal(table, read_alone(study), check_exact=True)
    return table


def read_runs(study: Study, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which runs' own files a load reads."""
    from pretune.results import table

    read, real = [], table.read_checked
    with monkeypatch.context() as patch:
        patch.setattr(table, "read_checked", lambda path: (read.append(path.parent.name), real(path))[1])
        load(study.root)
    return read


def test_copied_runs_are_not_read_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compact(study.root)
    assert path is not None
    assert read_runs(study, monkeypatch) == []
    check(study)
    newer = [add(study, number) for number in (0, 2, 4)]
    assert read_runs(study, monkeypatch) == newer
    assert len(check(study)) == 12
    assert compact(study.root) != path
    assert len(list(path.parent.iterdir())) == 1
    assert read_runs(study, monkeypatch) == []
    check(study)


def test_run_that_was_made_again_or_removed_is_not_taken_from_the_copy(study: Study) -> None:
    compact(study.root)
    first, second, _ = sorted(path.name for path in study.runs.iterdir())
    shutil.rmtree(study.runs / first)
    shutil.rmtree(study.runs / second)
    add(study, 3, value=0.75)
    table = check(study)
    assert sorted(table["value"]) == [0.5, 0.5, 0.75, 0.75]


def test_file_that_was_damaged_after_the_copy_is_left_out(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    compact(study.root)
    run = sorted(study.runs.iterdir())[0]
    path = run / "metrics.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert run.name not in set(load(study.root)["run_id"])
    assert f"left out {path}" in caplog.text


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "renamed", "rubbish"])
def test_damaged_copy_is_not_used(study: Study, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    path = compact(study.root)
    assert path is not None
    content = path.read_bytes()
    if damage == "renamed":
        path = path.rename(path.with_name(f"metrics-{'0' * 32}.parquet"))
    else:
        at = len(content) // 2
        other = {"flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], "truncate": content[:at]}
        path.write_bytes(other.get(damage, b"" if damage == "empty" else b"PAR1rubbishPAR1"))
    check(study)
    assert f"{path} is damaged" in caplog.text


def test_copy_of_a_version_with_other_columns_is_not_used(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "FOLDER", "__other__")
        from pretune.results import table

        patch.setattr(table, "FOLDER", "__other__")
        compact(study.root)
    check(study)
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "SCHEMA_VERSION", 0)
        compact(study.root)
    check(study)


def test_empty_study_has_nothing_to_copy(tmp_path: Path) -> None:
    assert compact(tmp_path / "none") is None
    compact_when_due(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_it_is_written_when_many_runs_are_outside(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    compact_when_due(study.root)
    assert not (study.root / "compacted").exists()
    monkeypatch.setattr(compaction, "WORTHWHILE", 3)
    compact_when_due(study.root)
    (path,) = (study.root / "compacted").iterdir()
    add(study, 7)
    compact_when_due(study.root)
    assert list((study.root / "compacted").iterdir()) == [path]


def test_study_that_cannot_be_written_is_read_all_the_same(
    study: Study, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compaction, "WORTHWHILE", 1)
    (study.root / "compacted").write_text("a file where a folder should be")
    compact_when_due(study.root)
    assert "could not be copied into one file" in caplog.text
    check(study)


def test_compaction_that_is_killed_at_any_point_changes_no_table(study: Study) -> None:
    """Of a first file, and of one that replaces another; what was left behind is removed by the next one."""
    folder = study.root / "compacted"
    for round_ in range(2):
        kills = 0
        for _ in kill_at_each_change(lambda: compact(study.root)):
            kills += 1
            check(study)
        assert kills >= 3
        assert [path.suffix for path in folder.iterdir()] == [".parquet"]
        check(study)
        add(study, 6 + round_)


def test_publication_that_is_killed_at_any_point_is_whole_or_absent(study: Study) -> None:
    record = make_record("train-a-0123456789ab", request_key="t" * 64)
    model = study.work / record.run_id / "model-1"

    def work() -> None:
        model.mkdir(parents=True, exist_ok=True)
        (model / "model.safetensors").write_bytes(b"weights")
        claim = study.claim(record.run_id)
        if not claim.try_acquire():
            claim.path.unlink()  # of a process that is dead
            assert claim.try_acquire()
        study.tidy(record.run_id)
        if study.is_finished(record.run_id):
            study.remember(record.request_key, record.run_id)
        else:
            study.publish(record, claim, model=model)
        claim.release()

    inodes = set()
    kills = 0
    for _ in kill_at_each_change(work):
        kills += 1
        study = Study(study.root)
        check(study)
        if study.is_finished(record.run_id):
            assert (study.run_dir(record.run_id) / "model" / "model.safetensors").read_bytes() == b"weights"
            inodes.add(os.stat(study.run_dir(record.run_id)).st_ino)
    assert kills >= 10
    assert len(inodes) == 1
    study = Study(study.root)
    assert study.find_finished(record.request_key) == record.run_id
    study.sweep(age=0)
    left = [path for name in ("claims", "work") for path in (study.root / name).rglob("*")]
    assert left + list(study.runs.glob(".*")) + list(study.index.glob(".*")) == []
