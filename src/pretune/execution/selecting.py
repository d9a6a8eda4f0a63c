"""``select=in_domain``: which learning rate stands for a training task at a checkpoint.

The choice looks at held-out rows of the training task (relation ``validation``) only, never at evaluated rows. Two
views follow from it: *tuned*, each checkpoint with the rate that was best for it, and *fixed*, all checkpoints of a
task with the one rate that was best on average. Both are written to ``selected.json`` in the study's folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pretune.checkpoints.resolution import label_of
from pretune.config.running import TrainConfig
from pretune.execution.cells import JobCells
from pretune.execution.headlines import primary_row
from pretune.results.identity import digest
from pretune.results.rates import VALIDATION_LOSS, Choice, Trial, choose_common_rate, choose_rate
from pretune.results.store import Study, write_atomically

FILE_NAME = "selected.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A finished training with what its held-out rows say (an infinite ``value`` if nothing)."""

    cells: JobCells
    run_id: str
    request: Mapping[str, Any]
    evidence: str
    value: float
    less_is_better: bool

    @property
    def cost(self) -> float:
        """Its value, turned so that smaller is better."""
        return self.value if self.less_is_better else -self.value

    @property
    def config(self) -> TrainConfig:
        """Configuration of the training."""
        config = self.cells.job.config
        assert isinstance(config, TrainConfig)
        return config

    @property
    def lr(self) -> float:
        """Its learning rate."""
        return self.config.optimizer.lr


def read_candidate(cells: JobCells, study: Study) -> Candidate | None:
    """The candidate of a job; ``None`` unless its training is finished.

    Its evidence is the task's primary metric on the held-out rows; without that, their loss in training.
    """
    run_id = study.find_finished(cells.train.key) if cells.train is not None else None
    if run_id is None:
        return None
    run = study.read_run(run_id)
    for cell in cells.tuned:
        if cell.evaluation is not None and cell.evaluation.split == "validation":
            row = primary_row(cell, cell.evaluation.task, study)
            if row is not None and row["value"] is not None and math.isfinite(row["value"]):
                metric, value = str(row["metric"]), float(row["value"])
                return Candidate(
                    cells=cells,
                    run_id=run_id,
                    request=run["request"],
                    evidence=f"{metric} on validation rows",
                    value=value,
                    less_is_better=metric == "loss",
                )
    losses = run["facts"]["validation_losses"]
    value = float(losses[-1]) if losses else math.inf
    return Candidate(
        cells=cells,
        run_id=run_id,
        request=run["request"],
        evidence=VALIDATION_LOSS,
        value=value,
        less_is_better=True,
    )


def group_by(candidates: Iterable[Candidate], *without: str) -> list[list[Candidate]]:
    """Candidates whose requests differ in nothing but the keys ``without`` (dots lead into a part)."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        request = json.loads(json.dumps(candidate.request))
        for key in without:
            part, _, rest = key.partition(".")
            (request[part] if rest else request).pop(rest or part, None)
        groups.setdefault(digest(request), []).append(candidate)
    return list(groups.values())


def choose(candidates: Iterable[Candidate]) -> Choice | None:
    """Choose among trainings that differ in learning rate and seed only, by :mod:`pretune.results.rates`."""
    return choose_rate(
        Trial(lr=found.lr, seed=found.config.seed, cost=found.cost, evidence=found.evidence) for found in candidates
    )


def select(jobs: Iterable[JobCells], study: Study) -> list[dict[str, Any]]:
    """Choose a rate per checkpoint and task, and one per task; write and return one entry per checkpoint and task.

    An entry says ``lr`` (tuned), ``fixed_lr`` (best on average over the checkpoints that were judged by the same
    evidence), ``evidence``, ``values`` (the means that were compared, in the metric's own sign) and the runs of the
    chosen rate. Trainings without any evidence are left out.
    """
    candidates = [found for cells in jobs if (found := read_candidate(cells, study)) is not None]
    entries = []
    for task in group_by(candidates, "optimizer.lr", "seed", "checkpoint"):
        places = [(place, choice) for place in group_by(task, "optimizer.lr", "seed") if (choice := choose(place))]
        for place, choice in places:
            config = place[0].config
            sign = next(1 if c.less_is_better else -1 for c in place if c.evidence == choice.evidence)
            entries.append(
                {
                    "family": config.checkpoint.family,
                    "checkpoint": label_of(config.checkpoint),
                    "task": config.task.name,
                    "lr": choice.lr,
                    "fixed_lr": choose_common_rate(c for _, c in places if c.evidence == choice.evidence),
                    "evidence": choice.evidence,
                    "values": {f"{lr:g}": sign * cost for lr, cost in choice.costs.items()},
                    "runs": sorted(c.run_id for c in place if c.lr == choice.lr),
                }
            )
    study.root.mkdir(parents=True, exist_ok=True)
    write_atomically(study.root / FILE_NAME, json.dumps(entries, indent=1).encode())
    return entries
