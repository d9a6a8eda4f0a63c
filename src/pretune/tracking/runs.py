"""What every kind of tracking has in common: the description of a run, its interface, and flat configurations."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

STEP_AXIS = "trainer/step"
"""The x-axis of everything logged during training: optimizer steps done."""

AXES = ("checkpoint/step", "checkpoint/tokens")
"""Configuration keys repeated in a run's summary, so that charts over runs can have them as x-axis."""

LONGEST_ID = 64
Scalar = float | int | str | None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One run as its tracker shows it: one cell, or one sweep.

    ``id`` is stable: the cell's id and the number of its attempt. An interrupted cell that continues keeps its id
    and sets ``resume``; a cell that starts again from zero has a new one. ``config`` is flat (see :func:`flatten`).
    """

    id: str
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    resume: bool = False


class TrackedRun(Protocol):
    """A started run. None of its methods raises because of the tracker: tracking never stops work."""

    @property
    def loggers(self) -> Sequence[Any]:
        """Lightning loggers for the trainer; asking for them imports Lightning. Empty when nothing is tracked."""
        ...

    def summarize(self, values: Mapping[str, Scalar]) -> None:
        """Set final metrics, e.g. ``eval/in_domain/mnli/accuracy``. May be called several times; later values win."""
        ...

    def add_table(self, name: str, frame: pd.DataFrame) -> None:
        """Add a table; one of the same name replaces it."""
        ...

    def add_drawing(self, name: str, text: str) -> None:
        """Add a figure (SVG) or a page (HTML), given as text that refers to no other file."""
        ...

    def finish(self, *, failed: bool = False) -> None:
        """End the run. Calls after the first, and other calls after it, do nothing."""
        ...


class Tracker(Protocol):
    """Starts runs. One tracker serves all cells of a sweep in a process."""

    def start(self, info: RunInfo) -> TrackedRun:
        """Start a run; several may be open at once."""
        ...

    def close(self) -> None:
        """Finish what is still open, and tell the user what is left to do."""
        ...


class UntrackedRun:
    """A run that nobody follows."""

    @property
    def loggers(self) -> Sequence[Any]:
        """No loggers."""
        return ()

    def summarize(self, values: Mapping[str, Scalar]) -> None:
        """Do nothing."""

    def add_table(self, name: str, frame: pd.DataFrame) -> None:
        """Do nothing."""

    def add_drawing(self, name: str, text: str) -> None:
        """Do nothing."""

    def finish(self, *, failed: bool = False) -> None:
        """Do nothing."""


class NoTracker:
    """``logger=none``."""

    def start(self, info: RunInfo) -> TrackedRun:
        """Return a run that does nothing."""
        return UntrackedRun()

    def close(self) -> None:
        """Do nothing."""


def flatten(mapping: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings or dataclasses as one level, ``{"optimizer": {"lr": 1e-4}}`` → ``{"optimizer/lr": 1e-4}``.

    Lists and tuples stay lists of plain values, numbers, strings, booleans and None stay, anything else becomes its
    string. Empty mappings leave no key. ``prefix`` is put before every key: ``flatten(checkpoint, "checkpoint")``.
    """
    flat: dict[str, Any] = {}
    for key, value in _items(mapping):
        path = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping) or _is_record(value):
            flat.update(flatten(value, path))
        else:
            flat[path] = plain(value)
    return flat


def plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: None, bool, number, string or list."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if callable(getattr(value, "item", None)) and getattr(value, "ndim", None) == 0:
        return plain(value.item())  # a scalar of numpy or torch; numpy's float64 is a float, too
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def finite(value: Any) -> Any:
    """Return a plain value that strict JSON accepts: NaN and infinities become their names."""
    value = plain(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def safe_id(text: str) -> str:
    """Return ``text`` as an id that W&B and file systems accept, the same for the same text.

    Other characters than letters, digits, ``.``, ``_`` and ``-`` become ``-``; what that changes or what is longer
    than 64 characters gets a hash of the whole text at its end, so that different texts keep different ids.
    """
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "run"
    if cleaned == text and len(text) <= LONGEST_ID:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{cleaned[: LONGEST_ID - len(digest) - 1].rstrip('-.')}-{digest}"


def check_folder(folder: Path) -> None:
    """Make ``folder`` and check that files can be written there; :class:`OSError` when not."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / ".writable"
    probe.touch()
    probe.unlink(missing_ok=True)


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _items(mapping: Any) -> list[tuple[Any, Any]]:
    if _is_record(mapping):
        return [(entry.name, getattr(mapping, entry.name)) for entry in dataclasses.fields(mapping)]
    return list(mapping.items())
