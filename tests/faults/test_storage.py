"""A full disk, a read-only folder, a folder that vanishes: one message, nothing damaged, later the command goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pretune.results import load
from support.commands import ROOT, Result, Running, environment, start, wait_until
from support.studies import CELL, LADDER, SMALL, Place, make_place, values

LIMITED = str(ROOT / "tests" / "faults" / "limited.py")
WORDS = (*CELL, "checkpoint.step=8", "optimizer.lr=1e-3")
LONG = (
    *SMALL, "task=pico/paraphrase", "task.train_rows=500", "task.validation_rows=8", "eval.relations=[in_domain]",
    "checkpoint.step=8", "optimizer.lr=1e-3", "trainer.save_seconds=0.05",
)  # fmt: skip


def begin(place: Place, script: str, *words: str, **limits: object) -> Running:
    """Start a script under limits (see ``limited.py``)."""
    given = {f"FAULTS_{name.upper()}": str(value) for name, value in limits.items()}
    arguments = [*words, f"study_dir={place.study}"]
    if script != "report.py":
        arguments.append(f"cache_dir={place.cache}")
    env = environment(place.cwd.parent, **given)
    return start(LIMITED, script, *arguments, cwd=place.cwd, env=env)


def limited(place: Place, script: str, *words: str, **limits: object) -> Result:
    return begin(place, script, *words, **limits).wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    there = make_place(tmp_path_factory.mktemp("undisturbed"), cache)
    for words in (WORDS, LONG):
        result = there.train(*words)
        assert result.status == 0, result.text
    return there


def message(result: Result) -> str:
    """The one message of a command that failed."""
    assert result.status == 1, result.text
    assert "Traceback" not in result.text
    errors = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, result.err
    return errors[0]


def check_mended(place: Place, undisturbed: Place, before: pd.DataFrame) -> None:
    """The same command completes, what was finished before is still there, and the numbers are those undisturbed."""
    result = place.train(*WORDS)
    assert result.status == 0, result.text
    table, twin = load(place.study), load(undisturbed.study)
    pd.testing.assert_frame_equal(table[table["run_id"].isin(before["run_id"])], before, check_exact=True)
    mine = twin[twin["run_id"].isin(table["run_id"])]
    assert set(table["run_id"]) == set(mine["run_id"])
    pd.testing.assert_frame_equal(
        table.sort_values("run_id", ignore_index=True, kind="stable"),
        mine.sort_values("run_id", ignore_index=True, kind="stable"),
        check_exact=True,
    )
    left = [path for name in ("claims", "work") for path in (place.study / name).rglob("*") if path.is_file()]
    assert left + list((place.study / "runs").glob(".*")) + place.failures() == []


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"largest_file": 60_000}, "File too large"),
        ({"sync_error": errno.ENOSPC}, "No space left on device"),
        pytest.param({"sync_error": errno.EDQUOT}, "Disk quota exceeded", marks=pytest.mark.faults),
        pytest.param({"sync_error": errno.EROFS}, "Read-only file system", marks=pytest.mark.faults),
    ],
    ids=["small", "full", "quota", "read-only"],
)
def test_a_full_disk_ends_the_command_with_one_message(
    place: Place, undisturbed: Place, limits: dict[str, int], said: str
) -> None:
    evaluated = place.evaluate(*SMALL, "task=pico/nli", "checkpoint.step=8")
    assert evaluated.status == 0, evaluated.text
    before = load(place.study)
    text = message(limited(place, "train.py", *WORDS, **limits))
    assert said in text
    assert "Finished cells are intact; the same command goes on where this one stopped once" in text
    assert place.runs("train-*") == []
    assert place.failures() == []
    check_mended(place, undisturbed, before)


def test_a_disk_that_is_full_while_a_ladder_is_built(tmp_path: Path, undisturbed: Place) -> None:
    place = make_place(tmp_path, tmp_path / "cache")
    text = message(limited(place, "train.py", *WORDS, largest_file=20_000))
    assert "File too large" in text
    result = place.train(*WORDS)
    assert result.status == 0, result.text
    check_mended(place, undisturbed, load(place.study))


def set_writable(folder: Path, writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755 if writable else 0o555)


def test_a_read_only_study_is_read_and_not_written(place: Place, undisturbed: Place) -> None:
    words = (*SMALL, "task=pico/nli", "checkpoint.step=8")
    assert place.evaluate(*words).status == 0
    before = load(place.study)
    (place.study / "report").mkdir()
    set_writable(place.study, False)
    try:
        assert limited(place, "train.py", *WORDS, unprivileged=1).status == 2  # found before anything is started
        refused = limited(place, "report.py", unprivileged=1)
        assert (refused.status, f"{place.study} is not writable" in refused.err) == (2, True), refused.text
        place.study.chmod(0o755)  # only what lies in it cannot be written, which is noticed later
        text = message(limited(place, "train.py", *WORDS, unprivileged=1))
        assert str(place.study) in text
        assert "Permission denied" in text
        assert str(place.study / "report") in message(limited(place, "report.py", unprivileged=1))
    finally:
        set_writable(place.study, True)
    pd.testing.assert_frame_equal(load(place.study), before, check_exact=True)
    check_mended(place, undisturbed, before)


@pytest.mark.parametrize("how", ["moved", pytest.param("deleted", marks=pytest.mark.faults)])
def test_a_study_that_vanishes_ends_the_command_and_is_not_begun_anew(
    place: Place, undisturbed: Place, tmp_path: Path, how: str
) -> None:
    running = begin(place, "train.py", *LONG)
    assert wait_until(lambda: any(place.study.glob("work/*/step.ckpt")) or not running.is_running())
    aside = tmp_path / "aside"
    os.rename(place.study, aside)
    if how == "deleted":
        shutil.rmtree(aside)
    text = message(running.wait())
    assert f"the study folder {place.study} was deleted, moved or replaced while this command ran" in text
    assert not place.study.exists(), list(place.study.rglob("*"))
    if how == "moved":
        os.rename(aside, place.study)
    result = place.train(*LONG)
    assert result.status == 0, result.text
    (run,) = place.runs("train-*")
    assert (json.loads((run / "run.json").read_text())["provenance"]["resumed_at"] > 0) == (how == "moved")
    mine, twin = values(place.study), values(undisturbed.study)
    tasks = mine["eval_task"].unique()
    assert "pico/paraphrase" in tasks
    pd.testing.assert_frame_equal(
        mine[mine["eval_task"] == "pico/paraphrase"].reset_index(drop=True),
        twin[twin["eval_task"] == "pico/paraphrase"].reset_index(drop=True),
        check_exact=True,
    )


def test_a_read_only_cache_is_no_obstacle_once_it_is_filled(place: Place, undisturbed: Place) -> None:
    set_writable(place.cache, False)
    try:
        result = limited(place, "evaluate.py", *LADDER, "trainer=fp32", "logger=none", "eval.limit=8",
                         "task=pico/nli", "checkpoint.step=4", unprivileged=1)  # fmt: skip
    finally:
        set_writable(place.cache, True)
    assert result.status == 0, result.text
