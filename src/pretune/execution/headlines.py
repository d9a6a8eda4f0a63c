"""The one number of a job that a summary shows: its task's primary metric before and after."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pretune.config.running import TrainConfig
from pretune.config.science import Task
from pretune.errors import DamagedFile
from pretune.execution.cells import Cell, JobCells
from pretune.results.store import Study, read_checked
from pretune.terminal import say_count

log = logging.getLogger(__name__)


def headline(cells: JobCells, study: Study) -> dict[str, Any]:
    """Primary metric of a job as texts: ``metric`` with ``base``, ``tuned``, ``gain``, or ``value`` and interval.

    For a training it is measured in domain, in the training format, with the fewest shots.
    """
    if cells.train is None:
        return _single(cells, study)
    evaluated = [c for c in cells.tuned if c.evaluation is not None and c.evaluation.relation == "in_domain"]
    if not evaluated:
        return {}
    chosen = min(evaluated, key=lambda cell: _distance(cell, cells))
    evaluation = chosen.evaluation
    assert evaluation is not None
    twin = next((c for c in cells.base if c.evaluation == evaluation), None)
    tuned, base = (primary_row(cell, evaluation.task, study) for cell in (chosen, twin))
    text: dict[str, Any] = {"metric": f"{evaluation.task.metric}"}
    if base is not None:
        text["base"] = f"{base['value']:.3f}"
    if tuned is not None:
        text["tuned"] = f"{tuned['value']:.3f}"
    if base is not None and tuned is not None:
        text["gain"] = f"{tuned['value'] - base['value']:+.3f}"
    return text


def _distance(cell: Cell, cells: JobCells) -> tuple[bool, bool, int]:
    """How far an evaluation is from the training itself: other task, other format, more shots."""
    evaluation, config = cell.evaluation, cells.job.config
    assert evaluation is not None
    assert isinstance(config, TrainConfig)
    return (
        evaluation.task.name != config.task.name,
        evaluation.format.name != config.format.name,
        evaluation.shots,
    )


def _single(cells: JobCells, study: Study) -> dict[str, Any]:
    evaluated = cells.tuned or cells.base
    if evaluated and evaluated[0].kind == "probe":
        return _probed(evaluated[0], study)
    if len(evaluated) != 1 or evaluated[0].evaluation is None:
        return {"metric": say_count(len(evaluated), "evaluation")}
    task = evaluated[0].evaluation.task
    found = primary_row(evaluated[0], task, study)
    if found is None:
        return {"metric": task.metric}
    interval = f"{found['ci_low']:.3f} … {found['ci_high']:.3f}" if found["ci_low"] is not None else ""
    return {"metric": task.metric, "value": f"{found['value']:.3f}", "95 % interval": interval}


HEADLINES = ("loss_increase", "top_eigenvalue", "rankme", "accuracy_spread")
"""Metrics of probes, the first that a probe has is shown."""


def _probed(cell: Cell, study: Study) -> dict[str, Any]:
    """Headline of a probe: its metric at the magnitude where it is largest, averaged over seeds."""
    run_id = study.find_finished(cell.key)
    rows = [row for row in read_metrics(study.run_dir(run_id)) if row["value"] is not None] if run_id else []
    metric = next((name for name in HEADLINES if any(row["metric"] == name for row in rows)), None)
    if metric is None:
        return {"metric": say_count(len(rows), "row")}
    found = [row for row in rows if row["metric"] == metric]
    found = [row for row in found if row["probe_variant"] == "all"] or found
    by_size: dict[float, list[float]] = {}
    for row in found:
        by_size.setdefault(row["magnitude"] or 0.0, []).append(row["value"])
    worst, values = max(by_size.items(), key=lambda item: sum(item[1]) / len(item[1]))
    where = f" at {worst:g}" if worst else ""
    return {"metric": f"{metric}{where}", "value": f"{sum(values) / len(values):.3g}"}


def primary_row(cell: Cell | None, task: Task, study: Study) -> dict[str, Any] | None:
    """Row with the task's primary metric and scorer of a finished evaluate cell; ``None`` if there is none."""
    run_id = study.find_finished(cell.key) if cell is not None else None
    if run_id is None:
        return None
    for row in read_metrics(study.run_dir(run_id)):
        if (row["metric"], row["scorer"]) == (task.metric, task.scorer):
            return row
    return None


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Rows of a run's ``metrics.parquet``; none, with a warning, when it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run_dir / "metrics.parquet"
    try:
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(read_checked(path))).to_pylist()
    except (OSError, pa.ArrowException, DamagedFile) as error:
        log.warning("%s cannot be read: %s", path, error)
        return []
    return rows
