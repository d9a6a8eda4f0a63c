"""The one rule by which a learning rate is chosen: for ``select=``, for the weights that are kept, and in the report.

Rates are compared by what held-out rows of the training task say, on the seeds that every rate has: a rate that was
tried with more seeds than the others must not win by their luck, nor lose by it. Where no seed is common to all, each
rate is its mean over the seeds it has. A metric on the held-out rows goes before their loss; rates without the better
kind of evidence are out, and so is a rate that diverged with any seed while another did not. The smaller rate wins
a tie.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

VALIDATION_LOSS = "validation loss"
"""Evidence of last resort: the loss on the held-out rows in training."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training at ``lr`` with its ``seed``; ``cost``: smaller is better; ``evidence``: what it was measured by.

    For ``lr`` a rate's place in the order of the rates will do.
    """

    lr: float
    seed: int
    cost: float
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen ``lr``. ``costs`` are the means that were compared, ``seeds`` how many each is the mean of."""

    lr: float
    evidence: str
    costs: Mapping[float, float] = field(default_factory=dict)
    seeds: Mapping[float, int] = field(default_factory=dict)


def choose_rate(trials: Iterable[Trial]) -> Choice | None:
    """Choose a rate among trainings that differ in rate and seed only; ``None`` without any finite cost."""
    trials = list(trials)
    sound = {trial.lr for trial in trials} - {trial.lr for trial in trials if not math.isfinite(trial.cost)}
    usable = [trial for trial in trials if math.isfinite(trial.cost) and (trial.lr in sound or not sound)]
    if not usable:
        return None
    kinds = sorted({trial.evidence for trial in usable}, key=lambda kind: (kind == VALIDATION_LOSS, kind))
    by_rate: dict[float, dict[int, float]] = {}
    for trial in usable:
        if trial.evidence == kinds[0]:
            by_rate.setdefault(trial.lr, {})[trial.seed] = trial.cost
    shared = set.intersection(*(set(costs) for costs in by_rate.values()))
    compared = {
        lr: [cost for seed, cost in sorted(costs.items()) if seed in shared or not shared]
        for lr, costs in sorted(by_rate.items())
    }
    means = {lr: statistics.fmean(costs) for lr, costs in compared.items()}
    best = min(means, key=lambda lr: (means[lr], lr))
    return Choice(lr=best, evidence=kinds[0], costs=means, seeds={lr: len(costs) for lr, costs in compared.items()})


def choose_common_rate(choices: Iterable[Choice]) -> float | None:
    """Choose the rate that is best on average over several places; ``None`` when no rate was tried at all of them."""
    places = [choice.costs for choice in choices]
    common = set.intersection(*(set(costs) for costs in places)) if places else set()
    means = {lr: statistics.fmean(costs[lr] for costs in places) for lr in sorted(common)}
    return min(means, key=lambda lr: (means[lr], lr), default=None)
