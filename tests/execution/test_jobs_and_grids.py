"""Jobs, their order, their chunks and their totals: all without a model."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from pretune.config.running import Eval, EvaluateConfig
from pretune.errors import PretuneError, UsageError
from pretune.execution.display import describe_totals, failure_lines, status_of
from pretune.execution.grid import keep_done, plan_grid, read_chunk, totals, write_chunk
from pretune.execution.jobs import (
    Job,
    complete_evaluate_job,
    list_evaluations,
    with_step,
)
from pretune.execution.outcomes import BLOCKED, BUSY, DONE, FAILED, FINISHED, CellOutcome, JobOutcome
from pretune.execution.pretraining import check_overrides
from pretune.execution.session import expand_runs, expand_steps
from pretune.execution.sweeping import GridSweeper
from pretune.results.store import Study
from support.configs import FORMAT, LADDER, NLI, change
from support.jobs import OTHER, Shelf, make_job


def names(job: Job) -> list[tuple[str, str, str | None, str, int]]:
    return [(e.task.name, e.split, e.relation, e.format.name, e.shots) for e in list_evaluations(job)]


def outcome(status: str, *, key: str = "k", kind: str = "train", **more: Any) -> CellOutcome:
    return CellOutcome(key=key, kind=kind, state="tuned", name=f"cell-{key}", status=status, **more)


def job_outcome(*cells: CellOutcome) -> JobOutcome:
    return JobOutcome(label={"checkpoint": "c", "task": "t"}, command="python train.py", cells=cells)


def test_a_job_survives_the_way_to_a_launchers_worker(tmp_path: Path) -> None:
    jobs = [make_job(optimizer__lr=1e-3), make_job(eval__shots=(0, 4))]
    write_chunk(tmp_path / "deep" / "chunk.json", jobs)
    assert read_chunk(tmp_path / "deep" / "chunk.json") == jobs
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["chunk.json"]


@pytest.mark.parametrize("content", ["", "[{}]", '{"a": 1}', "[1]"])
def test_a_damaged_chunk_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "chunk.json"
    path.write_text(content)
    with pytest.raises(PretuneError, match="chunk"):
        read_chunk(path)


@pytest.mark.parametrize(
    "text", ["seed=1", "logger.group=two words", "eval.shots=[0,4]", "task.path=/a b/$c", "logger.group=it's", 'a="b"']
)
def test_the_command_of_a_job_can_be_pasted_into_a_shell(text: str) -> None:
    job = dataclasses.replace(make_job(), overrides=(text, "seed=2"))
    assert shlex.split(job.command) == ["python", "train.py", text, "seed=2"]


def test_the_evaluations_of_a_training() -> None:
    task = dataclasses.replace(NLI, out_of_domain=("far",), cross_task=("other",))
    job = make_job(task=task, checkpoint__pretraining_text="text", eval__shots=(0, 4), eval__formats=("default", "io"))
    found = names(job)
    assert found[0] == ("nli", "validation", "validation", "default", 0)
    assert [each for each in found if each[0] == "nli" and each[2] == "in_domain"] == [
        ("nli", "evaluation", "in_domain", format_, shots) for format_ in ("default", "io") for shots in (0, 4)
    ]
    assert {each[4] for each in found if each[0] == "far"} == {0}  # no training split, no shots
    assert len([each for each in found if each[0] == "other"]) == 4
    assert found[-1] == ("text", "evaluation", "pretraining", "", 0)
    assert len(found) == 1 + 4 + 2 + 4 + 1


def test_only_the_relations_asked_for_are_evaluated() -> None:
    job = make_job(checkpoint__pretraining_text="text", eval__relations=("pretraining",))
    assert names(job) == [("text", "evaluation", "pretraining", "", 0)]
    assert "text" not in make_job(checkpoint__pretraining_text="text", eval__relations=("in_domain",)).tasks


def test_a_format_without_a_template_for_the_task_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        make_job(format__templates={})
    assert "family 'nli'" in str(caught.value)


def test_a_suite_evaluates_the_map_of_its_task() -> None:
    config = EvaluateConfig(checkpoint=LADDER, task=OTHER, suite="nli", format=FORMAT, eval=Eval(limit=4))
    job = complete_evaluate_job(config, Shelf(), ())  # type: ignore[arg-type]
    assert [each[0] for each in names(job)] == ["nli", "far"]
    assert [e[0] for e in names(complete_evaluate_job(change(config, "suite", None), Shelf(), ()))] == ["other"]  # type: ignore[arg-type]


def test_jobs_are_ordered_by_checkpoint_in_the_order_typed(tmp_path: Path) -> None:
    typed = [(5, 1e-3), (2, 1e-3), (5, 1e-4), (2, 1e-4)]
    jobs = [make_job(tmp_path, checkpoint__step=step, optimizer__lr=lr) for step, lr in typed]
    ordered = [(c.job.config.checkpoint.step, c.job.config.optimizer.lr) for c in plan_grid(jobs).jobs]  # type: ignore[union-attr]
    assert ordered == [(5, 1e-3), (5, 1e-4), (2, 1e-3), (2, 1e-4)]
    assert list(tmp_path.iterdir()) == []


def test_base_cells_are_shared_by_the_jobs_of_a_checkpoint(tmp_path: Path) -> None:
    grid = plan_grid([make_job(tmp_path, optimizer__lr=lr, eval__relations=("in_domain",)) for lr in (1e-3, 1e-4)])
    keys = [cell.key for cells in grid.jobs for cell in cells.all()]
    assert len(keys) == 6
    assert len(grid.missing()) == len(set(keys)) == 5


def test_the_group_is_that_of_the_trainings_whatever_is_evaluated(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, optimizer__lr=lr) for lr in (1e-3, 1e-4)]
    more = [change_eval(job) for job in jobs]
    assert plan_grid(jobs).group == plan_grid(list(reversed(more))).group
    assert plan_grid(jobs).group.startswith(tmp_path.name)
    assert plan_grid(jobs[:1]).group != plan_grid(jobs).group


def change_eval(job: Job) -> Job:
    return dataclasses.replace(job, config=change(job.config, "eval.shots", (0, 2)))


@pytest.mark.parametrize(
    ("choice", "steps"),
    [("all", [0, 2, 5]), ("every:2", [0, 5]), ("every:1", [0, 2, 5]), ("every:9", [0, 5]), (2, [2])],
)
def test_steps_of_a_family(choice: Any, steps: list[int]) -> None:
    jobs = expand_steps([make_job(checkpoint__step=choice)])
    assert [job.config.checkpoint.step for job in jobs] == steps


def test_a_job_at_another_step_has_the_command_of_that_step() -> None:
    job = dataclasses.replace(make_job(), overrides=("checkpoint.step=all", "seed=1"))
    assert with_step(job, 5).command == "python train.py seed=1 checkpoint.step=5"


def test_run_all_is_every_finished_training(tmp_path: Path) -> None:
    config = EvaluateConfig(run="all", study_dir=str(tmp_path), task=OTHER, format=FORMAT)
    job = Job(script="evaluate", config=config, tasks={"other": OTHER}, overrides=("run=all", "shots=1"))
    with pytest.raises(UsageError, match="run=all"):
        expand_runs(job)
    for name in ("train-step1024", "train-step256", "evaluate-c", "train-failed"):
        folder = Study(tmp_path).runs / name
        folder.mkdir(parents=True)
        (folder / ("failure.json" if "failed" in name else "run.json")).write_text("{}")
    expanded = expand_runs(job)
    assert [job.config.run for job in expanded] == ["train-step256", "train-step1024"]  # type: ignore[union-attr]
    assert expanded[0].command == "python evaluate.py shots=1 run=train-step256"


def test_totals_count_distinct_cells_once_by_the_most_telling_status() -> None:
    base = outcome(DONE, key="base", kind="evaluate")
    again = outcome(FINISHED, key="base", kind="evaluate")
    counted = totals([job_outcome(base, outcome(DONE, key="a")), job_outcome(again, outcome(FAILED, key="b"))])
    assert counted == {"evaluate done": 1, "train done": 1, "train failed": 1}
    assert totals([job_outcome(again), job_outcome(base)]) == {"evaluate done": 1}


def test_a_sentence_about_totals() -> None:
    assert describe_totals({"train finished": 6, "evaluate finished": 8}).startswith("Nothing to do: all 6 train and 8")
    text = describe_totals({"train done": 2, "train failed": 1, "evaluate blocked": 3, "evaluate finished": 4})
    assert text.startswith("2 train and 0 evaluate cells done; 0 and 4 were finished before; 1 failed")
    assert "3 could not be made after a failed training" in text


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        ([FINISHED], "finished before"), ([FINISHED, DONE], "trained"), ([DONE, FAILED], "failed"),
        ([DONE, BLOCKED], "failed"), ([DONE, BUSY], "elsewhere"),
    ],
)  # fmt: skip
def test_one_word_for_a_job(statuses: list[str], word: str) -> None:
    cells = [outcome(status, key=str(number)) for number, status in enumerate(statuses)]
    assert status_of(job_outcome(*cells), trains=True) == word


def test_a_failure_is_listed_once_with_its_record() -> None:
    failed = outcome(FAILED, run_id="train-x", error="no rows")
    lines = failure_lines([job_outcome(failed), job_outcome(failed)], Path("/runs"))
    assert lines[0] == "cell-k: no rows"
    assert [line for line in lines if "failure.json" in line] == ["    record:  /runs/train-x/failure.json"]


def test_what_an_earlier_round_made_is_not_called_finished_before() -> None:
    first = [outcome(DONE, key="a", seconds=2.0), outcome(BUSY, key="b"), outcome(FINISHED, key="c")]
    second = [outcome(FINISHED, key="a"), outcome(FINISHED, key="b"), outcome(FINISHED, key="c")]
    kept = keep_done(first, second)
    assert [cell.status for cell in kept] == [DONE, FINISHED, FINISHED]
    assert kept[0].seconds == 2.0
    assert keep_done((), first) == first


@pytest.mark.parametrize("text", ["optimizer.lr=1", "task=mnli", "++stage.epochs=2", "seed=1", "eval.limit=1"])
def test_what_a_pretraining_does_not_look_at_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_overrides(["stage=pretrain", "checkpoint=pico", text])
    assert text in str(caught.value)


def test_what_a_pretraining_looks_at_is_accepted() -> None:
    check_overrides(["stage=pretrain", "checkpoint=pico", "checkpoint.recipe.seed=1", "cache_dir=x", "logger=none"])


class Config(dict):  # type: ignore[type-arg]
    """Just enough of Hydra's configuration."""

    def __init__(self, launcher: str) -> None:
        super().__init__(_target_=launcher)
        self.hydra = self
        self.launcher = self


SERIAL = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.mark.parametrize(
    ("launcher", "chunk_size", "sizes"),
    [(SERIAL, None, [4]), (SERIAL, 1, [1, 1, 1, 1]), (SERIAL, 3, [3, 1]), ("other", None, [2, 2]), ("other", 4, [4])],
)
def test_chunks_for_a_launcher(launcher: str, chunk_size: int | None, sizes: list[int]) -> None:
    sweeper = GridSweeper(chunk_size)
    sweeper._config = Config(launcher)  # type: ignore[assignment]
    jobs = [make_job(checkpoint__step=step, optimizer__lr=lr) for step in (2, 5) for lr in (1e-3, 1e-4)]
    chunks = sweeper._split(jobs)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [job for chunk in chunks for job in chunk] == jobs


def test_a_chunk_has_at_least_one_job() -> None:
    sweeper = GridSweeper(0)
    sweeper._config = Config(SERIAL)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="chunk_size=0"):
        sweeper._split([make_job()])


def test_plain_jobs_are_json() -> None:
    assert json.loads(json.dumps(make_job().to_plain())) == make_job().to_plain()
