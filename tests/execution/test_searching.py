"""Searching learning rates: what is proposed, what is learnt from, and how it goes on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("optuna")

from pretune.config.running import Search, TrainConfig
from pretune.config.validation import find_problems
from pretune.errors import UsageError
from pretune.execution import searching
from pretune.execution.jobs import Job
from pretune.execution.searching import RateSearch, is_search, round_rate, search_rates
from support.configs import CONFIG, change
from support.jobs import make_job

SEARCH = Search(name="optuna", trials=12, lr=(1e-6, 1e-2))


def rate(job: Job) -> float:
    assert isinstance(job.config, TrainConfig)
    return job.config.optimizer.lr


def rates_of(objective: Callable[[float], float | None], **changes: Any) -> list[float]:
    """The rates that a search proposes for an objective that is to be small."""
    search, rates = RateSearch(make_job(search=SEARCH, **changes)), []
    while not search.is_over:
        rates.append(rate(search.propose()))
        search.tell(objective(rates[-1]))
    return rates


def valley(best: float) -> Callable[[float], float]:
    return lambda lr: abs(math.log10(lr / best))


@pytest.mark.parametrize("best", [3e-6, 1e-4, 3e-3])
def test_it_covers_the_range_evenly_then_closes_in_on_the_best(best: float) -> None:
    rates = rates_of(valley(best))
    assert rates[:4] == [3.2e-6, 3.2e-4, 3.2e-5, 3.2e-3], "two of them are spread, too"
    distances = [valley(best)(lr) for lr in rates]
    assert min(distances) < 0.25
    assert sum(distances[-4:]) < sum(distances[:4])


def test_the_same_results_lead_to_the_same_proposals_and_others_to_others() -> None:
    assert rates_of(valley(1e-4)) == rates_of(valley(1e-4))
    assert rates_of(valley(1e-4)) != rates_of(valley(5e-3))


def test_failed_trainings_count_as_worse_than_all_others() -> None:
    failing, bad = (
        rates_of(lambda lr, worst=worst: worst if lr > 1e-4 else valley(1e-5)(lr)) for worst in (None, 99.0)
    )
    assert failing == bad
    assert failing != rates_of(lambda lr: -99.0 if lr > 1e-4 else valley(1e-5)(lr))


@given(st.floats(1e-8, 1.0), st.floats(1e-8, 1.0), st.floats(0, 1))
def test_rounded_rates_stay_in_the_range_and_near(low: float, high: float, place: float) -> None:
    low, high = sorted((low, high))
    lr = low * (high / low) ** place
    rounded = round_rate(lr, low, high)
    assert low <= rounded <= high
    assert rounded == pytest.approx(lr, rel=0.06)


def test_a_trial_is_an_ordinary_job() -> None:
    job = make_job(search=SEARCH)
    trial = RateSearch(job).propose()
    assert isinstance(trial.config, TrainConfig)
    assert trial.config.search == Search()
    assert trial.overrides == ("optimizer.lr=3.2e-06",)


class Bench:
    """Trainings that are done at once; what they come to is a function of checkpoint and rate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.finished: dict[tuple[int, float], float] = {}
        self.batches: list[int] = []
        monkeypatch.setattr(searching, "read_value", lambda cells, study: self.finished.get(self.key(cells.job)))

    @staticmethod
    def key(job: Job) -> tuple[int, float]:
        return int(job.config.checkpoint.step or 0), rate(job)

    def execute(self, jobs: Sequence[Job]) -> None:
        self.batches.append(len(jobs))
        for job in jobs:
            step, lr = self.key(job)
            self.finished[step, lr] = valley(10.0 ** -(2 + step))(lr)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench."""
    return Bench(monkeypatch)


def jobs_at(study: Path, **changes: Any) -> list[Job]:
    return [make_job(study, checkpoint__step=step, search=SEARCH, **changes) for step in (2, 0)]


@pytest.mark.parametrize("together", [True, False])
def test_every_checkpoint_has_a_search_of_its_own(bench: Bench, tmp_path: Path, together: bool) -> None:
    trials, missing = search_rates(jobs_at(tmp_path), bench.execute, together=together)
    assert len(trials) == 24
    assert bench.batches == ([2] * 12 if together else [1] * 24)
    best = {step: min((cost, lr) for (at, lr), cost in bench.finished.items() if at == step)[1] for step in (0, 2)}
    assert best[2] == pytest.approx(1e-4, rel=0.8)
    assert best[0] == pytest.approx(1e-2, rel=0.8)
    assert missing


def test_a_search_without_running_shows_what_is_finished_and_what_comes_next(bench: Bench, tmp_path: Path) -> None:
    planned, _ = search_rates(jobs_at(tmp_path, mode="plan"), bench.execute, together=True)
    assert bench.batches == []
    assert [bench.key(job) for job in planned] == [(2, 3.2e-6), (0, 3.2e-6)]
    done, _ = search_rates(jobs_at(tmp_path), bench.execute, together=True)
    planned, _ = search_rates(jobs_at(tmp_path, mode="plan"), bench.execute, together=True)
    assert [bench.key(job) for job in planned] == [bench.key(job) for job in done]


def test_contradictions_are_refused() -> None:
    assert not is_search([make_job()])
    assert is_search([make_job(search=SEARCH)])
    with pytest.raises(UsageError, match="cannot be swept"):
        is_search([make_job(), make_job(search=SEARCH)])
    with pytest.raises(UsageError, match="optimizer.lr=0.1: is what search=optuna chooses"):
        is_search([make_job(search=SEARCH, **{"optimizer.lr": 0.1})])


@pytest.mark.parametrize("lr", [(1e-3,), (1e-3, 1e-3), (1e-3, 1e-4), (1e-5, 1e-4, 1e-3), (0.0, 1e-3)])
def test_a_range_is_two_rates_in_order(lr: tuple[float, ...]) -> None:
    assert {problem.key for problem in find_problems(change(CONFIG, "search.lr", lr))} == {"search.lr"}
