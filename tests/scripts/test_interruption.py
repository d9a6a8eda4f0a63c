"""Killed in the middle: the next run goes on, and nobody can tell from the numbers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pandas as pd

from support.commands import start, wait_until
from support.studies import SMALL, Place, lines_with, make_place, values

LONG = (
    *SMALL,
    "task=pico/paraphrase",
    "task.train_rows=500",
    "task.validation_rows=8",
    "eval.relations=[validation,in_domain]",
    "checkpoint.step=8",
    "optimizer.lr=1e-3",
    "trainer.save_seconds=0.05",
)


def test_a_killed_training_goes_on_and_gives_the_same_numbers(place: Place, tmp_path: Path) -> None:
    undisturbed = make_place(tmp_path / "undisturbed", place.cache)
    assert undisturbed.train(*LONG).done == (1, 4)

    running = start("train.py", *place.arguments(*LONG), cwd=place.cwd)
    saved = wait_until(lambda: any(place.study.glob("work/*/step.ckpt")) or not running.is_running())
    os.kill(running.pid, signal.SIGSTOP)
    watched = place.train(*LONG, "mode=status")
    running.kill()
    assert saved
    assert lines_with(watched.out, "1 running"), watched.text
    assert lines_with(watched.out, "train pico-step8", f"process {running.pid} on")
    assert not lines_with(place.train(*LONG, "mode=status").out, "running"), "nobody works on it any more"
    assert place.runs("train-*") == [], "the training was over before it could be killed"
    assert list(place.study.glob("work/*/step.ckpt"))

    result = place.train(*LONG)
    assert result.status == 0, result.text
    assert result.done[0] == 1
    (folder,), (twin,) = place.runs("train-*"), undisturbed.runs("train-*")
    assert folder.name == twin.name
    record, known = (json.loads((path / "run.json").read_text()) for path in (folder, twin))
    assert 0 < record["provenance"]["resumed_at"] < record["facts"]["optimizer_steps"]
    assert known["provenance"]["resumed_at"] == 0
    assert record["facts"] == known["facts"]
    pd.testing.assert_frame_equal(values(place.study), values(undisturbed.study), check_exact=True)
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (folder, twin)]
    assert weights[0] == weights[1]
    left = [path for name in ("claims", "work") for path in (place.study / name).rglob("*") if path.is_file()]
    assert left == []


def test_sigterm_saves_at_once_and_asks_to_be_resumed(place: Place, tmp_path: Path) -> None:
    """No step checkpoint is due, so the one that is found was written because of the signal."""
    seldom = [*LONG[:-1], "trainer.save_seconds=3600"]
    for patience in (0.5, 1.0, 2.0, 4.0):  # before its first step a training has nothing to save
        running = start("train.py", *place.arguments(*seldom), cwd=place.cwd)
        assert wait_until(lambda: any(place.study.glob("work/train-*")) or not running.is_running())  # noqa: B023
        time.sleep(patience)
        os.kill(running.pid, signal.SIGTERM)
        result = running.wait()
        assert result.status == 75, result.text
        assert "stopped by SIGTERM; the same command goes on where this one stopped" in result.err
        assert "Traceback" not in result.text
        assert place.failures() == []
        if any(place.study.glob("work/*/step.ckpt")):
            break
    (saved,) = place.study.glob("work/*/step.ckpt")
    assert [path for path in (place.study / "claims").rglob("*") if path.is_file()] == []

    again = place.train(*seldom)
    assert again.status == 0, again.text
    assert not saved.exists()
    (folder,) = place.runs("train-*")
    assert json.loads((folder / "run.json").read_text())["provenance"]["resumed_at"] > 0


def test_ctrl_c_in_training_says_so_and_ends_with_its_own_status(place: Place) -> None:
    running = start("train.py", *place.arguments(*LONG), cwd=place.cwd, fresh=True)
    assert wait_until(lambda: any(place.study.glob("work/*/step.ckpt")) or not running.is_running())
    os.killpg(running.pid, signal.SIGINT)
    result = running.wait()
    assert result.status == 130, result.text
    assert "interrupted; the same command goes on" in result.err
    assert "Traceback" not in result.text
    assert place.runs("train-*") == []
    assert place.failures() == []
