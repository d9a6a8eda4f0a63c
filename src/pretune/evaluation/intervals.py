"""Bootstrap intervals: how far a sample mean would move with another sample of items of the same size.

Two intervals are made from the same resamples. The percentile interval (Efron, 1979) cuts equal shares off both ends
of the distribution of resampled means. The BCa interval (bias-corrected and accelerated; Efron, 1987,
https://doi.org/10.2307/2289144) moves both cuts by the median bias of that distribution and by its acceleration, the
skewness of the items: its errors shrink with 1/n instead of 1/√n, and it is the one that goes into the results table.

Everything here is numpy and three special functions; nothing depends on the order of the items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr, ndtri

Reals = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.floating]

METHODS = ("bca", "percentile")

CHUNK = 2**21
"""Draws held at a time."""

FEW = 32
"""Up to this many distinct values their counts are drawn instead of the items."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over ``n`` items and the ends of its interval."""

    value: float
    low: float
    high: float
    n: int


def bootstrap_mean(
    values: Values,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: str = "bca",
) -> Interval:
    """Sample mean of ``values`` with its bootstrap interval (``method``: ``bca`` or ``percentile``).

    Items are resampled with replacement. Of two distinct values (accuracies) the number of the larger one in a
    resample is binomial, so that the distribution of all resamples is known exactly and nothing is drawn; up to
    32 distinct values have multinomial counts, which are drawn directly: the same distribution, without the items.
    Deterministic for a seed. Equal values (and one item) give an interval without width: resampling knows nothing
    about the values that did not occur. Raises ``ValueError`` on empty or non-finite values.
    """
    sample = np.sort(as_sample(values))
    check_settings(method, confidence, resamples)
    n, value = len(sample), mean_of(sample)
    distinct, counts = np.unique(sample, return_counts=True)
    if len(distinct) == 1:
        value = float(sample[0])
        return Interval(value=value, low=value, high=value, n=n)
    acceleration = accelerate(sample - value) if method == "bca" else None
    if len(distinct) == 2:
        low, high = _binomial_ends(int(counts[1]), n, confidence, acceleration)
        step = float(distinct[1] - distinct[0])
        return Interval(value=value, low=distinct[0] + step * low, high=distinct[0] + step * high, n=n)
    means = resampled_means(sample, resamples, np.random.default_rng(seed))
    low, high = cut(means, value, confidence, acceleration)
    return Interval(value=value, low=low, high=high, n=n)


def bootstrap_share(
    values: Values,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: str = "bca",
) -> Interval:
    """:func:`bootstrap_mean` of values between 0 and 1 that says something about unanimous samples too.

    When all n items are 0 (or all are 1), no resample differs. Then the far end is that of the exact binomial
    interval of the share of other items (Clopper & Pearson, 1934), ``1 − ((1 − confidence)/2)^(1/n)``: as no value
    exceeds 1, the mean cannot exceed that share. Raises ``ValueError`` for values outside [0, 1].
    """
    sample = as_sample(values)
    if sample.min() < 0 or sample.max() > 1:
        raise ValueError(f"values between 0 and 1 are expected; these reach from {sample.min():g} to {sample.max():g}")
    interval = bootstrap_mean(sample, resamples=resamples, confidence=confidence, seed=seed, method=method)
    if interval.low == interval.high and interval.value in (0.0, 1.0):
        far = 1 - ((1 - confidence) / 2) ** (1 / interval.n)
        low, high = (0.0, far) if interval.value == 0.0 else (1 - far, 1.0)
        return Interval(value=interval.value, low=low, high=high, n=interval.n)
    return interval


def bootstrap_ratio(
    numerators: Values,
    denominators: Values,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: str = "bca",
) -> Interval:
    """Ratio of totals (loss per token: nats of all items over tokens of all items) with its bootstrap interval.

    Items are resampled whole, numerator and denominator together; ``n`` counts items. Denominators are positive.
    The acceleration comes from the ratio's influence function, ``(numerator − ratio · denominator) / mean
    denominator``.
    """
    pairs = in_order(np.stack([as_sample(numerators), as_sample(denominators)]))  # [2, items]
    check_settings(method, confidence, resamples)
    if not (pairs[1] > 0).all():
        raise ValueError("denominators must be positive")
    value = math.fsum(pairs[0]) / math.fsum(pairs[1])
    n = pairs.shape[1]
    influence = influence_of_ratio(pairs[0], pairs[1])
    if np.allclose(influence, 0.0, atol=1e-12 * max(1.0, abs(value)), rtol=0.0):
        return Interval(value=value, low=value, high=value, n=n)
    sums = resampled_sums(pairs, resamples, np.random.default_rng(seed))
    acceleration = accelerate(influence) if method == "bca" else None
    low, high = cut(sums[0] / sums[1], value, confidence, acceleration)
    return Interval(value=value, low=low, high=high, n=n)


