"""``plan.file``: a plan as a table for other programs, one row per cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pretune.execution.outcomes import FINISHED
from pretune.execution.planned import GridPlan
from pretune.results.store import write_atomically

COLUMNS = ("kind", "name", "state", "checkpoint", "task", "seconds", "memory_bytes", "request_key")
"""``seconds``: estimated, of cells that are not finished; ``memory_bytes``: estimated peak on one device. Empty where
they cannot be told. ``request_key``: the same in every plan of the same cell."""


def write_plan(plan: GridPlan, file: str) -> None:
    """Write the cells of a plan, in order of work, in place of an older table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for planned in plan.cells:
        cell, (checkpoint, task) = planned.cell, planned.group
        seconds = plan.seconds(planned) if planned.state != FINISHED else None
        time = "" if seconds is None else f"{seconds:.3g}"
        memory = "" if planned.memory is None else round(planned.memory)
        writer.writerow((cell.kind, cell.name, planned.state, checkpoint, task, time, memory, cell.key))
    path = Path(file).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())
