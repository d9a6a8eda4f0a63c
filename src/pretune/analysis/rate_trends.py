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

BEST_RATES: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "train_task": SERIES["train_task"],
    **dict.fromkeys(SETTING, "setting of the training"),
    **{name: SERIES[name] for name in ("checkpoint", "step", "tokens", "position", "axis", "x")},
    "best": "best learning rate, between grid points where the scores allow it",
    "below": "the rate of the grid below the best one tried; null when that was the smallest",
    "above": "the rate of the grid above it; null when that was the largest",
    "at_edge": "whether the best rate tried lies at the edge of the grid, so that the optimum may lie beyond",
    "tried": "rates with a validation score",
    "evidence": "what they were judged by",
}

_TRAINING = ["family", "annealed", "train_task", *SETTING]

STEADY, STEEP = 0.15, -0.5
"""Constant: the interval lies within ± the first. Quickly: a slope below the second (half per two doublings)."""


def find_best_rates(rates: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Find the best learning rate of each training at each checkpoint with two rates or more; columns
    :data:`BEST_RATES`.

    ``rates`` is :func:`validate_rates`' table: only validation scores count. Where the best rate has a neighbour on
    both sides, the vertex of the parabola through the three (in the logarithm of the rate) is the optimum; at the edge
    of the grid it is the edge.
    """
    scored = rates.dropna(subset=["validation", "lr"])
    if scored.empty:
        return build_frame([], BEST_RATES)
    places = checkpoints[[*CHECKPOINT, "step", "tokens", "position", "annealed"]].drop_duplicates(CHECKPOINT)
    rows = place_on_axis(scored.merge(places, on=CHECKPOINT, how="left"))
    rows["annealed"] = name_annealing(rows["annealed"])
    rows = rows.sort_values("position", kind="stable")
    records: list[dict[str, object]] = []
    for _, grid in rows.groupby([*_TRAINING, "position"], dropna=False, sort=False):
        if len(grid) > 1:
            lower = str(grid["evidence"].iloc[0]).endswith("loss")
            score = grid["validation"].to_numpy(dtype=float) * (-1.0 if lower else 1.0)
            first = {str(name): value for name, value in grid.iloc[0].items()}
            records.append(first | _find_optimum(grid["lr"].to_numpy(dtype=float), score))
    return build_frame(records, BEST_RATES)


def fit_rate_trends(best: pd.DataFrame) -> pd.DataFrame:
    """Fit log2 of the best learning rate (:func:`find_best_rates`) against pre-training; columns :data:`RATE_TRENDS`.

    Least squares, Student's t. Classes after Springer et al. (figure 5); their limits (:data:`STEADY`, :data:`STEEP`)
    are conventions of this project. *undecided* when the interval is too wide, or when most optima lie at the edge of
    the grid, which ``at_edge`` counts.
    """
    records = [
        dict(zip(_TRAINING, key, strict=True)) | {"axis": group["axis"].iloc[0]} | _describe(group)
        for key, group in best.groupby(_TRAINING, dropna=False, sort=False)
    ]
    return build_frame(records, RATE_TRENDS)


def _find_optimum(rates: np.ndarray, scores: np.ndarray) -> dict[str, object]:
    """Return the best rate with its neighbours on the grid, and whether it lies at the edge."""
    order = np.argsort(rates)
    logs, scores = np.log2(rates[order]), scores[order]
    top = int(np.argmax(scores))
    edge = top in (0, len(logs) - 1)
    place = float(logs[top])
    if not edge:
        a, b, _ = np.polyfit(logs[top - 1 : top + 2] - logs[top], scores[top - 1 : top + 2], 2)
        place = float(np.clip(logs[top] - b / (2 * a) if a < 0 else logs[top], logs[top - 1], logs[top + 1]))
    return {
        "best": 2**place, "below": float(rates[order][top - 1]) if top else math.nan,
        "above": float(rates[order][top + 1]) if top + 1 < len(logs) else math.nan, "at_edge": edge,
        "tried": len(logs),
    }  # fmt: skip


def _describe(points: pd.DataFrame) -> dict[str, object]:
    x, best = points["x"].to_numpy(dtype=float), np.log2(points["best"].to_numpy(dtype=float))
    edges = int(points["at_edge"].sum())
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
