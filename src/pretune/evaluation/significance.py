"""Paired tests: whether two models differ by more than the sample of items explains.

Both models answered the same items, so what is tested is the difference on each item. That takes out how hard the
items are, and needs far fewer of them than comparing two intervals would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtri

from pretune.evaluation.intervals import (
    Interval,
    Reals,
    Values,
    accelerate,
    as_sample,
    check_settings,
    cut,
    in_order,
    influence_of_ratio,
    mean_of,
    resampled_means,
    resampled_sums,
)


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """A difference (first − second) with its interval, its two-sided ``p_value``, and ``spread``.

    ``spread`` is the standard deviation of the items' differences: what :func:`detectable_difference` asks for.
    """

    p_value: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Items that only the first, or only the second model got right, of ``n``, and the two-sided p-value."""

    only_first: int
    only_second: int
    n: int
    p_value: float


def paired_bootstrap(
    first: Values,
    second: Values,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: str = "bca",
) -> Difference:
    """Difference of means of two models on the same items, with bootstrap interval and p-value.

    ``first[i]`` and ``second[i]`` are the values of item i; items are resampled, each with both its values. The
    p-value is that of the bootstrap test of no difference (Efron & Tibshirani, 1993, ch. 16; Koehn, 2004): the share
    of resamples whose mean difference lies at least as far from the observed one as that lies from zero,
    (1 + count) / (1 + resamples). It is never below ``2^(1 − n)``, the smallest that n items can give when
    only their signs are exchanged: few items that happen to agree prove nothing.

    Equal values throughout give a difference of 0 without width and p = 1. Raises ``ValueError`` for values that are
    not finite, or not as many.
    """
    pairs = _paired(first, second)
    check_settings(method, confidence, resamples)
    differences = np.sort(pairs[0] - pairs[1])
    value, n = mean_of(differences), len(differences)
    spread = float(differences.std(ddof=1)) if n > 1 else 0.0
    if differences[0] == differences[-1]:
        return _constant(float(differences[0]), n, resamples)
    means = resampled_means(differences, resamples, np.random.default_rng(seed))
    acceleration = accelerate(differences - value) if method == "bca" else None
    low, high = cut(means, value, confidence, acceleration)
    return Difference(value=value, low=low, high=high, n=n, p_value=centred_p(means, value, n), spread=spread)


def paired_ratio_bootstrap(
    first: tuple[Values, Values],
    second: tuple[Values, Values],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    method: str = "bca",
) -> Difference:
    """Difference of two ratios of totals (losses per token) on the same items; as :func:`paired_bootstrap`.

    ``first`` and ``second`` are (numerators, denominators), e.g. nats and tokens of each document: two tokenizers
    may count different tokens in the same document. ``spread`` is that of the items' influence on the difference.
    """
    rows = np.concatenate([_paired(*first), _paired(*second)]) if len(first[0]) == len(second[0]) else None
    if rows is None:
        raise ValueError(f"{len(first[0])} and {len(second[0])} items cannot be paired")
    check_settings(method, confidence, resamples)
    rows = in_order(rows)  # [4, items]
    if not (rows[[1, 3]] > 0).all():
        raise ValueError("denominators must be positive")
    totals = [math.fsum(row) for row in rows]
    value, n = totals[0] / totals[1] - totals[2] / totals[3], rows.shape[1]
    influence = influence_of_ratio(rows[0], rows[1]) - influence_of_ratio(rows[2], rows[3])
    if np.allclose(influence, 0.0, atol=1e-12 * max(1.0, abs(totals[0] / totals[1])), rtol=0.0):
        return _constant(value, n, resamples)
    sums = resampled_sums(rows, resamples, np.random.default_rng(seed))
    resampled = sums[0] / sums[1] - sums[2] / sums[3]
    low, high = cut(resampled, value, confidence, accelerate(influence) if method == "bca" else None)
    spread = float(influence.std(ddof=1))
    return Difference(value=value, low=low, high=high, n=n, p_value=centred_p(resampled, value, n), spread=spread)


