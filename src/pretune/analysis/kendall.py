"""The Mann–Kendall test for a monotone trend, exact with ties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

Reals = npt.NDArray[np.float64]

EXACT_UP_TO = 50
"""Up to this many values the null distribution is computed exactly; beyond it is normal with the ties' variance."""


@dataclass(frozen=True, kw_only=True)
class Monotone:
    """Kendall's S and tau-b of values against their order, and the two-sided p-value."""

    s: int
    tau: float
    p: float


def mann_kendall(values: npt.ArrayLike) -> Monotone:
    """Test values, in the order of pre-training, for a monotone trend (Mann, 1945; Kendall, 1975).

    Null hypothesis: every order of the values is equally likely. For up to :data:`EXACT_UP_TO` values the p-value is
    exact given the ties: the number of discordant pairs of a permuted multiset has the Gaussian multinomial
    coefficient as its generating function (Andrews, The Theory of Partitions, theorem 3.6). Beyond, normal with the
    tie-corrected variance and continuity correction. All equal, or fewer than two: p = 1, tau = 0.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    s = int(np.sign(sample[None, :] - sample[:, None])[np.triu_indices(n, 1)].sum()) if n > 1 else 0
    counts = np.unique(sample, return_counts=True)[1]
    pairs = n * (n - 1) // 2
    untied = pairs - int((counts * (counts - 1) // 2).sum())
    if untied == 0:
        return Monotone(s=0, tau=0.0, p=1.0)
    tau = s / math.sqrt(untied * pairs)
    if n <= EXACT_UP_TO:
        chances = discordant_pairs(tuple(sorted(int(count) for count in counts)))
        statistic = np.abs(untied - 2 * np.arange(untied + 1))
        p = float(chances[statistic >= abs(s)].sum())
    else:
        variance = (n * (n - 1) * (2 * n + 5) - (counts * (counts - 1) * (2 * counts + 5)).sum()) / 18
        z = max(abs(s) - 1, 0) / math.sqrt(variance)
        p = float(2 * stats.norm.sf(z))
    return Monotone(s=s, tau=tau, p=min(p, 1.0))


@lru_cache(maxsize=4096)
def discordant_pairs(ties: tuple[int, ...]) -> Reals:
    """Probabilities of 0, 1, … discordant pairs when a multiset with these multiplicities is put in random order."""
    chances = np.ones(1)
    placed = 0
    for count in ties:
        counts = _gaussian_binomial(placed, count)
        chances = np.convolve(chances, counts / counts.sum())
        placed += count
    return chances


def _gaussian_binomial(below: int, count: int) -> Reals:
    """Coefficients of the Gaussian binomial [below + count choose count]: whole numbers, exact in float64 here."""
    polynomial = np.ones(1)
    for i in range(1, count + 1):
        size = below + i
        raised = np.zeros(len(polynomial) + size)
        raised[: len(polynomial)] += polynomial
        raised[size:] -= polynomial
        for start in range(i):  # division by 1 − q^i: sums with stride i
            raised[start::i] = np.cumsum(raised[start::i])
        polynomial = raised[: below * i + 1]
    return polynomial
