from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import consistent
from scipy import stats

from pretune.analysis.correction import correct
from pretune.analysis.kendall import EXACT_UP_TO, discordant_pairs, mann_kendall
from pretune.analysis.segments import fit_break


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_p_is_the_share_of_orders_at_least_as_monotone(values):
    scores = [
        int(np.sign(np.subtract.outer(order, order).T)[np.triu_indices(len(order), 1)].sum())
        for order in map(np.array, itertools.permutations(values))
    ]
    found = mann_kendall(values)
    assert found.s == scores[0]
    assert found.p == pytest.approx(np.mean(np.abs(scores) >= abs(scores[0])))


def test_agrees_with_scipy_without_ties_and_for_long_curves():
    rng = np.random.default_rng(0)
    for n in (8, 20, 45):
        values = rng.normal(size=n)
        wanted = stats.kendalltau(np.arange(n), values, method="exact")
        assert mann_kendall(values).p == pytest.approx(wanted.pvalue, rel=1e-6)
        assert mann_kendall(values).tau == pytest.approx(wanted.statistic)
    long = np.round(rng.normal(size=EXACT_UP_TO + 30), 1)
    assert mann_kendall(long).p == pytest.approx(stats.kendalltau(np.arange(len(long)), long).pvalue, abs=0.02)


def test_ties_of_any_kind_give_chances_that_sum_to_one():
    for ties in [(1,) * 40, (20, 20), (5, 1, 7, 30), (49,)]:
        chances = discordant_pairs(ties)
        assert chances.sum() == pytest.approx(1)
        assert (chances >= 0).all()


def test_constant_and_single_values_have_no_trend():
    assert (mann_kendall([1.0]).p, mann_kendall([2.0] * 5).p, mann_kendall([2.0] * 5).tau) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(("after", "points"), [("flat", 12), ("free", 16)])
def test_interval_of_the_break_covers_it_at_its_rate(after, points):
    rng = np.random.default_rng(1)
    x = np.linspace(0, 10, points)
    covered = 0
    for index in range(150):
        place = rng.uniform(3, 8)
        y = 0.06 * np.minimum(x, place) - (0.05 * np.maximum(x - place, 0) if after == "free" else 0)
        found = fit_break(x, y + rng.normal(0, 0.02, points), after=after, resamples=399, seed=index)
        covered += found.low <= place <= found.high
    assert 0.90 <= covered / 150 <= 0.99


def test_no_change_is_rejected_in_one_of_twenty():
    rng = np.random.default_rng(2)
    x = np.linspace(0, 10, 14)
    rejected = sum(fit_break(x, rng.normal(size=14), resamples=399, seed=0).p <= 0.05 for _ in range(300))
    assert consistent(rejected, 300, 0.05)


def test_break_is_read_without_noise_and_does_not_depend_on_units():
    x = np.linspace(0, 10, 21)
    y = 3 + 2 * np.minimum(x, 6)
    found = fit_break(x, y, resamples=199)
    assert found.at == pytest.approx(6, abs=0.05)
    assert (found.before, found.after) == (pytest.approx(2, rel=0.02), 0.0)
    noisy = y + np.random.default_rng(0).normal(0, 0.5, 21)
    one, other = fit_break(x, noisy), fit_break(x * 7 - 2, noisy * 100 + 5)
    assert (other.low, other.high) == (pytest.approx(one.low * 7 - 2), pytest.approx(one.high * 7 - 2))


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="4 points are too few"):
        fit_break([0, 1, 2, 3], [0, 1, 1, 1])


def test_holm_within_families_and_without_missing_tests():
    import pandas as pd

    p = pd.Series([0.01, 0.04, np.nan, 0.03, 0.5])
    assert correct(p).tolist()[:2] == pytest.approx([0.04, 0.09])
    assert np.isnan(correct(p)[2])
    grouped = correct(p, [pd.Series(["a", "a", "a", "b", "b"])])
    assert grouped.dropna().tolist() == pytest.approx([0.02, 0.04, 0.06, 0.5])
