"""A straight line by least squares, with the interval and p-value of its slope."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

FEWEST = 4
"""Fewer points leave too few degrees of freedom for an interval worth the name."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Slope with its 95 % interval and two-sided p-value; all NaN with too few distinct points."""

    slope: float
    low: float
    high: float
    p: float
    n: int


def fit_line(x: npt.ArrayLike, y: npt.ArrayLike) -> Line:
    """Fit y = a + b·x by least squares; Student's t with n − 2 degrees of freedom.

    Pairs with a missing value are left out. Assumes independent errors of equal size.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[known], ys[known]
    n = len(xs)
    spread = float(((xs - xs.mean()) ** 2).sum()) if n else 0.0
    if n < FEWEST or spread <= 0:
        return Line(slope=math.nan, low=math.nan, high=math.nan, p=math.nan, n=n)
    slope = float(((xs - xs.mean()) * (ys - ys.mean())).sum() / spread)
    rest = ys - ys.mean() - slope * (xs - xs.mean())
    error = math.sqrt(float((rest**2).sum()) / (n - 2) / spread)
    if error <= 1e-12 * max(abs(slope), 1e-12):
        return Line(slope=slope, low=slope, high=slope, p=0.0 if abs(slope) > 1e-12 else 1.0, n=n)
    half = float(stats.t.ppf(0.975, n - 2)) * error
    p = float(2 * stats.t.sf(abs(slope) / error, n - 2))
    return Line(slope=slope, low=slope - half, high=slope + half, p=p, n=n)


def name_direction(slope: float, p: float, *, up: str, down: str) -> str:
    """Say ``up``, ``down`` or 'undecided' at 5 % of a corrected p-value; 'not enough data' when there is none."""
    if math.isnan(p):
        return "not enough data"
    if p > 0.05:
        return "undecided"
    return up if slope > 0 else down
