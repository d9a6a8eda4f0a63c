"""The noise floor of each curve, looked up in the table of the noise analysis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pretune.analysis.metrics import points_per_unit
from pretune.report.wording import is_null

TWO_SCORES = 1.96 * math.sqrt(2)
"""From the standard deviation of one score to the smallest difference of two that noise exceeds 5 times in 100."""


@dataclass(frozen=True, kw_only=True)
class Floors:
    """Smallest differences worth reading, as they are drawn (points for shares), by curve.

    Where annealed and un-annealed checkpoints are curves of their own, that with more checkpoints speaks.
    """

    table: Mapping[tuple[object, ...], float]

    def find(self, *, family: object, state: str, task: object, training: object = None, setting: object = "") -> float:
        """Return the floor of one curve; NaN where it is unknown."""
        named = None if is_null(training) or state == "base" else str(training)
        return self.table.get((str(family), state, str(task), named, str(setting) if named else ""), math.nan)

    def largest(self, curves: Iterable[float]) -> float | None:
        """Return the largest known one of some floors."""
        known = [floor for floor in curves if math.isfinite(floor)]
        return max(known) if known else None


def read_floors(noise: pd.DataFrame) -> Floors:
    """Index the smallest differences of :func:`pretune.analysis.noise.measure_noise`."""
    table: dict[tuple[object, ...], float] = {}
    for row in noise.sort_values("checkpoints", kind="stable").to_dict("records"):
        training = None if is_null(row["train_task"]) else str(row["train_task"])
        key = (str(row["family"]), row["state"], str(row["eval_task"]), training, str(row["setting"] or ""))
        floor = float(row["smallest_difference"]) * points_per_unit(str(row["metric"]))
        if math.isfinite(floor):
            table[key] = floor
    return Floors(table=table)


def floor_of_intervals(rows: pd.DataFrame, names: Iterable[str], scale: float = 1.0) -> float | None:
    """Return √2 × the median half-width of the 95 % intervals of some columns: the floor where only items are known."""
    halves = [
        (rows[f"{name}_high"] - rows[f"{name}_low"]).astype(float).to_numpy(dtype=float) / 2
        for name in names
        if f"{name}_low" in rows and f"{name}_high" in rows
    ]
    known = np.concatenate([half[np.isfinite(half)] for half in halves]) if halves else np.array([])
    return float(np.median(known)) * math.sqrt(2) * scale if len(known) else None
