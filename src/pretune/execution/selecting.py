"""``select=in_domain``: which learning rate stands for a training task at a checkpoint.

The choice looks at held-out rows of the training task (relation ``validation``) only, never at evaluated rows. Two
views follow from it: *tuned*, each checkpoint with the rate that was best for it, and *fixed*, all checkpoints of a
task with the one rate that was best on average. Both are written to ``selected.json`` in the study's folder.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.checkpoints.resolution import label_of
from pretune.config.running import TrainConfig
from pretune.execution.cells import JobCells
from pretune.execution.headlines import primary_row
from pretune.results.identity import digest
from pretune.results.store import Study, write_atomically

FILE_NAME = "selected.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A finished training with what its held-out rows say; ``cost``: smaller is better, infinite if unknown."""

    cells: JobCells
    run_id: str
    request: Mapping[str, Any]
    evidence: str
    value: float
    cost: float

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
                cost = value if metric == "loss" else -value
                evidence = f"{metric} on validation rows"
                return Candidate(
                    cells=cells, run_id=run_id, request=run["request"], evidence=evidence, value=value, cost=cost
                )
    losses = run["facts"]["validation_losses"]
    value = float(losses[-1]) if losses else math.inf
    return Candidate(
        cells=cells, run_id=run_id, request=run["request"], evidence="validation loss", value=value, cost=value
    )


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """The best candidate; the smaller rate on a tie. Those with a metric come before those with a loss alone."""
    metrics = [candidate for candidate in candidates if candidate.evidence != "validation loss"]
    return min(metrics or candidates, key=lambda candidate: (candidate.cost, candidate.lr))


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


def rate_costs(candidates: Sequence[Candidate]) -> dict[float, float]:
    """Mean cost of every learning rate over seeds (and checkpoints); only rates that all of them have."""
    places = [{c.lr: c.cost for c in group} for group in group_by(candidates, "optimizer.lr")]
    common = set.intersection(*(set(place) for place in places)) if places else set()
    return {lr: statistics.fmean(place[lr] for place in places) for lr in sorted(common)}


def select(jobs: Iterable[JobCells], study: Study) -> list[dict[str, Any]]:
    """Choose a rate per checkpoint and task, and one per task; write and return one entry per checkpoint and task.

    Rates are compared only where their evidence is of one kind. An entry says ``lr`` (tuned), ``fixed_lr``,
    ``evidence``, the values of all rates and the runs of the chosen one.
    """
    candidates = [found for cells in jobs if (found := read_candidate(cells, study)) is not None]
    entries = []
    for task in group_by(candidates, "optimizer.lr", "seed", "checkpoint"):
        kind = best_of(task).evidence
        task = [candidate for candidate in task if candidate.evidence == kind]
        overall = rate_costs(task)
        fixed = min(overall, key=lambda lr: (overall[lr], lr)) if overall else None
        for place in group_by(task, "optimizer.lr", "seed"):
            costs = rate_costs(place) or {best_of(place).lr: best_of(place).cost}
            lr = min(costs, key=lambda rate: (costs[rate], rate))
            config = place[0].config
            entries.append(
                {
                    "family": config.checkpoint.family,
                    "checkpoint": label_of(config.checkpoint),
                    "task": config.task.name,
                    "lr": lr,
                    "fixed_lr": fixed,
                    "evidence": kind,
                    "values": {f"{c.lr:g}": c.value for c in sorted(place, key=lambda c: c.lr)},
                    "runs": sorted(c.run_id for c in place if c.lr == lr),
                }
            )
    study.root.mkdir(parents=True, exist_ok=True)
    write_atomically(study.root / FILE_NAME, json.dumps(entries, indent=1).encode())
    return entries
