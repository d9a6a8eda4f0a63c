"""A session: one command from its composed configurations to its exit status."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pretune.config.axes import AXES
from pretune.config.expansion import Point
from pretune.config.library import Library
from pretune.config.probing import ProbeConfig
from pretune.config.running import EvaluateConfig, TrainConfig
from pretune.config.schema import SCRIPTS, freeze
from pretune.config.validation import STEP_CHOICE, validate
from pretune.errors import NothingFailed, UsageError
from pretune.execution.crew import dismiss_followers
from pretune.execution.display import (
    ProgressDisplay,
    describe_totals,
    failure_lines,
    make_console,
    summary_table,
)
from pretune.execution.following import read_outcome
from pretune.execution.grid import Grid, describe_job, plan_grid, run_grid, totals
from pretune.execution.headlines import headline
from pretune.execution.jobs import Job, complete_evaluate_job, complete_probe_job, complete_train_job, with_step
from pretune.execution.keeping import drop_unselected
from pretune.execution.listing import show_checkpoints
from pretune.execution.outcomes import BLOCKED, FAILED, FINISHED, MISSING, CellOutcome, JobOutcome
from pretune.execution.pretraining import build_ladders, check_overrides
from pretune.execution.searching import is_search, search_rates
from pretune.execution.selecting import select
from pretune.execution.status import keep_failed
from pretune.execution.verifying import verify_jobs
from pretune.results.identity import digest
from pretune.results.naming import natural_order
from pretune.results.store import Study
from pretune.terminal import TextTable, print_table
from pretune.tracking import RunInfo, Tracker, open_tracker

log = logging.getLogger(__name__)


def check_points(script: str, points: Iterable[Point]) -> tuple[list[Any], list[tuple[str, ...]]]:
    """Freeze the configurations of all points; return them and the overrides that led to each.

    Every problem of all of them is reported in one message. No composed configuration is kept: each takes some 250 kB.
    """
    configs: list[Any] = []
    overrides, origins = [], []
    for point in points:
        configs.append(freeze(SCRIPTS[script], point.config))
        overrides.append(point.overrides)
        origins.append(point.origin)
    validate(configs, origins=origins)
    return configs, overrides


def check_evaluate_overrides(config: EvaluateConfig, overrides: Sequence[str]) -> None:
    """Refuse overrides of evaluate.py that contradict each other: one of the two would silently do nothing."""
    given = {text.partition("=")[0].lstrip("+~").split(".")[0] for text in overrides}
    if config.run is not None and "checkpoint" in given:
        raise UsageError(f"run={config.run}: contradicts checkpoint=…: a trained run has its own; give one of them")
    if config.suite is not None and "task" in given:
        raise UsageError(f"suite={config.suite}: contradicts task=…: give a task, or a suite of them")


def pretrains(configs: Sequence[Any], overrides: Sequence[tuple[str, ...]]) -> bool:
    """Whether the command builds ladders (``stage=pretrain``); mixing that with fine-tuning is refused."""
    chosen = [isinstance(config, TrainConfig) and config.stage.name == "pretrain" for config in configs]
    if any(chosen):
        if not all(chosen):
            raise UsageError("stage=pretrain cannot be swept together with other stages: run it by itself, first")
        for given in overrides:
            check_overrides(given)
    return any(chosen)


def lists_checkpoints(configs: Sequence[Any]) -> bool:
    """Whether the command lists checkpoints (``mode=checkpoints``), which needs neither tasks nor cells."""
    return bool(configs) and all(config.mode == "checkpoints" for config in configs)


class Session:
    """Jobs of ``train.py``, ``evaluate.py`` or ``probe.py``, planned and ready to run."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            raise UsageError("the sweep has no cells: one of its axes has no value, or only=… leaves none")
        self.grid: Grid = plan_grid(jobs)
        if self.grid.config.mode == "retry":
            self.grid = keep_failed(self.grid)

    @property
    def study_root(self) -> Path:
        """Folder of the study."""
        return self.grid.study.root

    def grid_jobs(self) -> list[Job]:
        """Jobs in order of work."""
        return [cells.job for cells in self.grid.jobs]

    def shows_only(self) -> bool:
        """Whether the command runs no cells, but shows, verifies or fetches what belongs to them."""
        return self.grid.config.mode not in ("run", "retry")

    def show(self) -> int:
        """List the cells with what is finished (``mode=plan``), or do what another mode asks; nothing is run."""
        if self.grid.config.mode == "verify":
            return verify_jobs(self.grid_jobs())
        if self.grid.config.mode == "prefetch":
            from pretune.execution.prefetching import prefetch

            return prefetch(self.grid)
        if self.grid.config.mode == "show":
            from pretune.execution.showing import show_examples

            return show_examples(self.grid)
        if self.grid.config.mode == "contamination":
            from pretune.execution.contamination import report_contamination

            return report_contamination(self.grid)
        if self.grid.config.mode == "status":
            from pretune.execution.status import follow_status

            return follow_status(self.grid)
        from pretune.execution.plan_display import show_plan

        show_plan(self.grid, make_console())
        return 0

    def run(self) -> int:
        """Run what is missing, show the summary, return the exit status."""
        if self.shows_only():
            return self.show()
        if not self.grid.missing():
            dismiss_followers(self.grid.config.trainer, self.grid.config.cache_dir)
            self.select()
            return self.conclude(describe_finished(self.grid))
        tracker = self.open_tracker()
        try:
            outcomes = self.execute(tracker)
            self.select()
            drop_unselected(self.grid.study, self.grid.jobs)
            return self.conclude(outcomes, tracker)
        finally:
            tracker.close()

    def execute(self, tracker: Tracker | None = None) -> list[JobOutcome]:
        """Run what is missing in this process."""
        own = tracker or self.open_tracker()
        try:
            with ProgressDisplay(make_console(stderr=True), missing=len(self.grid.missing())) as display:
                return run_grid(self.grid, display, own)
        finally:
            if tracker is None:
                own.close()

    def select(self) -> None:
        """Mark the best learning rates (``select=in_domain``) and show both views of them."""
        config = self.grid.config
        if not isinstance(config, TrainConfig) or config.select is None:
            return
        rows = []
        for entry in select(self.grid.jobs, self.grid.study):
            values = ", ".join(f"{lr}: {value:.3f}" for lr, value in entry["values"].items())
            fixed = "" if entry["fixed_lr"] is None else f"{entry['fixed_lr']:g}"
            place = f"{entry['family']} {entry['checkpoint']}"
            rows.append([place, entry["task"], f"{entry['lr']:g}", fixed, entry["evidence"], values])
        head = ("checkpoint", "task", "tuned: lr", "fixed: lr", "by", "values")
        console = make_console()
        print_table(console, TextTable(head=head, rows=rows, names=head[:2], flowing=head[-1:]))
        console.print()

    def open_tracker(self) -> Tracker:
        """The experiment tracker that the configuration asks for."""
        return open_tracker(self.grid.config.logger, self.grid.study.root)

    def collect(self, returns: Sequence[Any], missing_before: Collection[str] = ()) -> int:
        """Show the summary of jobs that a launcher's workers ran; ``returns`` are their outcomes as plain data.

        What became of a job that no worker returned is read from the study; ``missing_before`` are the keys of the
        cells that were missing before the launch.
        """
        by_command = {}
        broken = [part for part in returns if isinstance(part, BaseException)]
        for part in returns:
            for data in () if isinstance(part, BaseException) else part:
                cells = tuple(CellOutcome(**cell) for cell in data["cells"])
                by_command[data["command"]] = JobOutcome(label=data["label"], command=data["command"], cells=cells)
        self.select()
        drop_unselected(self.grid.study, self.grid.jobs)
        tracker = self.open_tracker()
        try:
            outcomes = [
                by_command.get(cells.job.command) or read_outcome(cells, self.grid.study, missing_before)
                for cells in self.grid.jobs
            ]
            status = self.conclude(outcomes, tracker)
        finally:
            tracker.close()
        for error in broken:
            make_console(stderr=True).print(
                f"a job of the launcher ended early: {error}", style="red", markup=False, soft_wrap=True
            )
        return 1 if broken else status

    def conclude(self, outcomes: Sequence[JobOutcome], tracker: Tracker | None = None) -> int:
        """Print summary, totals and failures; give the tracker the sweep's table; return the exit status."""
        console, study = make_console(), self.grid.study
        trains = isinstance(self.grid.config, TrainConfig)
        cells_of = {cells.job.command: cells for cells in self.grid.jobs}
        headlines = [headline(cells_of[outcome.command], study) for outcome in outcomes]
        print_table(console, summary_table(outcomes, headlines, trains=trains))
        counted = totals(outcomes)
        console.print()
        console.print(describe_totals(counted), markup=False, soft_wrap=not console.is_terminal)
        console.print(f"Results: {study.root}", markup=False, soft_wrap=True)
        if tracker is not None and len(self.grid.jobs) > 1:
            self.log_table(outcomes, headlines, tracker)
        failures = failure_lines(outcomes, study.runs)
        if failures:
            make_console(stderr=True).print(
                "\n".join(["", "Failed:", *failures]), style="red", markup=False, soft_wrap=True
            )
        return 1 if failures or any(key.endswith((FAILED, BLOCKED, MISSING)) for key in counted) else 0

    def log_table(self, outcomes: Sequence[JobOutcome], headlines: Sequence[dict[str, Any]], tracker: Tracker) -> None:
        """Give the tracker one table with a row per job of the sweep."""
        import pandas as pd

        rows = [
            {**outcome.label, **line, "status": "failed" if outcome.count(FAILED) else "done"}
            for outcome, line in zip(outcomes, headlines, strict=True)
        ]
        frame = pd.DataFrame(rows)
        for name in ("base", "tuned", "gain", "value"):
            if name in frame:
                frame[name] = pd.to_numeric(frame[name])
        identity = digest([sorted(outcome.command for outcome in outcomes), rows])[:16]
        run = tracker.start(
            RunInfo(id=identity, name=f"sweep-{identity[:8]}", group=self.grid.group, job_type="sweep", config={})
        )
        run.add_table("cells", frame)
        run.finish()