def as_sample(values: Values) -> Reals:
    """``values`` as a checked float64 vector."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"a sample is a non-empty vector; this one has shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError(f"item {int(np.argmin(np.isfinite(sample)))} is not finite")
    return sample


def check_settings(method: str, confidence: float, resamples: int) -> None:
    """Refuse settings that mean nothing."""
    if method not in METHODS:
        raise ValueError(f"method={method}: valid: {', '.join(METHODS)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: must be at least 1")


def mean_of(sample: Reals) -> float:
    """The mean by exact summation: the same to the last bit in any order."""
    return math.fsum(sample) / len(sample)


def in_order(samples: Reals) -> Reals:
    """``samples`` [vectors, items] with their items in an order that only the values decide."""
    return samples[:, np.lexsort(samples[::-1])]


def influence_of_ratio(numerators: Reals, denominators: Reals) -> Reals:
    """How much each item moves the ratio of totals, times the number of items; its mean is zero."""
    ratio = math.fsum(numerators) / math.fsum(denominators)
    influence: Reals = (numerators - ratio * denominators) / denominators.mean()
    return influence


def accelerate(influence: Reals) -> float:
    """Acceleration of the BCa interval: ``Σ u³ / (6 (Σ u²)^1.5)`` of the items' influence u (Efron, 1987, eq. 6.6)."""
    scaled = influence / np.abs(influence).max()  # cubes of tiny or huge values would leave the range of floats
    return float((scaled**3).sum() / (6 * (scaled**2).sum() ** 1.5))


def resampled_means(sample: Reals, resamples: int, rng: np.random.Generator) -> Reals:
    """Means of ``resamples`` samples drawn with replacement from the (sorted) ``sample``."""
    distinct, counts = np.unique(sample, return_counts=True)
    n = len(sample)
    if len(distinct) <= FEW:
        means: Reals = rng.multinomial(n, counts / n, size=resamples) @ distinct / n
    else:
        means = resampled_sums(sample[None], resamples, rng)[0] / n
    return means


def resampled_sums(samples: Reals, resamples: int, rng: np.random.Generator) -> Reals:
    """Sums over resampled items: ``samples`` [vectors, items] → [vectors, resamples], the same items for each."""
    n = samples.shape[1]
    sums = np.empty((len(samples), resamples))
    # 32 bits of randomness per draw are enough, and half the work of 64
    step = max(CHUNK // n, 1)
    for start in range(0, resamples, step):
        draws = rng.integers(0, n, size=(min(step, resamples - start), n), dtype=np.uint32)
        for vector, target in zip(samples, sums, strict=True):
            target[start : start + len(draws)] = vector.take(draws).sum(axis=1)
    return sums


def cut(resampled: Reals, value: float, confidence: float, acceleration: float | None) -> tuple[float, float]:
    """Ends of the interval from resampled statistics; percentile where ``acceleration`` is ``None``, else BCa."""
    if acceleration is None:
        shares = tails(confidence)
    else:
        # resamples that equal the value count half, as in scipy.stats.bootstrap
        below = (np.count_nonzero(resampled < value) + np.count_nonzero(resampled <= value)) / 2
        edge = 0.5 / len(resampled)
        shares = shift(tails(confidence), min(max(below / len(resampled), edge), 1 - edge), acceleration)
    low, high = np.quantile(resampled, shares)
    return float(low), float(high)


def tails(confidence: float) -> tuple[float, float]:
    """Shares below the two ends of a central interval."""
    return (1 - confidence) / 2, (1 + confidence) / 2


def shift(shares: tuple[float, float], below: float, acceleration: float) -> tuple[float, float]:
    """Where BCa cuts instead: ``Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z)))`` with z₀ = Φ⁻¹(share of resamples below)."""
    bias = float(ndtri(below))

    def moved(share: float) -> float:
        z = bias + float(ndtri(share))
        divisor = 1 - acceleration * z
        if divisor <= 0:  # beyond the pole: no resample is extreme enough
            return 1.0 if z > 0 else 0.0
        return float(ndtr(bias + z / divisor))

    return moved(shares[0]), moved(shares[1])


def _binomial_ends(ones: int, n: int, confidence: float, acceleration: float | None) -> tuple[float, float]:
    """Ends for a sample of ``ones`` ones among ``n`` items, by the exact distribution of its resamples.

    An end is the smallest count that at least its share of all resamples does not exceed.
    """
    share = ones / n
    shares = tails(confidence)
    if acceleration is not None:
        below = float(bdtr(ones - 1, n, share) + bdtr(ones, n, share)) / 2
        shares = shift(shares, below, acceleration)

    def quantile(wanted: float) -> float:
        return first_reaching(lambda count: float(bdtr(count, n, share)) >= wanted - 1e-12, n) / n

    return quantile(shares[0]), quantile(shares[1])


def first_reaching(reaches: Callable[[int], bool], limit: int) -> int:
    """The smallest integer in 0..``limit`` for which the monotone ``reaches`` is true; ``limit`` if none is."""
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle + 1
    return low
