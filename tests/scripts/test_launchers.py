"""One grid, whoever does the work: serial, by the launchers of this machine, by several at once, with jobs killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from support.commands import Running, start, wait_until
from support.studies import CELL, Place, lines_with, make_place, values

CELLS = (*CELL, "eval.formats=[default,io]", "checkpoint.step=0,4,8", "optimizer.lr=1e-4,1e-3")
"""24 cells: three checkpoints, each evaluated in two formats and trained with two rates, all six evaluated in both."""
TRAINED, EVALUATED = 6, 18

WORKERS = ("hydra/launcher=workers", "hydra.launcher.processes=2")
SLURM_LOCAL = ("hydra/launcher=slurm_local", "hydra.sweeper.chunk_size=3")
RAY = ("hydra/launcher=ray_cluster", "+hydra.launcher.init.num_cpus=2", "hydra.sweeper.chunk_size=3")


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """The grid made in one process."""
    there = make_place(tmp_path_factory.mktemp("serial"), cache)
    result = there.train("-m", *CELLS)
    assert result.done == (TRAINED, EVALUATED), result.text
    return there


def assert_same_table(place: Place, serial: Place) -> None:
    """Every cell once, the same numbers, nothing left behind."""
    pd.testing.assert_frame_equal(values(place.study), values(serial.study), rtol=1e-5, atol=1e-5)
    assert [path.name for path in place.runs()] == [path.name for path in serial.runs()]
    attempts = [json.loads(path.read_text())["attempt"] for path in (place.study / "attempts").glob("*.json")]
    assert attempts == [1] * TRAINED
    left = [path for name in ("claims", "work", "launch") for path in (place.study / name).rglob("*") if path.is_file()]
    assert left == []
    assert list(place.cwd.iterdir()) == []


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(WORKERS, id="workers"),
        pytest.param(SLURM_LOCAL, id="slurm_local"),
        pytest.param(RAY, id="ray_cluster", marks=pytest.mark.faults),  # Ray itself takes 10 s to start
    ],
)
def test_a_launcher_gives_the_table_of_the_serial_run(launcher: tuple[str, ...], place: Place, serial: Place) -> None:
    if launcher is RAY and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    result = place.train("-m", *CELLS, *launcher, fresh=True)
    assert result.status == 0, result.text
    assert result.done == (TRAINED, EVALUATED)
    assert len(lines_with(result.out, "pico/nli", "trained")) == TRAINED
    assert_same_table(place, serial)
    again = place.train("-m", *CELLS, *launcher)
    assert "Nothing to do" in again.out, again.text


def test_two_launchers_at_once_make_every_cell_once(place: Place, serial: Place) -> None:
    slurm_local = ("hydra/launcher=slurm_local", "hydra.launcher.at_once=1", "hydra.sweeper.chunk_size=4")
    commands = [
        start("train.py", "-m", *place.arguments(*CELLS, *launcher), cwd=place.cwd)
        for launcher in (slurm_local, ["hydra.sweeper.chunk_size=1"])
    ]
    results = [command.wait() for command in commands]
    assert [result.status for result in results] == [0, 0], results[0].text + results[1].text
    assert [sum(counts) for counts in zip(*(result.done for result in results), strict=True)] == [TRAINED, EVALUATED]
    assert_same_table(place, serial)


def test_a_failed_cell_hides_no_other_of_its_chunk_or_of_others(place: Place) -> None:
    grid = (*CELL, "checkpoint.step=4,8", "optimizer.lr=1e30,1e-3")
    result = place.train("-m", *grid, *WORKERS, fresh=True)
    assert result.status == 1, result.text
    assert result.done == (2, 4)
    assert len(lines_with(result.err.split("Failed:")[1], "record:")) == 2
    assert len(place.failures()) == 2
    assert list((place.study / "launch").rglob("0.log"))  # what went wrong can be looked up


LONG = (
    *(word for word in CELL if not word.startswith("task.train_rows")),
    "task.train_rows=1000",
    "checkpoint.step=8",
    "optimizer.lr=1e-3",
    "trainer.save_seconds=0.05",
)


def worker_of(place: Place, command: Running, *, other_than: int = 0) -> int:
    """Process id of the job that is in a training, once that has saved a step."""
    found: list[int] = []

    def look() -> bool:
        names = [json.loads(path.read_text()).get("pid") for path in place.study.glob("claims/train-*.json")]
        saved = any(place.study.glob("work/train-*/step.ckpt"))
        found[:] = [pid for pid in names if pid not in (None, other_than)] if saved else []
        return bool(found) or not command.is_running()

    assert wait_until(look)
    assert found, command.wait().text
    return found[0]


def test_a_killed_job_comes_again_and_resumes(place: Place, tmp_path: Path) -> None:
    undisturbed = make_place(tmp_path / "undisturbed", place.cache)
    assert undisturbed.train("-m", *LONG).done == (1, 2)

    command = start(
        "train.py", "-m", *place.arguments(*LONG, *SLURM_LOCAL[:1], "hydra.launcher.at_once=1"), cwd=place.cwd
    )
    preempted = worker_of(place, command)
    os.kill(preempted, signal.SIGUSR2)  # its time is over: saved and requeued
    killed = worker_of(place, command, other_than=preempted)
    os.kill(killed, signal.SIGKILL)  # it dies without a word: submitted again
    result = command.wait()
    assert result.status == 0, result.text
    assert result.done[0] + result.before[0] == 1
    (folder,) = place.runs("train-*")
    assert json.loads((folder / "run.json").read_text())["provenance"]["resumed_at"] > 0
    pd.testing.assert_frame_equal(values(place.study), values(undisturbed.study), check_exact=True)


def test_a_stopped_command_lets_its_workers_save(place: Place) -> None:
    grid = [*LONG[:-1], "trainer.save_seconds=3600"]
    command = start(
        "train.py", "-m", *place.arguments(*grid, *WORKERS, "optimizer.lr=1e-3,1e-4"), cwd=place.cwd, fresh=True
    )
    assert wait_until(lambda: any(place.study.glob("work/train-*")) or not command.is_running())
    os.kill(command.pid, signal.SIGTERM)
    result = command.wait()
    assert result.status == 75, result.text
    assert "Traceback" not in result.text
    assert [path for path in (place.study / "claims").rglob("*") if path.is_file()] == []
    assert place.failures() == []