def complete_jobs(
    configs: Sequence[TrainConfig | EvaluateConfig | ProbeConfig],
    overrides: Sequence[tuple[str, ...]],
    library: Library,
) -> list[Job]:
    """Complete checked configurations to jobs; ``overrides`` led to them."""
    jobs: list[Job] = []
    for config, given in zip(configs, overrides, strict=True):
        if isinstance(config, ProbeConfig):
            jobs += expand_steps(complete_probe_jobs(config, library, given))
            continue
        if isinstance(config, TrainConfig):
            job = complete_train_job(config, library, given)
        else:
            check_evaluate_overrides(config, given)
            job = complete_evaluate_job(config, library, given)
        jobs += expand_steps(expand_runs(job))
    return jobs


def run_points(script: str, points: Sequence[Point], library: Library) -> int:
    """Run all points in this process; return the exit status."""
    configs, overrides = check_points(script, points)
    for key in AXES:
        if getattr(configs[0], key) is not None:
            raise UsageError(f"{key}={getattr(configs[0], key)}: is an axis of a sweep and needs -m")
    if lists_checkpoints(configs):
        return show_checkpoints(configs)
    if pretrains(configs, overrides):
        return build_ladders(configs)
    jobs = complete_jobs(configs, overrides, library)
    if is_search(jobs):
        return search(jobs, lambda trials: Session(trials).execute(), together=False)
    return Session(jobs).run()


