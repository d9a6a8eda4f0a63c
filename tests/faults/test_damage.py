"""Files that change on the disk, met by real commands: named, set aside, made again, never used."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from support.studies import CELL, SMALL, Place, lines_with, make_place, values

WORDS = (*CELL, "checkpoint.step=8", "optimizer.lr=1e-3")
MORE = (*WORDS, "eval.shots=[0,2]")
"""Evaluations of the trained weights that are missing after the first command."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("finished")
    there = make_place(folder, folder / "cache")
    result = there.train(*WORDS)
    assert result.status == 0, result.text
    there.results.append(there.evaluate(*SMALL, "task=pico/nli", "shots=2", "checkpoint.step=4"))
    assert there.results[0].status == 0, there.results[0].text
    return there


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory, finished: Place) -> Place:
    there = make_place(tmp_path_factory.mktemp("complete"), finished.cache, copy_of=finished.study)
    result = there.train(*MORE)
    assert (result.status, result.done) == (0, (0, 2)), result.text
    return there


@pytest.fixture
def place(tmp_path: Path, finished: Place) -> Place:
    """A copy of the finished study and of its cache, to be damaged."""
    shutil.copytree(finished.cache, tmp_path / "cache")
    return make_place(tmp_path, tmp_path / "cache", copy_of=finished.study)


def flip(path: Path, share: float = 0.9) -> bytes:
    """Change one bit of a file; return what it held."""
    content = path.read_bytes()
    at = int(len(content) * share)
    path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
    return content


def cut(path: Path) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    return content


@pytest.mark.parametrize("damage", [flip, pytest.param(cut, marks=pytest.mark.faults)])
def test_damaged_fine_tuned_weights_are_trained_again(place: Place, complete: Place, damage) -> None:
    (folder,) = place.runs("train-*")
    before = damage(folder / "model" / "model.safetensors")
    result = place.train(*MORE)
    assert result.status == 0, result.text
    assert lines_with(result.err, folder.name, "was damaged: set aside as", str(place.study / "damaged"))
    assert (folder / "model" / "model.safetensors").read_bytes() == before
    pd.testing.assert_frame_equal(values(place.study), values(complete.study), check_exact=True)


def test_an_evaluation_alone_says_what_trains_them_again(place: Place) -> None:
    (folder,) = place.runs("train-*")
    flip(folder / "model" / "model.safetensors")
    result = place.evaluate(f"run={folder.name}", "trainer=fp32", "logger=none", "eval.limit=8", "task=pico/choice")
    assert result.status == 1, result.text
    assert f"{folder / 'model' / 'model.safetensors'}: damaged" in result.err
    assert "set aside: run its train.py command again" in result.err
    assert place.runs("train-*") == []
    assert "Traceback" not in result.text


@pytest.mark.parametrize("damage", [flip, pytest.param(cut, marks=pytest.mark.faults)])
def test_a_damaged_checkpoint_of_a_ladder_is_trained_again(place: Place, finished: Place, damage) -> None:
    (rung,) = place.cache.glob("ladders/*/step4/model.safetensors")
    others = {path: path.stat().st_mtime_ns for path in place.cache.glob("ladders/*/step[08]/*")}
    before = damage(rung)
    result = place.evaluate(*SMALL, "task=pico/nli", "checkpoint.step=4")
    assert result.status == 0, result.text
    assert lines_with(result.err, "step4 was damaged: set aside as")
    assert rung.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert len(list(place.cache.glob("ladders/*/damaged-step4-*"))) == 1


def test_a_damaged_ladder_in_a_folder_of_the_users_is_left_alone(place: Place) -> None:
    (rung,) = place.cache.glob("ladders/*/step4/model.safetensors")
    ladder = rung.parents[1]
    flip(rung)
    words = ("checkpoint=ladder", f"checkpoint.path={ladder}", "trainer=fp32", "logger=none", "eval.limit=8")
    result = place.evaluate(*words, "task=pico/choice", "checkpoint.step=4")
    assert result.status == 1, result.text
    assert lines_with(result.err, f"{rung}: damaged")
    assert rung.exists()
    assert (ladder / "ladder.json").exists()


@pytest.mark.parametrize("name", ["run.json", pytest.param("metrics.parquet", marks=pytest.mark.faults)])
@pytest.mark.parametrize("kind", ["evaluate-*step8-on", "train-"])
def test_a_damaged_record_is_made_again_and_the_report_does_without(
    place: Place, finished: Place, name: str, kind: str
) -> None:
    folder = place.runs(f"{kind}*")[0]
    (cut if kind == "train-" else flip)(folder / name)
    report = place.report()
    assert report.status == 0, report.text
    if (name, kind) != ("run.json", "train-"):  # which the report does not need
        assert lines_with(report.err, str(folder / name), "damaged")
    result = place.train(*WORDS)
    assert result.status == 0, result.text
    assert lines_with(result.err, str(folder / name), "is damaged")
    assert sum(result.done) == 1
    assert [path.name.split(".")[0] for path in (place.study / "damaged").iterdir()] == [folder.name.split(".")[0]]
    pd.testing.assert_frame_equal(values(place.study), values(finished.study), check_exact=True)
    again = place.train(*WORDS)
    assert "Nothing to do" in again.out