def mcnemar(first: Values, second: Values) -> McNemar:
    """Exact McNemar test (McNemar, 1947) of two models' 0/1 values on the same items.

    Only items that exactly one of them got right say anything: if the models are equally good, each of the m such
    items is the first one's with probability ½. Two-sided p = min(1, 2 · P[Binomial(m, ½) ≤ the smaller count]); 1
    without such items. Raises ``ValueError`` for values other than 0 and 1.
    """
    pairs = _paired(first, second)
    if not np.isin(pairs, (0.0, 1.0)).all():
        raise ValueError("McNemar's test is about values of 0 and 1")
    only_first, only_second = int((pairs[0] > pairs[1]).sum()), int((pairs[0] < pairs[1]).sum())
    discordant = only_first + only_second
    p_value = min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5))) if discordant else 1.0
    return McNemar(only_first=only_first, only_second=only_second, n=pairs.shape[1], p_value=p_value)


def holm(p_values: Values) -> Reals:
    """Adjusted p-values of a family of tests by Holm's step-down procedure (Holm, 1979), in the order given.

    Rejecting where the adjusted value is at most α keeps the chance of any false rejection in the family at most α,
    whatever the dependence between the tests. The i-th smallest of m is multiplied by m − i + 1, and none is
    smaller than one before it. NaN stands for a test that was not made: it stays NaN and is not counted. Raises
    ``ValueError`` for values outside [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or ((given < 0) | (given > 1)).any():
        raise ValueError("p-values are a vector of numbers between 0 and 1")
    adjusted = np.full_like(given, np.nan)
    made = np.flatnonzero(~np.isnan(given))
    order = made[np.argsort(given[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return adjusted


def detectable_difference(spread: float, n: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest true difference that a two-sided test at ``alpha`` finds with probability ``power``.

    ``(z(1 − α/2) + z(power)) · spread / √n``, by the normal approximation. *Paired*: ``spread`` is the standard
    deviation of the differences on the n common items (:attr:`Difference.spread`; for accuracies about √(share of
    items that exactly one model gets right)). *Unpaired*: see :func:`unpaired_spread`. Divide ``alpha`` by the number
    of comparisons for a family. Infinite for fewer than two items.
    """
    if not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"alpha={alpha}, power={power}: must lie between 0 and 1")
    if not spread >= 0:
        raise ValueError(f"spread={spread}: must be at least 0")
    if n < 2:
        return math.inf
    return float(ndtri(1 - alpha / 2) + ndtri(power)) * spread / math.sqrt(n)


def unpaired_spread(first: float, second: float) -> float:
    """Spread for :func:`detectable_difference` of two models on different items, n for each: √(s₁² + s₂²).

    ``first`` and ``second`` are the standard deviations of the items' values; of an accuracy p that is √(p(1 − p)).
    """
    return math.hypot(first, second)


def centred_p(resampled: Reals, value: float, n: int) -> float:
    """Two-sided bootstrap p-value: how often resamples, moved to a mean of zero, lie as far off as ``value``."""
    # a hair of tolerance, or ties of sums would be broken by rounding
    extreme = int(np.count_nonzero(np.abs(resampled - value) >= abs(value) * (1 - 1e-12)))
    return max((1 + extreme) / (1 + len(resampled)), smallest_p(n))


def smallest_p(n: int) -> float:
    """Smallest two-sided p-value that exchanging the signs of ``n`` differences can give."""
    return math.ldexp(1.0, max(1 - n, -1000))


def _constant(value: float, n: int, resamples: int) -> Difference:
    """All items differ by the same amount: nothing to resample."""
    p_value = 1.0 if value == 0 else max(1 / (1 + resamples), smallest_p(n))
    return Difference(value=value, low=value, high=value, n=n, p_value=p_value, spread=0.0)


def _paired(first: Values, second: Values) -> Reals:
    one, two = as_sample(first), as_sample(second)
    if len(one) != len(two):
        raise ValueError(f"{len(one)} and {len(two)} items cannot be paired")
    return np.stack([one, two])
