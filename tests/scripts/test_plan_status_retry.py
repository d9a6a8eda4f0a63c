"""What a grid costs, how far it is, and its failures alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pretune.results.identity import make_run_id
from support.studies import CELL, GRID, Place, lines_with, make_place


def test_a_plan_estimates_by_the_finished_cells_and_says_how_well(copied: Place) -> None:
    result = copied.train("-m", *CELL, "checkpoint.step=4,8", "optimizer.lr=2e-4,3e-4", "mode=plan")
    assert result.status == 0, result.text
    assert "8 missing" in result.out
    assert lines_with(result.out, "one after another, by the times of this study's finished cells")
    assert lines_with(result.out, "each predicted by the others")
    rows = lines_with(result.out, "train", "missing")
    assert all("s │ missing" in row for row in rows), rows


def test_a_plan_for_an_accelerator_says_hours_memory_and_what_is_assumed(place: Place) -> None:
    words = ("task=mnli", "checkpoint=olmo2/13b", "checkpoint.step=1000", "trainer.micro_batch=1", "mode=plan")
    result = place.train(*words, "plan.device=H100")
    assert result.status == 0, result.text
    assert lines_with(result.out, "On H100: about", "GPU-hours")
    assert lines_with(result.out, "Assumed, not measured")
    assert lines_with(result.out, "Memory: up to", "too much for H100")
    assert lines_with(result.out, "It would fit with", "fsdp")
    assert lines_with(result.out, "to download")
    compared = place.train(*words)
    assert [len(lines_with(compared.out, f"On {name}: about")) for name in ("A100", "H100", "H200")] == [1, 1, 1]
    assert not place.study.exists()


def test_hours_are_those_of_all_devices_and_evaluations_hold_the_whole_model(place: Place) -> None:
    words = ("task=mnli", "checkpoint.step=1000", "mode=plan", "plan.device=H100")
    sharded = ("trainer=fsdp", "trainer.devices=8")
    hours = [
        lines_with(place.train(*words, "checkpoint=olmo2/7b", *more).out, "GPU-hours")[0] for more in ((), sharded)
    ]
    assert hours[0] == hours[1]
    large = place.train(*words, "checkpoint=olmo2/32b", *sharded)
    assert lines_with(large.out, "An evaluation holds the whole model on each device: 169 GB")


def test_a_small_models_times_say_nothing_about_a_large_one(copied: Place) -> None:
    result = copied.train("task=mnli", "checkpoint=olmo2/7b", "checkpoint.step=1000", "mode=plan")
    assert lines_with(result.out, "On A100: about")
    assert not lines_with(result.out, "by the times of this study")


def test_many_cells_are_shown_by_checkpoint_and_task_unless_all_are_asked_for(place: Place) -> None:
    words = ("-m", *GRID, "task=pico/nli,pico/paraphrase", "seed=0,1,2,3,4,5", "mode=plan")
    grouped = place.train(*words)
    assert lines_with(grouped.out, "pico step4", "pico/nli")
    assert len(grouped.out.splitlines()) < 20
    every = place.train(*words, "plan.cells=true")
    assert len(every.out.splitlines()) > 70


def test_an_unknown_model_has_no_cost_but_a_list(place: Place) -> None:
    result = place.train("task=mnli", "checkpoint=hub", "checkpoint.repo=a/b", "checkpoint.revision=main",
                         "eval.relations=[in_domain]", "mode=plan")  # fmt: skip
    assert result.status == 0, result.text
    assert lines_with(result.out, "Cost unknown", "checkpoint.shape")


@pytest.fixture
def failing(tmp_path: Path, copied: Place) -> Place:
    """A finished grid of which one training has failed and another is worked on by a dead process."""
    failed, running = copied.runs("train-*step4*lr0.0001*")[0], copied.runs("train-*step8*lr0.0001*")[0]
    for folder, state in ((failed, "failed"), (running, "running")):
        run = json.loads((folder / "run.json").read_text())
        name = folder.name.removeprefix("train-").rpartition("-")[0]
        (copied.study / "index" / f"{run['request_key']}.json").unlink()
        for path in folder.rglob("*"):
            path.unlink() if path.is_file() else None
        if state == "failed":
            record = copied.study / "runs" / make_run_id("train", name, run["request_key"])
            record.mkdir()
            (record / "failure.json").write_text(json.dumps({"error": "TrainingDiverged: the loss is not finite"}))
        else:
            claim = copied.study / "claims" / f"{folder.name}.json"
            claim.parent.mkdir(exist_ok=True)
            body = {"token": "x", "machine": "elsewhere boot", "pid": 7, "beat": 3, "request_key": run["request_key"]}
            claim.write_text(json.dumps(body))
            os.utime(claim, (0, 0))
    return copied


def test_a_status_names_what_runs_what_failed_and_how_to_go_on(failing: Place) -> None:
    result = failing.train("-m", *GRID, "mode=status")
    assert result.status == 1, "something has failed"
    assert "12 of 14 cells, 1 running, 1 failed" in result.out
    assert lines_with(result.out, "process 7 on elsewhere", "silent for", "may be dead")
    assert lines_with(result.out, "failed", "the loss is not finite")
    assert lines_with(result.out, "mode=retry")


def test_a_retry_runs_the_failed_cells_and_no_others(failing: Place) -> None:
    result = failing.train("-m", *GRID, "mode=retry")
    assert result.status == 0, result.text
    assert len(failing.runs("train-*step4*lr0.0001*")) == 1
    assert not failing.runs("train-*step8*lr0.0001*")
    again = failing.train("-m", *GRID, "mode=retry")
    assert again.status == 2
    assert "no cell of this grid has failed; 1 is missing" in again.err


def test_a_study_that_does_not_exist_has_a_status_too(tmp_path: Path, cache: Path) -> None:
    result = make_place(tmp_path, cache).train("-m", *GRID, "mode=status")
    assert result.status == 0, result.text
    assert "0 of 14 cells, 14 missing" in result.out
