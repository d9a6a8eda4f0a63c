"""Tables of analyses as the page shows them, by a list of columns and what kind of value each holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.report.curves import records, split_runs
from pretune.report.views import Cell, View, set_aside
from pretune.report.wording import ABSENT, is_null, shorten, write_count, write_number, write_p, write_rate, write_text

Column = tuple[str, str, str]
"""Column of the table, head on the page, kind of value.

Kinds: ``text``; ``score`` and ``change`` (in points or the metric's unit, a change with its sign); ``units`` (of the
noise); ``p``; ``count``; ``large`` (steps, tokens); ``rate``; ``number`` (three significant digits);
``points`` (of shares, from 0 to 1 in the table); ``metric``.
"""

MOST = 120
ASIDE = frozenset({
    "advantage_low", "advantage_high", "axis", "base_p_holm", "base_shape", "best", "error_mean",
    "eval_format", "item_se", "noise", "noise_spread", "p_naive", "pairs", "predictions",
    "rank_correlation", "regret_mean", "run_sd", "seed_df", "setting", "shots", "step", "stage", "tau", "tokens",
    "train_format", "turning_shape", "twins", "unstable", "forgetting_change_low", "forgetting_change_high", "end",
})  # fmt: skip
"""Columns that a table on paper does without."""

LONG = 44
"""Texts of more characters may break over lines."""


def view_columns(
    frame: pd.DataFrame, columns: Sequence[Column], caption: str, meanings: Mapping[str, str], *, most: int = MOST
) -> View:
    """Show chosen columns of an analysis; columns that are null or empty throughout are left out.

    ``meanings`` become the hover text of the heads. A last column leads to the cells, where the table names them.
    """
    shown = [column for column in columns if column[0] in frame and _says_something(column[0], frame[column[0]])]
    traced = [name for name in frame.columns if str(name).endswith("runs") and not frame[name].isna().all()]
    lines = []
    for row in records(frame.head(most)):
        cells = [_write_cell(row, name, kind) for name, _, kind in shown]
        if traced:
            runs = split_runs(*(row[name] for name in traced))
            cells.append(Cell(text=str(len(runs)), sort=str(len(runs)), class_="number", runs=runs))
        lines.append(tuple(cells))
    heads = [head for _, head, _ in shown] + (["cells"] if traced else [])
    aside = tuple(name in ASIDE for name, _, _ in shown) + (True,) * bool(traced)
    hints = [meanings.get(name, "") for name, _, _ in shown] + (["the cells behind the row"] if traced else [])
    view = View(caption=caption, heads=tuple(heads), hints=tuple(hints), rows=tuple(lines), total=len(frame))
    return set_aside(view, aside)


def _says_something(name: str, values: pd.Series) -> bool:
    """Columns without a value say nothing, nor do those that only tell rows apart and are the same in all of them."""
    if values.map(_is_empty).all():
        return False
    return name not in ("family", "annealed", "setting", *SETTING) or values.nunique() > 1


def guess_columns(frame: pd.DataFrame) -> list[Column]:
    """Name all columns of a table that are not run ids, with a kind guessed from name and type."""
    columns = []
    for name in map(str, frame.columns):
        if name.endswith("runs"):
            continue
        columns.append((name, name.replace("_", " "), _guess_kind(name, frame[name])))
    return columns


def _guess_kind(name: str, values: pd.Series) -> str:
    if name == "metric":
        return "metric"
    if name == "p" or name.startswith("p_") or name.endswith("_p") or "_p_" in name:
        return "p"
    if name == "lr" or name.endswith("_lr"):
        return "rate"
    if "step" in name.split("_") or "tokens" in name.split("_") or name == "params":
        return "large"
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return "text"
    return "count" if pd.api.types.is_integer_dtype(values) else "number"


def _is_empty(value: object) -> bool:
    return is_null(value) or value == ""


def _write_cell(row: Mapping[str, Any], name: str, kind: str) -> Cell:
    value = row[name]
    if isinstance(value, bool | np.bool_):
        return Cell(text="yes" if value else "no")
    if kind == "text":
        text = write_text(value).replace("_", " ") if name == "relation" else write_text(value)
        return Cell(text=text, class_="long" if len(text) > LONG else "")
    if kind == "metric":
        return Cell(text=label_metric(str(value)))
    if is_null(value) or not isinstance(value, int | float) or not math.isfinite(value):
        return Cell(text=ABSENT if is_null(value) or isinstance(value, float) else str(value), class_="number")
    scale = points_per_unit(str(row.get("metric", ""))) if kind in ("score", "change") else 1.0
    digits = 1 if scale == 100 or kind == "units" else 3
    words = {
        "score": lambda: write_number(value * scale, digits),
        "change": lambda: write_number(value * scale, digits, signed=True),
        "units": lambda: write_number(value, digits, signed=True),
        "points": lambda: write_number(value * 100),
        "p": lambda: write_p(value),
        "count": lambda: write_count(value),
        "large": lambda: shorten(value),
        "rate": lambda: write_rate(value),
        "number": lambda: _write_short(value),
    }
    return Cell(text=words[kind](), sort=repr(float(value)), class_="number")


def _write_short(value: float) -> str:
    """Write a number with three significant digits."""
    if abs(value) < 1e-12:  # a difference of equal numbers
        value = 0.0
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = 0 if value == int(value) else max(2 - int(math.floor(math.log10(abs(value)))), 0)
        return write_number(value, min(digits, 4))
    return write_rate(value)
