"""Cells that fail: what is recorded, what goes on, how it ends, and how it is mended."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from support.studies import CELL, Place, lines_with, make_place

ROWS = [
    {"premise": f"a robin is in the {place} .", "hypothesis": "a bird is there .", "label": str(number % 3)}
    for number, place in enumerate(["garden", "kitchen", "street", "forest"] * 8)
]
LOCAL = [word for word in CELL if not word.startswith("task=")]


def write_rows(folder: Path, *, without: str | None = None) -> Path:
    """A folder with rows of its own; one column may be missing from the training rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        kept = [
            {key: value for key, value in row.items() if split == "test" or key != without} | {"id": str(number)}
            for number, row in enumerate(ROWS)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """A sweep over two folders of rows: the first lacks a column in its training rows."""
    folder = tmp_path_factory.mktemp("broken")
    there = make_place(folder, cache)
    bad, good = write_rows(folder / "bad", without="hypothesis"), write_rows(folder / "good")
    words = (*LOCAL, "task=pico/nli", "task.source=path", "checkpoint.step=8", f"task.path={bad},{good}")
    there.results.append(there.train("-m", *words, "optimizer.lr=1e-3,1e-4"))
    return there


def test_the_other_cells_finish_and_the_status_is_one(broken: Place) -> None:
    (result,) = broken.results
    assert result.status == 1, result.text
    assert len(broken.runs("train-*")) == 2  # those of the good folder
    assert result.done[0] == 2
    assert "2 failed" in result.out
    assert "2 could not be made after a failed training" in result.out
    assert "Traceback" not in result.text


def test_every_failure_is_listed_at_the_end_with_its_reason_record_and_retry(broken: Place) -> None:
    (result,) = broken.results
    listed = result.err.split("Failed:")[1]
    assert len(lines_with(listed, "hypothesis")) == 2
    assert len(lines_with(listed, "retry:", "python train.py")) == 2
    records = [line.split("record:")[1].strip() for line in lines_with(listed, "record:")]
    assert sorted(records) == [str(path) for path in broken.failures()]


def test_a_failure_record_holds_traceback_request_and_the_command_to_retry(broken: Place) -> None:
    assert len(broken.failures()) == 2
    for path in broken.failures():
        record = json.loads(path.read_text())
        assert record["kind"] == "train"
        assert record["status"] == "failed"
        assert "hypothesis" in record["error"]
        assert "Traceback (most recent call last)" in record["traceback"]
        assert record["request"]["kind"] == "train"
        words = shlex.split(record["retry"])
        assert words[:2] == ["python", "train.py"]
        assert "-m" not in words
        assert len([word for word in words if word.startswith("task.path=")]) == 1
        assert not (path.parent / "run.json").exists()


def test_the_command_to_retry_runs_exactly_the_failed_cell(broken: Place, tmp_path: Path) -> None:
    there = make_place(tmp_path, broken.cache, copy_of=broken.study)
    words = shlex.split(json.loads(there.failures()[0].read_text())["retry"])[2:]
    kept = [word for word in words if not word.startswith(("study_dir=", "cache_dir="))]
    result = there.train(*kept)
    assert result.status == 1
    assert len(lines_with(result.err, "record:")) == 1


def test_after_mending_the_same_command_completes_and_the_record_is_gone(tmp_path: Path, cache: Path) -> None:
    there = make_place(tmp_path, cache)
    rows = write_rows(tmp_path / "rows", without="label")
    words = (*LOCAL, "task=pico/nli", "task.source=path", f"task.path={rows}", "checkpoint.step=8", "optimizer.lr=1e-3")
    assert there.train(*words).status == 1
    assert len(there.failures()) == 1
    write_rows(rows)
    result = there.train(*words)
    assert result.status == 0, result.text
    assert result.done[0] == 1
    assert there.failures() == []


def test_a_failure_of_the_surroundings_is_mended_too(tmp_path: Path, grid: Place) -> None:
    cache = tmp_path / "cache"
    there = make_place(tmp_path, cache)
    cache.mkdir()
    (cache / "ladders").write_text("a file where a folder should be")
    words = (*CELL, "checkpoint.step=8", "optimizer.lr=1e-3")
    result = there.train(*words)
    assert result.status == 1
    assert str(cache) in result.err
    assert len(there.failures()) == 2  # base evaluation and training
    shutil.rmtree(cache)
    shutil.copytree(grid.cache, cache)
    again = there.train(*words)
    assert again.status == 0, again.text
    assert again.done == (1, 2)
    assert there.failures() == []


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    there = make_place(tmp_path_factory.mktemp("diverged"), cache)
    there.results.append(there.train("-m", *CELL, "checkpoint.step=8", "optimizer.lr=1e30,1e-3,1e29"))
    return there


def test_a_training_that_diverges_fails_alone(diverged: Place) -> None:
    (result,) = diverged.results
    assert result.status == 1
    assert result.done == (1, 2)
    assert len(diverged.failures()) == 2
    for path in diverged.failures():
        assert "TrainingDiverged" in json.loads(path.read_text())["error"]
    rows = lines_with(result.out, "pico/nli")
    assert ["failed" in row for row in rows] == [True, False, True]


def test_the_cell_after_a_diverged_training_starts_from_clean_weights(diverged: Place, grid: Place) -> None:
    (after,) = diverged.runs("train-*lr0.001*")
    twin = grid.study / "runs" / after.name
    loss = [json.loads((path / "run.json").read_text())["facts"]["train_loss"] for path in (after, twin)]
    assert loss[0] == loss[1]


def test_fail_fast_stops_at_the_first_failure(place: Place) -> None:
    result = place.train("-m", *CELL, "checkpoint.step=8", "optimizer.lr=1e30,1e-3,1e29", "fail_fast=true")
    assert result.status == 1
    assert len(place.failures()) == 1
    assert place.runs("train-*") == []


def test_a_launchers_chunks_report_all_failures_together(place: Place) -> None:
    result = place.train(
        "-m", *CELL, "checkpoint.step=8", "optimizer.lr=1e30,1e-3,1e29", "hydra.sweeper.chunk_size=1"
    )  # fmt: skip
    assert result.status == 1, result.text
    assert result.done == (1, 2)
    listed = result.err.split("Failed:")[1]
    assert len(lines_with(listed, "record:")) == 2
