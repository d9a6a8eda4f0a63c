"""What a plan learns from finished cells, and what it counts for missing ones."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os

import pytest
from rich.console import Console

from pretune.config.running import EvaluateConfig, Sample
from pretune.config.schema import freeze, to_plain
from pretune.config.science import Checkpoint, Shape, Task
from pretune.errors import NothingFailed, UsageError
from pretune.execution import plan_display, samples, session
from pretune.execution.cells import ContentHashes, list_cells
from pretune.execution.grid import plan_grid
from pretune.execution.jobs import complete_evaluate_job
from pretune.execution.plan_display import MOST_LISTED, group_cells, list_groups, show_plan, total_seconds
from pretune.execution.planned import make_plan, work_of
from pretune.execution.samples import SampleReader, read_samples
from pretune.execution.status import follow_status
from pretune.results.identity import make_run_id
from pretune.results.store import Study
from support.configs import FORMAT, HUB, NLI
from support.jobs import make_job

SHAPE = Shape(parameters=10**9, layers=16, hidden_size=2048, vocabulary=50304)
CHECKPOINT = dataclasses.replace(HUB, shape=SHAPE)


class Shelf:
    """A library that is never asked."""


def evaluate(study_dir, **changes):
    config = EvaluateConfig(checkpoint=CHECKPOINT, task=NLI, format=FORMAT, shots=4, eval=Sample(limit=50),
                            study_dir=str(study_dir), **changes)  # fmt: skip
    return complete_evaluate_job(config, Shelf(), ())


def finish(study, name, *, sampling, device="cpu", seconds=2.0):
    """A finished evaluation as far as a plan reads it."""
    folder = study.runs / f"evaluate-{name}-0123456789ab"
    folder.mkdir(parents=True)
    run = {"kind": "evaluate", "facts": {"rows": {"rows": 50}},
           "provenance": {"seconds": seconds, "machine": {"device": device}}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    config = {"checkpoint": to_plain(CHECKPOINT), "task": to_plain(NLI), "shots": 4, "shot_sampling": sampling}
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder.name


@pytest.mark.parametrize("sampling", ["fixed", "balanced", "per_row"])
def test_a_finished_cell_counts_as_the_same_cell_does_when_it_is_planned(tmp_path, sampling):
    study = Study(tmp_path)
    job = list_cells(evaluate(tmp_path, shot_sampling=sampling), study, ContentHashes())
    planned = work_of(job, job.base[0], SHAPE)
    _, sample = SampleReader(study).read(finish(study, "a", sampling=sampling))
    assert sample.flops == planned.flops
    assert sample.seconds == 2.0


def test_only_the_device_that_most_cells_ran_on_is_learnt_from(tmp_path):
    study = Study(tmp_path)
    for number, (device, seconds) in enumerate([("cuda", 1.0), ("cpu", 30.0), ("cuda", 1.2)]):
        finish(study, f"x{number}", sampling="fixed", device=device, seconds=seconds)
    assert sorted(sample.seconds for sample in read_samples(study)) == [1.0, 1.2]


def test_a_plan_reads_records_that_it_cannot_use_past_them(tmp_path):
    study = Study(tmp_path)
    broken = finish(study, "broken", sampling="fixed")
    (study.runs / broken / "config.yaml").write_text("{}")
    plan = make_plan(plan_grid([evaluate(tmp_path)]))
    assert plan.calibration.samples == ()
    assert plan.count("missing") == len(plan.cells) == 1
    assert plan.seconds(plan.cells[0]) is None


def test_a_launchers_chunk_whose_failures_were_retried_since_has_nothing_to_do(tmp_path):
    job = evaluate(tmp_path, mode="retry")
    with pytest.raises(NothingFailed):
        session.Session([job])
    assert session.run_chunk([job]) == []


def test_a_claim_is_about_the_cell_with_its_request_and_no_namesake(tmp_path):
    jobs = [make_job(tmp_path, optimizer__weight_decay=decay, eval__relations=("in_domain",)) for decay in (0.0, 0.1)]
    grid = plan_grid(jobs)
    first, second = (job.train for job in grid.jobs)
    assert (first.kind, first.name) == (second.kind, second.name)
    assert grid.study.claim(make_run_id("train", second.name, "f" * 64), second.key).try_acquire()
    states = {cell.cell.key: cell for cell in make_plan(grid).cells}
    assert (states[first.key].state, states[first.key].holder) == ("missing", None)
    assert (states[second.key].state, states[second.key].holder.pid) == ("running", os.getpid())


def test_what_needs_a_failed_training_is_blocked_and_a_status_is_not_followed_for_ever(tmp_path):
    grid = plan_grid([make_job(tmp_path, eval__relations=("in_domain",), plan__follow=0.01)])
    (job,) = grid.jobs
    for cell in job.base:
        grid.study.remember(cell.key, finish(grid.study, cell.name, sampling="fixed"))
    grid.study.record_failure(make_run_id("train", job.train.name, job.train.key), {"error": "no"})
    states = [cell.state for cell in make_plan(grid).cells]
    assert states == ["finished", "failed", "blocked"]
    assert follow_status(grid) == 1


def test_what_finished_cells_share_is_read_once_and_each_cell_looked_for_once(tmp_path, monkeypatch):
    """What made plans of large studies slow: the schema's check of every record, and looks at cells that jobs share."""
    checked, looks, find = [], [], Study.find_finished
    monkeypatch.setattr(samples, "freeze", lambda cls, data: checked.append(cls) or freeze(cls, data))
    monkeypatch.setattr(Study, "find_finished", lambda self, key: looks.append(key) or find(self, key))
    study = Study(tmp_path)
    for number in range(12):
        finish(study, f"x{number}", sampling="fixed", seconds=1.0 + number)
    grid = plan_grid([make_job(tmp_path, optimizer__lr=lr) for lr in (1e-3, 1e-4, 1e-5)])
    assert looks == []
    plan = make_plan(grid)
    assert len(plan.calibration.samples) == 12
    assert checked == [Checkpoint, Task]
    assert sorted(looks) == sorted({cell.cell.key for cell in plan.cells})
    looks.clear()
    assert set(grid.missing()) == set(looks)
    assert len(looks) == len(plan.cells)


