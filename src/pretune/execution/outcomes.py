"""What became of cells and jobs: the vocabulary between workers and whatever shows their progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

FINISHED, DONE, FAILED, BUSY, BLOCKED, MISSING = "finished", "done", "failed", "busy", "blocked", "missing"
"""Before this run already; by this run; failed; being worked on by another process; impossible after a failure; not
made, because the process that was to make it ended early."""


@dataclass(frozen=True, kw_only=True)
class CellOutcome:
    """What became of one cell."""

    key: str
    kind: str
    state: str
    name: str
    status: str
    run_id: str | None = None
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """What became of one job's cells."""

    label: Mapping[str, Any]
    command: str
    cells: tuple[CellOutcome, ...] = field(default_factory=tuple)

    def count(self, status: str, kind: str | None = None) -> int:
        """Number of cells with a status (and of a kind)."""
        return sum(cell.status == status and kind in (None, cell.kind) for cell in self.cells)


class Listener(Protocol):
    """Hears of progress."""

    def start_activity(self, what: str) -> None:
        """Something that takes time begins."""

    def step(self, done: int, total: int) -> None:
        """Progress within the activity."""

    def finish_cell(self, outcome: CellOutcome) -> None:
        """A cell reached a final status."""
