"""How the best learning rate moves with pre-training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.ladders import CHECKPOINT
from pretune.analysis.regression import FEWEST, fit_line
from pretune.analysis.series import SERIES, build_frame, name_annealing, place_on_axis

CONSTANT, SLOW, QUICK, RISING, UNDECIDED = (
    "constant", "slowly decreasing", "quickly decreasing", "increasing", "undecided",
)  # fmt: skip

RATE_TRENDS: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "train_task": SERIES["train_task"],
    **dict.fromkeys(SETTING, "setting of the training"),
    "checkpoints": "checkpoints with at least two rates with a validation score",
    "at_edge": "of these, how many have their best rate at the edge of the grid, where the optimum may lie beyond",
    "axis": SERIES["axis"],
    "best_first": "best rate at the first checkpoint, between grid points where the scores allow it",
    "best_last": "best rate at the last checkpoint",
    "slope": "doublings of the best rate per unit of the axis (a doubling of pre-training on a log2 axis)",
    "slope_low": "lower end of its 95 % interval",
    "slope_high": "upper end of its 95 % interval",
    "finding": f"'{CONSTANT}', '{SLOW}', '{QUICK}', '{RISING}', '{UNDECIDED}', or 'not enough data'",
    "reason": "why something could not be said",
}

STEADY, STEEP = 0.15, -0.5
"""Constant: the interval lies within ± the first. Quickly: a slope below the second (half per two doublings)."""


def fit_rate_trends(rates: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Fit log2 of the best learning rate against pre-training; columns :data:`RATE_TRENDS`.

    ``rates`` is :func:`validate_rates`' table: only validation scores count. Where the best rate has a neighbour on
    both sides, the vertex of the parabola through the three (in the logarithm of the rate) is the optimum; at the edge
    of the grid it is the edge, and ``at_edge`` counts it. Least squares, Student's t. Classes after Springer et al.
    (figure 5); their limits (:data:`STEADY`, :data:`STEEP`) are conventions of this project. *undecided* when the
    interval is too wide, or when most optima lie at the edge.
    """
    scored = rates.dropna(subset=["validation", "lr"])
    if scored.empty:
        return build_frame([], RATE_TRENDS)
    places = checkpoints[[*CHECKPOINT, "step", "tokens", "position", "annealed"]].drop_duplicates(CHECKPOINT)
    rows = place_on_axis(scored.merge(places, on=CHECKPOINT, how="left"))
    rows["annealed"] = name_annealing(rows["annealed"])
    keys = ["family", "annealed", "train_task", *SETTING]
    records = []
    for key, group in rows.groupby(keys, dropna=False, sort=False):
        points = []
        for _, grid in group.sort_values("position", kind="stable").groupby("position", sort=True, dropna=False):
            if len(grid) > 1:
                lower = str(grid["evidence"].iloc[0]).endswith("loss")
                score = grid["validation"].to_numpy(dtype=float) * (-1.0 if lower else 1.0)
                points.append((float(grid["x"].iloc[0]), *_find_optimum(grid["lr"].to_numpy(dtype=float), score)))
        if points:
            axis = group["axis"].iloc[0]
            records.append(dict(zip(keys, key, strict=True)) | {"axis": axis} | _describe(points))
    return build_frame(records, RATE_TRENDS)


def _find_optimum(rates: np.ndarray, scores: np.ndarray) -> tuple[float, bool]:
    """log2 of the best rate, and whether it lies at the edge of the grid."""
    order = np.argsort(rates)
    logs, scores = np.log2(rates[order]), scores[order]
    best = int(np.argmax(scores))
    if best in (0, len(logs) - 1):
        return float(logs[best]), True
    a, b, _ = np.polyfit(logs[best - 1 : best + 2] - logs[best], scores[best - 1 : best + 2], 2)
    shift = -b / (2 * a) if a < 0 else 0.0
    return float(np.clip(logs[best] + shift, logs[best - 1], logs[best + 1])), False


def _describe(points: list[tuple[float, float, bool]]) -> dict[str, object]:
    x, best = (np.array([point[i] for point in points], dtype=float) for i in (0, 1))
    edges = sum(point[2] for point in points)
    line = fit_line(x, best)
    finding, reason = UNDECIDED, ""
    if len(points) < FEWEST:
        finding = "not enough data"
        reason = (
            f"not enough data because a trend needs {FEWEST} checkpoints with several rates; there are {len(points)}"
        )
    elif edges > len(points) / 2:
        reason = "most of the best rates lie at the edge of the grid"
    elif line.low >= -STEADY and line.high <= STEADY:
        finding = CONSTANT
    elif line.high < 0:
        finding = QUICK if line.slope <= STEEP else SLOW
    elif line.low > 0:
        finding = RISING
    else:
        reason = "the interval of the slope holds zero and more than a steady rate allows"
    enough = len(points) >= FEWEST
    return {
        "checkpoints": len(points), "at_edge": edges, "best_first": float(2 ** best[0]),
        "best_last": float(2 ** best[-1]), "slope": line.slope if enough else math.nan, "slope_low": line.low,
        "slope_high": line.high, "finding": finding, "reason": reason,
    }  # fmt: skip
