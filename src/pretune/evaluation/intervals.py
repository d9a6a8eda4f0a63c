"""Bootstrap intervals: how far a sample mean would move with another sample of items of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

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
    values: Sequence[float] | npt.NDArray[np.floating],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Sample mean of ``values`` with its percentile bootstrap interval (Efron, 1979).

    Items are resampled with replacement. Where only few distinct values occur (accuracies: two) the numbers of
    their occurrences in a resample follow a multinomial distribution, which is drawn directly: the same
    distribution, without the items. Deterministic for a seed. Raises ``ValueError`` on empty or non-finite values.
    """
    sample = as_sample(values)
    n, mean = len(sample), float(sample.mean())
    distinct, counts = np.unique(sample, return_counts=True)
    if len(distinct) == 1:
        return Interval(value=mean, low=mean, high=mean, n=n)
    rng = np.random.default_rng(seed)
    if len(distinct) == 2:
        ones = rng.binomial(n, counts[1] / n, size=resamples)
        means = distinct[0] + (distinct[1] - distinct[0]) * (ones / n)
    elif len(distinct) <= FEW:
        means = rng.multinomial(n, counts / n, size=resamples) @ distinct / n
    else:
        means = resampled_sums(sample[None], resamples, rng)[0] / n
    low, high = percentiles(means, confidence)
    return Interval(value=mean, low=low, high=high, n=n)


def bootstrap_ratio(
    numerators: Sequence[float] | npt.NDArray[np.floating],
    denominators: Sequence[float] | npt.NDArray[np.floating],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Ratio of totals (loss per token: nats of all items over tokens of all items) with its percentile interval.

    Items are resampled whole, numerator and denominator together; ``n`` counts items. Denominators are positive.
    """
    pairs = np.stack([as_sample(numerators), as_sample(denominators)])  # [2, items]
    if not (pairs[1] > 0).all():
        raise ValueError("denominators must be positive")
    value = float(pairs[0].sum() / pairs[1].sum())
    n = pairs.shape[1]
    if n == 1:
        return Interval(value=value, low=value, high=value, n=n)
    sums = resampled_sums(pairs, resamples, np.random.default_rng(seed))
    low, high = percentiles(sums[0] / sums[1], confidence)
    return Interval(value=value, low=low, high=high, n=n)


def as_sample(values: Sequence[float] | npt.NDArray[np.floating]) -> Reals:
    """``values`` as a checked float64 vector."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"a sample is a non-empty vector; this one has shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError(f"item {int(np.argmin(np.isfinite(sample)))} is not finite")
    return sample


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


def percentiles(means: Reals, confidence: float) -> tuple[float, float]:
    """Ends of the central ``confidence`` share of ``means``."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1")
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