def shown(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_names_are_whole_in_a_narrow_terminal(tmp_path):
    plan = make_plan(plan_grid([make_job(tmp_path)]))
    rows = [line.split("│")[1] for line in shown(plan_display.list_cells(plan), 40).splitlines() if "│" in line]
    assert "".join("".join(rows).split()) == "".join(cell.cell.name for cell in plan.cells)
    assert len(rows) > len(plan.cells)


def test_very_many_checkpoints_are_one_row_for_each_task(tmp_path):
    few, many = (
        make_plan(plan_grid([make_job(tmp_path, checkpoint__step=step) for step in range(n)]))
        for n in (MOST_LISTED, MOST_LISTED + 1)
    )
    assert len(group_cells(few)) == MOST_LISTED
    (name,) = group_cells(many)
    assert name == (f"pico, {MOST_LISTED + 1} checkpoints", "nli")
    text = shown(list_groups(many), 80)
    assert f"{len(many.cells)} " in text
    assert "time left" not in text, "nothing like it was measured"


def test_a_plans_file_has_a_row_for_each_cell(tmp_path):
    file = tmp_path / "new" / "plan.csv"
    grid = plan_grid([make_job(tmp_path, eval__relations=("in_domain",), plan__file=str(file), plan__device="H100")])
    grid.study.remember(grid.jobs[0].base[0].key, finish(grid.study, "a", sampling="fixed"))
    show_plan(grid, Console(file=io.StringIO()))
    plan = make_plan(grid)
    with open(file, newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["kind"], row["name"], row["state"], row["request_key"]) for row in rows] == [
        (cell.cell.kind, cell.cell.name, cell.state, cell.cell.key) for cell in plan.cells
    ]
    assert [row["state"] for row in rows] == ["finished", "missing", "missing"]
    assert rows[0]["seconds"] == ""
    assert sum(float(row["seconds"]) for row in rows[1:]) == pytest.approx(total_seconds(plan, plan.cells), rel=0.01)
    assert [int(row["memory_bytes"]) for row in rows] == [round(cell.memory) for cell in plan.cells]
    file.write_text("old")
    assert follow_status(grid) == 0
    assert len(file.read_text().splitlines()) == 1 + len(rows)


def test_what_a_plan_shows_cannot_be_swept(tmp_path):
    with pytest.raises(UsageError, match=r"plan\.device=A100,H100: holds for the whole command"):
        plan_grid([make_job(tmp_path, plan__device=device) for device in ("A100", "H100")])
