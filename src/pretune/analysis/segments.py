"""A line with one break, fitted by least squares, and an interval for where it breaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Reals = npt.NDArray[np.float64]
After = Literal["flat", "free"]

PLACES = 121
"""Candidate breaks, at equal distances along the axis."""


@dataclass(frozen=True, kw_only=True)
class Break:
    """The best broken line of one curve.

    ``low`` to ``high`` is the interval of the break ``at``; ``p`` tests "no change at all" against the broken line;
    ``before`` and ``after`` are the slopes; ``level`` is the fitted value at the break; ``sigma`` the residual noise.
    ``at_end`` says that the interval reaches the last point (or the first): the break may lie outside the ladder.
    """

    at: float
    low: float
    high: float
    p: float
    before: float
    after: float
    level: float
    sigma: float
    at_start: bool
    at_end: bool


def fit_break(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    after: After = "flat",
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> Break:
    """Fit y = a + b·min(x, τ), or with a free slope after τ, and put an interval about τ.

    ``x`` is increasing with at least 5 points (6 with a free slope). The interval inverts a test: τ is in it when the
    fit breaking there is not worse than the best one by more than F, the ``confidence`` quantile of the same
    difference over ``resamples`` parametric bootstrap samples (fitted line + normal noise of the residuals' size, the
    break at its estimate). Unlike percentiles of the resampled break it keeps its rate on a dozen points, where
    the estimate sticks to the places of the points. ``p`` comes from as many samples of noise alone, its far tail
    from an F distribution.

    Assumptions: straight in x on both sides of the break; independent errors of equal size.
    Source: Hinkley (1971); Feder (1975); bootstrap of likelihood ratios: Davison & Hinkley (1997), chapter 5.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = len(xs)
    width = 2 if after == "flat" else 3
    if n < width + 3:
        raise ValueError(f"{n} points are too few for a broken line: at least {width + 3}")
    places = _list_places(xs, after)
    bases = _build_bases(xs, places, after)  # [places, n, width]
    rng = np.random.default_rng(seed)
    df = n - width - 1

    losses = _sums_of_squares(ys[None], bases)[0]
    best = int(np.argmin(losses))
    smallest = max(float(losses[best]), 1e-30)
    sigma = float(np.sqrt(smallest / df))
    fitted = bases[best] @ (bases[best].T @ ys)

    simulated = _sums_of_squares(fitted + sigma * rng.standard_normal((resamples, n)), bases)
    lowest = simulated.min(axis=1)
    critical = float(np.quantile((simulated[:, best] - lowest) / np.maximum(lowest / df, 1e-300), confidence))
    low, high = _cross(places, (losses - smallest) / (smallest / df), critical, best)

    observed = _gain_over_constant(ys[None], losses[None])[0]
    null = _simulate_null(tuple(xs), after, resamples, seed)
    p = _find_p(observed, null, n, width)

    before, later, level = _read_line(xs, fitted, places[best], after)
    return Break(
        at=float(places[best]), low=low, high=high, p=p,
        before=before, after=later, level=level, sigma=sigma,
        at_start=low <= places[0], at_end=high >= places[-1],
    )  # fmt: skip


def _find_p(observed: float, null: Reals, n: int, width: int) -> float:
    """Share of the null beyond ``observed``; far out, the F distribution's tail scaled to meet it at its 99 % quantile.

    A share of so many samples could never be small enough for a correction over many curves.
    """
    share = float((1 + (null >= observed).sum()) / (len(null) + 1))
    anchor = float(np.quantile(null, 0.99))
    if observed <= anchor:
        return share
    free, rest = width, n - width - 1  # the place of the break counts as a parameter
    tail, meeting = (stats.f.sf(gain * rest / free, free, rest) for gain in (observed, anchor))
    return float(min(share, 0.01 * tail / meeting))


def _cross(places: Reals, excess: Reals, critical: float, best: int) -> tuple[float, float]:
    """Ends of the accepted places, between the outermost accepted place and its rejected neighbour."""
    accepted = np.flatnonzero(excess <= critical)
    ends = []
    for inner, outer in ((min(accepted.min(initial=best), best), -1), (max(accepted.max(initial=best), best), 1)):
        place, beyond = places[inner], inner + outer
        if 0 <= beyond < len(places):
            rise = excess[beyond] - excess[inner]
            share = (critical - excess[inner]) / rise if rise > 0 else 1.0
            place = place + (places[beyond] - place) * np.clip(share, 0.0, 1.0)
        ends.append(float(place))
    return ends[0], ends[1]


@lru_cache(maxsize=256)
def _simulate_null(xs: tuple[float, ...], after: After, resamples: int, seed: int) -> Reals:
    """Gains of the best broken line over a constant, on noise alone."""
    points = np.array(xs)
    noise = np.random.default_rng([seed, 1]).standard_normal((resamples, len(points)))
    bases = _build_bases(points, _list_places(points, after), after)
    return _gain_over_constant(noise, _sums_of_squares(noise, bases))


def _list_places(xs: Reals, after: After) -> Reals:
    """Candidate breaks. With a flat end the last one stands for "no break"; with free slopes both ends need points."""
    first, last = (xs[0], xs[-1]) if after == "flat" else (xs[1], xs[-2])
    places = np.linspace(first, last, PLACES)
    return places[1:] if after == "flat" else places


def _build_bases(xs: Reals, places: Reals, after: After) -> Reals:
    ones = np.ones((len(places), len(xs)))
    kinked = np.minimum(xs[None], places[:, None])
    columns = [ones, kinked] if after == "flat" else [ones, kinked, np.maximum(xs[None] - places[:, None], 0.0)]
    return np.linalg.qr(np.stack(columns, axis=2))[0]


def _sums_of_squares(samples: Reals, bases: Reals) -> Reals:
    """Residual sums of squares of each sample [m, n] about each fit [places, n, width] → [m, places]."""
    centred = samples - samples.mean(axis=1, keepdims=True)
    places, n, width = bases.shape
    flat = bases.transpose(1, 0, 2).reshape(n, places * width)
    explained = ((centred @ flat) ** 2).reshape(len(samples), places, width).sum(axis=2)
    total = (centred**2).sum(axis=1, keepdims=True)
    rest: Reals = np.maximum(total - explained, 1e-12 * np.maximum(total, 1e-300))
    return rest


def _gain_over_constant(samples: Reals, losses: Reals) -> Reals:
    lowest = losses.min(axis=1)
    gain: Reals = (samples.var(axis=1) * samples.shape[1] - lowest) / np.maximum(lowest, 1e-300)
    return gain


def _read_line(xs: Reals, fitted: Reals, place: float, after: After) -> tuple[float, float, float]:
    columns = [np.ones_like(xs), np.minimum(xs, place)]
    if after == "free":
        columns.append(np.maximum(xs - place, 0.0))
    solution = np.linalg.lstsq(np.stack(columns, axis=1), fitted, rcond=None)[0]
    later = float(solution[2]) if after == "free" else 0.0
    return float(solution[1]), later, float(solution[0] + solution[1] * place)
