"""``search=optuna``: the learning rate is searched for each checkpoint and task by itself.

Every point of the sweep (a checkpoint, a task, and whatever else is varied, never searched over) has its own Optuna
study, whose objective is the metric on held-out rows of the training task (as ``select=in_domain``), never an evaluated
score. The results of the grid are its only record: the sampler is seeded, so that the same command proposes the same
rates again, finds their cells finished and goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pretune.checkpoints.resolution import label_of
from pretune.config.running import Search, TrainConfig
from pretune.errors import PretuneError, UsageError
from pretune.execution.grid import Grid, plan_grid
from pretune.execution.jobs import Job
from pretune.execution.selecting import read_candidate
from pretune.results.store import Study

log = logging.getLogger(__name__)


def is_search(jobs: Sequence[Job]) -> bool:
    """Whether rates are searched; a search and given rates in one command are refused."""
    chosen = [isinstance(job.config, TrainConfig) and job.config.search.name != "none" for job in jobs]
    if any(chosen) and not all(chosen):
        raise UsageError("search=none,optuna: cannot be swept")
    for job in jobs if any(chosen) else ():
        given = next((text for text in job.overrides if text.lstrip("+").startswith("optimizer.lr=")), None)
        if given is not None:
            raise UsageError(f"{given}: is what search=optuna chooses; give its range by search.lr=[LOW,HIGH]")
    return any(chosen)


class RateSearch:
    """The search at one point of the sweep: ``job`` with one learning rate after another."""

    def __init__(self, job: Job) -> None:
        assert isinstance(job.config, TrainConfig)
        try:
            import optuna
        except ImportError:
            raise UsageError(
                "search=optuna: needs Optuna, which is not installed: pip install 'pretune[search]'"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.job, self.settings = job, job.config.search
        sampler = optuna.samplers.TPESampler(seed=self.settings.seed, n_startup_trials=self.settings.startup)
        self._optuna = optuna.create_study(sampler=sampler, direction="minimize")
        low, high = self.settings.lr
        for number in spread(self.settings.startup)[: self.settings.trials]:
            place = (number + 0.5) / self.settings.startup
            self._optuna.enqueue_trial({"lr": low * (high / low) ** place})
        self._pruned = optuna.trial.TrialState.PRUNED
        self._trial: Any = None
        self.told = 0

    @property
    def is_over(self) -> bool:
        """Whether all trials are done."""
        return self.told >= self.settings.trials

    def propose(self) -> Job:
        """The job of the next trial."""
        low, high = self.settings.lr
        self._trial = self._optuna.ask()
        return with_rate(self.job, round_rate(self._trial.suggest_float("lr", low, high, log=True), low, high))

    def tell(self, value: float | None) -> None:
        """Give what the last proposal came to, smaller being better; ``None``: its training failed.

        To the sampler a failed training is worse than every finished one.
        """
        if value is None:
            self._optuna.tell(self._trial, state=self._pruned)
        else:
            self._optuna.tell(self._trial, value)
        self.told += 1


def spread(count: int) -> list[int]:
    """0 … ``count`` − 1 in an order of which every beginning covers the whole range (van der Corput's)."""
    digits = max(count - 1, 1).bit_length()
    return sorted(range(count), key=lambda number: int(f"{number:0{digits}b}"[::-1], 2))


def round_rate(lr: float, low: float, high: float) -> float:
    """Two significant digits, within the range: a rate that can be read and typed."""
    return min(max(float(f"{lr:.1e}"), low), high)


def with_rate(job: Job, lr: float) -> Job:
    """The job as if the rate had been typed: an ordinary cell, that can be run again by itself."""
    config = job.config
    assert isinstance(config, TrainConfig)
    optimizer = dataclasses.replace(config.optimizer, lr=lr)
    config = dataclasses.replace(config, optimizer=optimizer, search=Search(), select="in_domain")
    kept = [text for text in job.overrides if text.split("=")[0].split(".")[0] != "search"]
    return dataclasses.replace(job, config=config, overrides=(*kept, f"optimizer.lr={lr}"))


def search_rates(
    jobs: Sequence[Job], execute: Callable[[Sequence[Job]], object], *, together: bool
) -> tuple[list[Job], set[str]]:
    """Run the searches of ``jobs``; return the jobs of all trials and the keys of the cells that were missing.

    ``execute`` runs what is missing of some jobs. ``together``: one trial of every search at a time, for several
    workers; otherwise one search after another, which keeps to a checkpoint. With a ``mode`` other than ``run`` nothing
    is executed: the trials are those that are finished and, for each search, the next one.
    """
    searches = [RateSearch(job) for job in jobs]
    trials: list[Job] = []
    missing: set[str] = set()
    runs = jobs[0].config.mode == "run"
    for group in [searches] if together else [[search] for search in searches]:
        while going := [search for search in group if not search.is_over]:
            grid = plan_grid(proposed := [search.propose() for search in going])
            trials += proposed
            missing |= (now := grid.missing().keys())
            if runs and now:
                log.info("trial %d of %d: %s", going[0].told + 1, going[0].settings.trials, describe(proposed))
                execute(proposed)
            values = read_values(proposed, grid)
            for search, value in zip(going, values, strict=True):
                search.tell(value)
            if not runs:
                group = [search for search, value in zip(going, values, strict=True) if value is not None]
            elif grid.config.fail_fast and None in values:
                return trials, missing
    return trials, missing


def describe(jobs: Iterable[Job]) -> str:
    """Checkpoint, task and rate of each trial."""
    return "; ".join(
        f"{job.config.checkpoint.family} {label_of(job.config.checkpoint)} {job.config.task.name} "
        f"lr={job.config.optimizer.lr:g}"
        for job in jobs
        if isinstance(job.config, TrainConfig)
    )


def read_values(jobs: Sequence[Job], grid: Grid) -> list[float | None]:
    """What each trial came to (smaller is better); ``None`` where its training is not finished."""
    cells_of = {id(cells.job): cells for cells in grid.jobs}
    return [read_value(cells_of[id(job)], grid.study) for job in jobs]


def read_value(cells: Any, study: Study) -> float | None:
    """What one trial came to."""
    candidate = read_candidate(cells, study)
    if candidate is None:
        return None
    if not math.isfinite(candidate.value):
        raise PretuneError(
            f"search=optuna: {candidate.run_id} was not validated: the search needs held-out rows "
            "(task.validation_split or task.validation_rows)"
        )
    return candidate.cost