def search(jobs: Sequence[Job], execute: Callable[[Sequence[Job]], object], *, together: bool) -> int:
    """Search learning rates, show the summary of all trials, return the exit status."""
    trials, missing = search_rates(jobs, execute, together=together)
    session = Session(trials)
    return session.run() if session.shows_only() or not missing else session.collect((), missing)


def describe_finished(grid: Grid) -> list[JobOutcome]:
    """Outcomes of a grid whose cells are all finished; imports nothing heavy."""
    outcomes = []
    for cells in grid.jobs:
        finished = [
            CellOutcome(
                key=cell.key, kind=cell.kind, state=cell.state, name=cell.name, status=FINISHED,
                run_id=grid.study.find_finished(cell.key),
            )
            for cell in cells.all()
        ]  # fmt: skip
        outcomes.append(describe_job(cells, finished))
    return outcomes


def run_chunk(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Run jobs in a launcher's worker; return their outcomes as plain data."""
    try:
        outcomes = Session(jobs).execute()
    except NothingFailed:  # another process has retried them since
        return []
    return [dataclasses.asdict(outcome) for outcome in outcomes]


def list_trained(study_dir: str) -> list[str]:
    """All finished trained runs of a study (``run=all``), step 256 before step 1024."""
    study = Study(study_dir)
    names = sorted((p.name for p in study.finished_runs() if p.name.startswith("train-")), key=natural_order)
    if not names:
        raise UsageError(f"run=all: there is no finished trained run in {study.root}")
    return names


def complete_probe_jobs(config: ProbeConfig, library: Library, overrides: tuple[str, ...]) -> list[Job]:
    """One job, or with ``run=all`` one per trained run; what is measured comes from the run's own checkpoint."""
    if config.run is None:
        return [complete_probe_job(config, library, overrides, config.checkpoint)]
    if any(text.lstrip("+").startswith(("checkpoint=", "checkpoint.")) for text in overrides):
        raise UsageError(f"run={config.run}: contradicts checkpoint=…: a trained run has its own; give one of them")
    study, jobs = Study(config.study_dir), []
    for name in list_trained(config.study_dir) if config.run == "all" else [study.find_run(config.run)]:
        if study.read_run(name)["kind"] != "train":
            raise UsageError(f"run={config.run}: {name} is no trained run")
        checkpoint = freeze(TrainConfig, study.read_config(name)).checkpoint
        kept = tuple(text for text in overrides if not text.startswith("run="))
        chosen = dataclasses.replace(config, run=name)
        jobs.append(complete_probe_job(chosen, library, (*kept, f"run={name}"), checkpoint))
    return jobs


def expand_runs(job: Job) -> list[Job]:
    """One job per trained run for ``run=all``; else the job itself."""
    config = job.config
    if not isinstance(config, EvaluateConfig) or config.run != "all":
        return [job]
    names = list_trained(config.study_dir)
    kept = tuple(text for text in job.overrides if not text.startswith("run="))
    return [
        dataclasses.replace(job, config=dataclasses.replace(config, run=name), overrides=(*kept, f"run={name}"))
        for name in names
    ]


def expand_steps(jobs: Sequence[Job]) -> list[Job]:
    """One job per step for ``checkpoint.step=all`` and ``every:N``; else the jobs themselves."""
    from pretune.checkpoints.refs import RefCache
    from pretune.checkpoints.revisions import choose_steps, find_revision, list_steps

    expanded: list[Job] = []
    for job in jobs:
        checkpoint = job.config.checkpoint
        if not (isinstance(checkpoint.step, str) and STEP_CHOICE.fullmatch(checkpoint.step)):
            expanded.append(job)
            continue
        refs = RefCache(Study(job.config.study_dir)).get(str(checkpoint.repo)) if checkpoint.source == "hub" else ()
        steps = choose_steps(list_steps(checkpoint, refs), checkpoint.step)
        if not steps:
            find_revision(dataclasses.replace(checkpoint, step=0), refs)  # says what there is instead
        expanded += [with_step(job, step) for step in steps]
    return unify(expanded)


def unify(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs with ``main`` for the step that a family says it is, and a note."""
    from pretune.checkpoints.revisions import unify_alias

    unified, notes = [], []
    for job in jobs:
        before = job.config.checkpoint
        checkpoint = unify_alias(before)
        if checkpoint is not before:
            notes.append(f"{before.family}: step {before.step} is main, one point")
            job = dataclasses.replace(job, config=dataclasses.replace(job.config, checkpoint=checkpoint))
        unified.append(job)
    for note in dict.fromkeys(notes):
        log.info("%s", note)
    return unified
