"""Does a curve fall after a peak? A test that knows that the peak was picked because it was high."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pretune.analysis.noise import measure_scatter

Reals = npt.NDArray[np.float64]

SIMULATIONS = 2000


def scan_decline(y: Reals) -> float:
    """Largest standardised fall from any window to the end, for noise of size 1; ``y``: more is better.

    Windows and end have the same length m = 1, 2, … up to a quarter of the points, and do not overlap.
    """
    return float(_scan(y[None])[0])


def decline_against_scatter(x: Reals, y: Reals, floor: float = 0.0) -> float:
    """p-value of "the curve never falls", with the noise estimated from the scatter about the curve.

    The null distribution is that of :func:`scan_decline` over a flat curve – the monotone curve that looks most like a
    fall – with the noise estimated in the same way, so that picking the peak and estimating the noise are both in it.
    ``floor`` is the least noise believed (that of the evaluated rows). NaN with fewer than 5 points.
    """
    scatter = measure_scatter(x, y)
    if math.isnan(scatter):
        return math.nan
    sigma = max(scatter, floor)
    if sigma <= 0:
        return 1.0 if scan_decline(y) <= 0 else 0.0
    places = (x - x[0]) / max(float(x[-1] - x[0]), 1e-12)
    return _read_tail(scan_decline(y) / sigma, _null_scatter(tuple(np.round(places, 6))))


def decline_against_repeats(y: Reals, sigma: float, df: int) -> float:
    """The same with the noise of one point known from repeats with ``df`` degrees of freedom."""
    if len(y) < 3 or not sigma > 0:
        return math.nan
    return _read_tail(scan_decline(y) / sigma, _null_repeats(len(y), min(df, 200)))


def _scan(samples: Reals) -> Reals:
    n = samples.shape[1]
    sums = np.concatenate([np.zeros((len(samples), 1)), np.cumsum(samples, axis=1)], axis=1)
    best = np.full(len(samples), -np.inf)
    for m in range(1, max(n // 4, 1) + 1):
        means = (sums[:, m:] - sums[:, :-m]) / m  # windows that start at 0 … n − m
        earlier = means[:, : n - 2 * m + 1].max(axis=1)
        best = np.maximum(best, (earlier - means[:, -1]) / math.sqrt(2 / m))
    return best


@lru_cache(maxsize=512)
def _null_scatter(places: tuple[float, ...]) -> Reals:
    x = np.array(places)
    noise = np.random.default_rng(0).standard_normal((SIMULATIONS, len(x)))
    scatter = np.array([measure_scatter(x, sample) for sample in noise])
    return np.sort(_scan(noise) / np.maximum(scatter, 1e-12))


@lru_cache(maxsize=512)
def _null_repeats(n: int, df: int) -> Reals:
    rng = np.random.default_rng(0)
    return np.sort(_scan(rng.standard_normal((SIMULATIONS, n))) / np.sqrt(rng.chisquare(df, SIMULATIONS) / df))


def _read_tail(statistic: float, null: Reals) -> float:
    """Share of the sorted ``null`` beyond the statistic; beyond its 95 % quantile a Pareto tail (Hill, 1975)."""
    top = null[-len(null) // 20 :]
    if statistic <= top[0]:
        return float((1 + (null >= statistic).sum()) / (len(null) + 1))
    exponent = 1 / float(np.mean(np.log(top / top[0])))
    return float(0.05 * (statistic / top[0]) ** -exponent)
