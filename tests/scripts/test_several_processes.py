"""``trainer=ddp``: several processes in one cell, started by the command itself, give what one process gives."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from support.commands import Running, start, wait_until
from support.studies import NLI, Place, make_place, values

RELATIONS = "eval.relations=[validation,in_domain,pretraining]"
CELL = (*NLI, RELATIONS, "checkpoint.step=8", "optimizer.lr=1e-3")
TWO = ("trainer=ddp", "trainer.precision=32-true", "trainer.devices=2")
LONG = (*CELL, *TWO, "eval.relations=[in_domain]", "task.train_rows=500", "trainer.save_seconds=0.05")


def children_of(parent: int) -> list[int]:
    """Process ids, in order, of what a process started and what has not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if int(owner) == parent and state != "Z":
            found.append(int(folder.name))
    return sorted(found)


def members_of(command: Running) -> list[int]:
    """The processes that compute for a command, in the order of their ranks: its fork server's children."""
    return [member for child in children_of(command.pid) for member in children_of(child)]


def has_ended(pid: int) -> bool:
    stat = Path("/proc", str(pid), "stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def items_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "items.parquet")


def assert_same_results(found: Sequence[Path], expected: Sequence[Path]) -> None:
    """Scores within 1e-5 · max(1, |score|), predictions equal, items in the same order."""
    assert [folder.name for folder in found] == [folder.name for folder in expected]
    for one, other in zip(found, expected, strict=True):
        ours, theirs = items_of(one), items_of(other)
        same = [name for name in theirs.columns if name not in ("scores", "value")]
        pd.testing.assert_frame_equal(ours[same], theirs[same])
        known = np.concatenate(theirs["scores"].to_list())
        difference = np.abs(np.concatenate(ours["scores"].to_list()) - known)
        assert (difference <= 1e-5 * np.maximum(1, np.abs(known))).all()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """A sweep of two trainings, each computed by two processes."""
    there = make_place(tmp_path_factory.mktemp("two"), cache)
    there.results.append(there.train("-m", *CELL, *TWO, "optimizer.lr=1e-4,1e-3", "logger=csv"))
    assert there.results[0].status == 0, there.results[0].text
    return there


def test_two_processes_train_and_evaluate_to_the_numbers_of_one(two: Place, place: Place) -> None:
    result = place.train("-m", *CELL, "optimizer.lr=1e-4,1e-3")
    assert result.done == two.results[0].done == (2, 9)
    assert_same_results(two.runs("evaluate-*"), place.runs("evaluate-*"))
    for found, expected in zip(two.runs("train-*"), place.runs("train-*"), strict=True):
        ours, theirs = (json.loads((folder / "run.json").read_text()) for folder in (found, expected))
        assert (ours["provenance"]["machine"]["processes"], theirs["provenance"]["machine"]["processes"]) == (2, 1)
        for name in ("train_loss", "validation_losses"):
            assert ours["facts"][name] == pytest.approx(theirs["facts"][name], rel=1e-5)
        assert ours["id"] == theirs["id"]
        assert (found / "model" / "model.safetensors").is_file()
    table, known = values(two.study), values(place.study)
    assert table["value"].to_numpy() == pytest.approx(known["value"].to_numpy(), rel=1e-4, nan_ok=True)


def test_the_first_process_alone_writes_and_logs(two: Place) -> None:
    assert two.failures() == []
    left = [path for name in ("claims", "work") for path in (two.study / name).rglob("*") if path.is_file()]
    assert left == []
    logged = [pd.read_csv(path) for path in two.study.rglob("steps.csv")]
    histories = [table for table in logged if "train/loss" in table]  # the sweep's own run has none
    steps = [history["trainer/step"][history["train/loss"].notna()].tolist() for history in histories]
    assert steps == [list(range(1, 13))] * 2
    assert two.train("-m", *CELL, *TWO, "optimizer.lr=1e-4,1e-3").done == (0, 0)


def test_processes_that_die_and_commands_that_are_stopped_or_killed(place: Place, tmp_path: Path) -> None:
    """A lost process fails its cell soon, and no other cell; all is resumed as if nothing had happened."""
    call = ("-m", *LONG, "optimizer.lr=1e-4,1e-3")
    saved: set[Path] = set()

    def has_saved(*before: int) -> bool:
        files = set(place.study.glob("work/*/step.ckpt")) - saved
        return any(file.stat().st_mtime_ns not in before for file in files) or not command.is_running()

    command = start("train.py", *place.arguments(*call), cwd=place.cwd)
    assert wait_until(has_saved)
    _, second = members_of(command)
    os.kill(second, signal.SIGKILL)
    died = time.monotonic()
    assert wait_until(lambda: place.failures() != [], seconds=30)
    assert time.monotonic() - died < 20
    (failure,) = (json.loads(path.read_text()) for path in place.failures())
    assert failure["kind"] == "train"
    assert "the process of rank 1 (of 2) was killed by signal 9" in failure["error"]

    saved = set(place.study.glob("work/*/step.ckpt"))
    assert wait_until(has_saved), "the next cell was not begun"
    os.kill(command.pid, signal.SIGTERM)
    result = command.wait()
    assert result.status == 75, result.text
    assert len(place.failures()) == 1

    saved = set()
    times = [file.stat().st_mtime_ns for file in place.study.glob("work/*/step.ckpt")]
    assert len(times) == 2
    command = start("train.py", *place.arguments(*call), cwd=place.cwd)
    assert wait_until(lambda: has_saved(*times))
    members = members_of(command)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert len(members) == 2
    assert wait_until(lambda: all(map(has_ended, members)), seconds=20), "members outlive their command"

    result = place.train(*call)
    assert result.status == 0, result.text
    assert place.failures() == []
    records = [json.loads((folder / "run.json").read_text()) for folder in place.runs("train-*")]
    assert [0 < r["provenance"]["resumed_at"] < r["facts"]["optimizer_steps"] for r in records] == [True, True]
    alone = make_place(tmp_path / "alone", place.cache)
    alone.train(*call, "trainer=fp32", "trainer.devices=null")
    assert_same_results(place.runs("evaluate-*"), alone.runs("evaluate-*"))


@pytest.mark.parametrize("trainer", ["fsdp", "deepspeed_zero3"])
def test_cut_weights_are_put_together_and_evaluated(trainer: str, two: Place, place: Place) -> None:
    if trainer != "fsdp":
        pytest.importorskip("deepspeed")
    result = place.train(*CELL, *TWO, f"trainer={trainer}", "trainer.precision=32-true")
    assert result.done == (1, 6), result.text
    assert not any(noise in result.text for noise in ("DeepSpeed", "WARNING", "Warning", "[INFO]")), result.text
    (folder,) = place.runs("train-*")
    (known,) = two.runs("train-*lr0.001*")
    weights, expected = (load_file(path / "model" / "model.safetensors") for path in (folder, known))
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert (weights[name] - weight).norm() <= 1e-5 * weight.norm()
    assert_same_results(place.runs("evaluate-*lr0.001*"), two.runs("evaluate-*lr0.001*"))
    assert place.evaluate("task=pico/nli", f"run={folder.name}", "eval.limit=4", "logger=none").status == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer.devices=3",), "trainer.devices=3: 3 processes do not divide the 8 rows of an optimizer step"),
        (("trainer.devices=null",), "there is no GPU; give the number of processes on the CPU"),
        (("trainer.num_nodes=2",), "start the command on each machine with torchrun"),
    ],
)
def test_what_is_impossible_is_refused_before_any_work(place: Place, overrides: tuple[str, ...], message: str) -> None:
    result = place.train(*CELL, *TWO, *overrides)
    assert result.status == 2, result.text
    assert message in result.err
    assert place.runs() == place.failures() == []
