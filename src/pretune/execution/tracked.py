"""What a job tells the experiment tracker: one run per training, with its evaluations as summary."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretune.checkpoints.resolution import Resolved
from pretune.config.schema import to_plain
from pretune.execution.cells import JobCells
from pretune.execution.headlines import read_metrics
from pretune.execution.outcomes import DONE, FAILED, FINISHED, CellOutcome
from pretune.execution.training import next_attempt
from pretune.results.identity import digest
from pretune.results.store import Study
from pretune.tracking import RunInfo, TrackedRun, Tracker, flatten

log = logging.getLogger(__name__)

STEP_CHECKPOINT = "step.ckpt"
HIDDEN = ("templates", "labels", "fields", "recipe", "pattern")
"""Configuration entries that would drown the columns one compares runs by."""


def describe_job(cells: JobCells, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Flat configuration of a job for the tracker, with tokens and step of its checkpoint."""
    plain = to_plain(cells.job.config)
    for group in ("checkpoint", "task", "format"):
        plain[group] = {key: value for key, value in plain[group].items() if key not in HIDDEN}
    plain.pop("logger", None)
    return {**flatten(plain), **weights}


def describe_weights(resolved: Resolved) -> dict[str, Any]:
    """Where the base weights stand in pre-training: what sweeps are compared along."""
    return {
        "checkpoint/family": resolved.checkpoint.family,
        "checkpoint/label": resolved.label,
        "checkpoint/step": resolved.step,
        "checkpoint/tokens": resolved.tokens,
    }


class JobTracking:
    """Opens at most one tracked run for a job, when something is really computed."""

    def __init__(self, tracker: Tracker, study: Study, cells: JobCells, group: str) -> None:
        self._tracker = tracker
        self._study = study
        self._cells = cells
        self._group = group
        self._run: TrackedRun | None = None
        self._weights: dict[str, Any] = {}

    def start_training(self, run_id: str, identity: str, resolved: Resolved, work_dir: Path) -> Sequence[Any]:
        """Open the run of a training; return the Lightning loggers. A resumed training keeps its tracked run."""
        resumed = (work_dir / STEP_CHECKPOINT).is_file()
        attempt = next_attempt(self._study.root, run_id, resumed=resumed)
        self.know_weights(resolved)
        info = RunInfo(
            id=f"{identity[:16]}-{attempt}",
            name=run_id,
            group=self._group,
            job_type="train",
            config=describe_job(self._cells, self._weights),
            resume=resumed,
        )
        self._run = self._tracker.start(info)
        return self._run.loggers

    def know_weights(self, resolved: Resolved) -> None:
        """Note which checkpoint the job's weights come from."""
        self._weights = describe_weights(resolved)

    def finish(self, outcomes: Iterable[CellOutcome]) -> None:
        """Write the evaluations of the job to its run (opened now if nothing was trained) and close it."""
        outcomes = list(outcomes)
        evaluated = [o for o in outcomes if o.kind == "evaluate" and o.status in (DONE, FINISHED)]
        new = [o for o in evaluated if o.status == DONE]
        if self._run is None and not new:
            return
        if self._run is None:
            keys = sorted(str(o.run_id) for o in new)
            info = RunInfo(
                id=digest(keys)[:16],
                name=f"evaluate-{new[0].name}",
                group=self._group,
                job_type="evaluate",
                config=describe_job(self._cells, self._weights),
            )
            self._run = self._tracker.start(info)
        summary: dict[str, Any] = dict(self._weights)
        for outcome in evaluated:
            summary.update(summarize(self._study.runs / str(outcome.run_id)))
        self._run.summarize(summary)
        self._run.finish(failed=any(o.status == FAILED for o in outcomes))
        self._run = None


def summarize(run_dir: Path) -> dict[str, float]:
    """Metrics of an evaluate cell under readable names: ``eval/<relation>/<task>/<format>/<scorer>/<metric>``.

    ``relation`` is ``base`` for base models; ``4shot`` and the like follow the format where there are shots.
    """
    values = {}
    for row in read_metrics(run_dir):
        parts = [row["relation"] or row["state"], row["eval_task"], row["eval_format"]]
        if row["shots"]:
            parts.append(f"{row['shots']}shot")
        parts += [row["scorer"], row["metric"]]
        values["eval/" + "/".join(str(part).replace("/", ".") for part in parts if part)] = row["value"]
    return values
