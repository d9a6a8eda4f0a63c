"""How a grid is cut and handed to launchers, and what becomes of chunks whose process dies."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pretune.errors import PretuneError, UsageError
from pretune.execution import launchers, ray_tasks, submission
from pretune.execution.following import launch_chunks, read_outcome
from pretune.execution.grid import plan_grid, read_chunk
from pretune.execution.launched import STOP_FILE, Returned, Task, work
from pretune.execution.launchers import ChunkLauncher, Workers, share_of_cores, visible_devices
from pretune.execution.outcomes import DONE, MISSING
from pretune.execution.sweeping import cut
from support.configs import CONF
from support.jobs import make_job


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 30))
def test_cutting_keeps_every_job_in_order_and_makes_enough_chunks(sizes: list[int], wanted: int) -> None:
    numbers = iter(range(sum(sizes)))
    chunks: Any = [[next(numbers) for _ in range(size)] for size in sizes]
    pieces = cut(chunks, wanted)
    assert [job for piece in pieces for job in piece] == list(range(sum(sizes)))
    assert len(pieces) == max(len(sizes), min(wanted, sum(sizes)))
    for piece in pieces:
        assert any(set(piece) <= set(chunk) for chunk in chunks)  # no piece is about two checkpoints


class Scripted(ChunkLauncher):
    """A launcher whose processes die whenever they get the job with a fatal rate."""

    name = "scripted"

    def __init__(self, fatal: float) -> None:
        self.fatal = fatal
        self.seen: list[tuple[int, list[list[float]]]] = []

    def places(self) -> int:
        return 2

    def run(self, tasks: Sequence[Task], *, places: int) -> Generator[Returned | None, None, None]:
        rates = [[job.config.optimizer.lr for job in read_chunk(task.chunk)] for task in tasks]  # type: ignore[union-attr]
        self.seen.append((places, rates))
        yield None
        for task, chunk in zip(tasks, rates, strict=True):
            if self.fatal in chunk:
                yield Returned(number=task.number, error="killed", died=True)
            else:
                outcome = {"label": {}, "command": str(chunk), "cells": []}
                yield Returned(number=task.number, outcomes=(outcome,) * len(chunk))


def test_a_cell_that_kills_its_process_takes_no_other_along(tmp_path: Path) -> None:
    jobs = [make_job(optimizer__lr=lr, study=tmp_path) for lr in (1.0, 2.0, 3.0, 4.0)]
    launcher = Scripted(fatal=2.0)
    returns = launch_chunks(launcher, plan_grid(jobs), [jobs[:2], jobs[2:]])
    assert launcher.seen == [(2, [[1.0, 2.0], [3.0, 4.0]]), (2, [[1.0], [2.0]]), (1, [[2.0]])]
    assert sum(len(part) for part in returns if not isinstance(part, PretuneError)) == 3
    (error,) = [part for part in returns if isinstance(part, PretuneError)]
    assert "killed (its output: " in str(error)
    assert list((tmp_path / "launch").iterdir()) != []


def test_what_no_worker_returned_is_read_from_the_study(tmp_path: Path) -> None:
    grid = plan_grid([make_job(study=tmp_path)])
    (cells,) = grid.jobs
    assert {cell.status for cell in read_outcome(cells, grid.study, ()).cells} == {MISSING}
    (tmp_path / "runs" / "train-x").mkdir(parents=True)
    (tmp_path / "runs" / "train-x" / "run.json").write_text('{"provenance": {"seconds": 2.5}}')
    assert cells.train is not None
    grid.study.remember(cells.train.key, "train-x")
    (trained,) = [c for c in read_outcome(cells, grid.study, {cells.train.key}).cells if c.status == DONE]
    assert (trained.kind, trained.run_id, trained.seconds) == ("train", "train-x", 2.5)


def test_a_stopped_launch_begins_no_further_chunk(tmp_path: Path) -> None:
    (tmp_path / STOP_FILE).touch()
    returned = work(Task(chunk=tmp_path / "none.json", folder=tmp_path, number=3, cwd=tmp_path))
    assert returned.stopped
    assert returned.number == 3


def test_a_chunk_that_cannot_be_read_is_an_answer_not_an_exception(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pretune.execution.process.set_up_process", lambda: None)
    monkeypatch.chdir(tmp_path)
    returned = work(Task(chunk=tmp_path / "none.json", folder=tmp_path, number=0, cwd=tmp_path))
    assert "none.json" in str(returned.error)
    assert not returned.died
    assert list(tmp_path.glob("*.pid")) == []


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment to be changed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return monkeypatch


def test_each_place_has_its_device_and_no_two_workers_have_one_place(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    devices = visible_devices("auto")
    assert devices == ["4", "6"]
    taken = []
    for _ in range(4):  # two processes share each device
        launchers.take_place(str(tmp_path), devices, 4, 3)
        taken.append((os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]))
    assert taken == [("4", "3"), ("6", "3"), ("4", "3"), ("6", "3")]
    with pytest.raises(RuntimeError, match="4 places"):
        launchers.take_place(str(tmp_path), devices, 4, 3)


def test_a_process_for_each_place_on_a_gpu_or_for_each_core(environment: pytest.MonkeyPatch) -> None:
    launcher = Workers(per_device=3)
    launcher.accelerator = "auto"
    assert launcher.places() == 6
    launcher.accelerator = "cpu"
    assert launcher.places() == len(os.sched_getaffinity(0))
    assert Workers(processes=5).places() == 5
    assert share_of_cores(10_000) == 1


@pytest.mark.parametrize("knob", ["processes", "per_device", "threads"])
def test_a_knob_out_of_range_is_refused_by_its_key(knob: str) -> None:
    with pytest.raises(UsageError, match=rf"hydra\.launcher\.{knob}=0: must be at least 1"):
        Workers(**{knob: 0})


LOCAL = {"at_once": 1, "timeout_min": 10, "signal_delay_s": 30, "requeues": 1, "resubmit": 0}


def test_a_time_limit_shorter_than_its_warning_is_refused() -> None:
    with pytest.raises(UsageError, match="timeout_min=0.1"):
        submission.SlurmLocal(**{**LOCAL, "timeout_min": 0.1})  # type: ignore[arg-type]


def test_a_missing_engine_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (submission, ray_tasks):
        monkeypatch.setattr(module, "can_import", lambda name: False)
    for make in (lambda: submission.SlurmLocal(**LOCAL), slurm):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"pip install 'pretune\[cluster\]'"):
            make().check()
    with pytest.raises(UsageError, match=r"pip install 'pretune\[ray\]'"):
        ray_tasks.RayCluster(address=None, num_cpus=1, num_gpus=0, retries=0, init={}).check()


def slurm(**changes: Any) -> submission.Slurm:
    """The launcher as its preset has it, with changes."""
    preset = yaml.safe_load((CONF / "hydra" / "launcher" / "slurm.yaml").read_text())
    del preset["_target_"]
    return submission.Slurm(**{**preset, **changes})


def test_a_machine_without_slurm_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="srun was not found"):
        slurm().check()


def test_what_slurm_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launcher = slurm(
        partition="gpu",
        mem_gb=96,
        timeout_min=90.5,
        setup_lines=["export A=1"],
        additional_parameters={"reservation": "r"},
    )
    launcher.check()
    executor = launcher.make_executor(str(tmp_path / "jobs"), 3)
    text = executor._make_submission_file_text("COMMAND", "id")
    for line in (
        "partition=gpu", "mem=98304MB", "time=91", "gpus-per-node=1", "cpus-per-task=8", "reservation=r",
        "signal=USR2@120", "job-name=pretune",
    ):  # fmt: skip
        assert f"#SBATCH --{line}\n" in text
    assert "\nexport A=1\n" in text
    assert "account" not in text
    assert launcher.wanted_chunks() == 1
    assert executor.parameters["array_parallelism"] == 3


def test_a_launcher_under_another_sweeper_is_refused() -> None:
    with pytest.raises(UsageError, match="hydra/sweeper=pretune"):
        Workers().launch([["a=1"]], 0)
