"""From rows of an analysis to a curve of a panel: values, intervals and what hovering shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.metrics import points_per_unit
from pretune.report.panels import Curve, Point
from pretune.report.wording import is_null, shorten, write_interval, write_number, write_rate

Row = Mapping[str, Any]


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as dictionaries with text keys."""
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def scaled(value: object, scale: float) -> float:
    """Return ``value`` in points (or the metric's unit); NaN for null."""
    return math.nan if is_null(value) else float(value) * scale  # type: ignore[arg-type]


def split_runs(*texts: object) -> tuple[str, ...]:
    """Return the run ids of columns that list them separated by spaces, each once."""
    return tuple(dict.fromkeys(run for text in texts if not is_null(text) for run in str(text).split()))


def build_curve(
    name: str, state: str, rows: pd.DataFrame, column: str, *, metric: str, colour: int, shape: int = 0,
    runs: Sequence[str] = (), label: str = "", bounds: tuple[str, str] | None = None, signed: bool = False,
) -> Curve:  # fmt: skip
    """Build a curve from ``column`` of rows that have ``checkpoint``, in the order of the ladder.

    ``bounds`` are the columns of the interval (default: ``column`` with ``_low`` and ``_high``, where they exist);
    ``runs`` the columns that hold run ids. Values are points for metrics from 0 to 1.
    """
    scale = points_per_unit(metric)
    low, high = bounds or (f"{column}_low", f"{column}_high")
    digits = 1 if scale == 100 else 3
    points = []
    for row in records(rows.sort_values("position", kind="stable")):
        value, below, above = (scaled(row.get(key), scale) for key in (column, low, high))
        text = write_number(value, digits, signed=signed)
        interval = write_interval(below, above, digits)
        lines = [name, say_place(row), text + (f" (95 %: {interval})" if interval else "")]
        if state == "tuned" and not is_null(row.get("lr")):
            lines.append(f"lr {write_rate(row['lr'])}, seeds: {shorten(row.get('seeds', 1))}")
        if not is_null(row.get("best")) and "spread" in column:
            lines.append(f"best: {row['best']}, worst: {row['worst']}")
        points.append(Point(
            checkpoint=str(row["checkpoint"]), value=value, low=below, high=above, hover="\n".join(lines),
            runs=split_runs(*(row.get(key) for key in runs)), annealed=row.get("annealed") is True,
        ))  # fmt: skip
    return Curve(name=name, state=state, colour=colour, shape=shape, points=tuple(points), label=label)


def say_place(row: Row) -> str:
    """Say which checkpoint a row is of."""
    text = str(row["checkpoint"])
    if not is_null(row.get("tokens")):
        text += f" ({shorten(row['tokens'])} tokens)"
    if row.get("annealed") is True:
        text += ", annealed"
    return text


def find_varied(rows: pd.DataFrame) -> list[str]:
    """Name the columns of the setting that tell trainings of one task apart."""
    kinds = rows.groupby(["family", "train_task"], dropna=False)[SETTING].nunique(dropna=False)
    return [name for name in SETTING if len(kinds) and int(kinds[name].max()) > 1]


def name_training(values: Sequence[object]) -> str:
    """Name a training by its task and what tells it from others of the task."""
    first, *rest = (str(value) for value in values if not is_null(value))
    return f"{first} [{', '.join(rest)}]" if rest else first


def collect(rows: pd.DataFrame, names: Sequence[str], metric: str) -> list[float]:
    """Return all known values of some columns, scaled as they are drawn."""
    scale = points_per_unit(metric)
    return [float(value) * scale for name in names if name in rows for value in rows[name].dropna()]
