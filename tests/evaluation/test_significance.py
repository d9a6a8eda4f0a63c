from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretune.evaluation.significance import (
    detectable_difference,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_ratio_bootstrap,
    unpaired_spread,
)


def answers(rng, n: int, *, only_first: float, only_second: float, both: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """0/1 values of two models by the probabilities of being right alone and together."""
    kind = rng.choice(4, size=n, p=[only_first, only_second, both, 1 - both - only_first - only_second])
    return np.isin(kind, (0, 2)).astype(float), np.isin(kind, (1, 2)).astype(float)


def test_paired_interval_is_that_of_the_differences_and_narrower_than_unpaired():
    rng = np.random.default_rng(0)
    ease = rng.normal(0, 1, 500)
    first, second = ease + rng.normal(0.1, 0.2, 500), ease + rng.normal(0, 0.2, 500)
    found = paired_bootstrap(first, second)
    assert found.value == pytest.approx(first.mean() - second.mean())
    half = 1.96 * (first - second).std() / math.sqrt(500)
    assert found.low == pytest.approx(found.value - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.1 * half)
    assert half < 0.3 * 1.96 * math.hypot(first.std(), second.std()) / math.sqrt(500)
    assert found.spread == pytest.approx((first - second).std(ddof=1))
    assert found.p_value < 0.001


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30), st.randoms(use_true_random=False)
)
def test_exchanging_the_models_turns_the_sign_and_order_does_not_matter(pairs, random):
    def found(rows, **how):
        return paired_bootstrap([a for a, _ in rows], [b for _, b in rows], resamples=200, **how)

    mixed = list(pairs)
    random.shuffle(mixed)
    assert found(mixed) == found(pairs)
    turned = found([(b, a) for a, b in pairs])
    assert turned.value == pytest.approx(-found(pairs).value, abs=1e-12)
    assert turned.spread == pytest.approx(found(pairs).spread, abs=1e-12)
    assert 0 < found(pairs).p_value <= 1


def test_p_values_follow_the_t_test():
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.05, 0.1, 0.2):
        first, second = rng.normal(shift, 1, 300), rng.normal(0, 0.3, 300)
        expected = stats.ttest_rel(first, second).pvalue
        assert paired_bootstrap(first, second).p_value == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_equal_models_are_told_apart_as_often_as_said(alpha):
    rng, repetitions = np.random.default_rng(2), 500
    found = []
    for _ in range(repetitions):
        skewed = rng.exponential(1.0, 200)
        found.append(paired_bootstrap(skewed * rng.random(200), skewed * rng.random(200), resamples=500).p_value)
    share = np.mean(np.array(found) <= alpha)
    assert share == pytest.approx(alpha, abs=3 * math.sqrt(alpha * (1 - alpha) / repetitions) + 0.005)


def test_the_true_difference_is_covered_as_often_as_said():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(500):
        first, second = answers(rng, 200, only_first=0.15, only_second=0.05)
        found = paired_bootstrap(first, second, resamples=600)
        hits += found.low <= 0.1 <= found.high
    assert 0.92 <= hits / 500 <= 0.98


def test_equal_values_and_single_items_prove_nothing():
    same = paired_bootstrap([0.3, 0.7], [0.3, 0.7])
    assert (same.value, same.low, same.high, same.p_value, same.spread) == (0, 0, 0, 1, 0)
    one = paired_bootstrap([1.0], [0.0])
    assert (one.value, one.n, one.p_value) == (1.0, 1, 1.0)
    assert paired_bootstrap([1.0] * 4, [0.0] * 4).p_value == 0.125  # as when signs are exchanged
    assert paired_bootstrap([2.0, 1.0, 1.0], [0.0, 0.0, 0.0]).p_value >= 0.25
    for wrong in ([1.0, float("nan")], [1.0]):
        with pytest.raises(ValueError):
            paired_bootstrap([0.0, 1.0], wrong)


def test_difference_of_ratios():
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 80, 200).astype(float)
    other_tokens = tokens + rng.integers(0, 9, 200)
    first, second = tokens * rng.gamma(9.0, 0.3, 200), other_tokens * rng.gamma(9.0, 0.28, 200)
    found = paired_ratio_bootstrap((first, tokens), (second, other_tokens), resamples=20_000)
    theirs = stats.bootstrap(
        (first, tokens, second, other_tokens),
        lambda a, b, c, d, axis: a.sum(axis=axis) / b.sum(axis=axis) - c.sum(axis=axis) / d.sum(axis=axis),
        paired=True, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1),
    )  # fmt: skip
    assert found.value == pytest.approx(first.sum() / tokens.sum() - second.sum() / other_tokens.sum())
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.006)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.006)
    assert found.spread / math.sqrt(200) == pytest.approx(theirs.standard_error, rel=0.03)
    same = paired_ratio_bootstrap((first, tokens), (first, tokens))
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="positive"):
        paired_ratio_bootstrap((first, tokens), (second, tokens * 0))
    with pytest.raises(ValueError, match="2 and 1 items"):
        paired_ratio_bootstrap(([1.0, 2.0], [1, 1]), ([1.0], [1]))


def test_mcnemar_is_a_sign_test_on_the_items_that_exactly_one_got_right():
    rng = np.random.default_rng(0)
    first, second = answers(rng, 300, only_first=0.2, only_second=0.1)
    found = mcnemar(first, second)
    assert found.only_first == int(((first == 1) & (second == 0)).sum())
    assert found.only_second == int(((first == 0) & (second == 1)).sum())
    assert found.n == 300
    expected = stats.binomtest(found.only_first, found.only_first + found.only_second, 0.5).pvalue
    assert found.p_value == pytest.approx(expected)
    turned = mcnemar(second, first)
    assert (turned.only_first, turned.only_second, turned.p_value) == (
        found.only_second,
        found.only_first,
        found.p_value,
    )


def test_mcnemar_without_disagreement_and_with_balance():
    assert mcnemar([1.0, 0.0], [1.0, 0.0]).p_value == 1.0
    assert mcnemar([1.0, 0.0], [0.0, 1.0]).p_value == 1.0  # twice the half that includes the middle is cut at 1
    assert mcnemar([1.0] * 5, [0.0] * 5).p_value == pytest.approx(2 * 0.5**5)
    with pytest.raises(ValueError, match="0 and 1"):
        mcnemar([0.5], [1.0])


@pytest.mark.parametrize("discordant", [1, 7, 40])
def test_mcnemar_rejects_equal_models_no_more_often_than_said(discordant):
    rejected = 0.0
    for ones in range(discordant + 1):
        values = np.array([1.0] * ones + [0.0] * (discordant - ones))
        rejected += stats.binom.pmf(ones, discordant, 0.5) * (mcnemar(values, 1 - values).p_value <= 0.05)
    assert rejected <= 0.05


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([]).shape == (0,)
    with_gap = holm([0.01, float("nan"), 0.02])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.02])
    assert math.isnan(with_gap[1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p_values, random):
    adjusted = holm(p_values)
    assert np.all(adjusted >= np.array(p_values) - 1e-15)
    assert np.all(adjusted <= np.minimum(1, len(p_values) * np.array(p_values)) + 1e-15)
    assert np.all(np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0)
    places = list(range(len(p_values)))
    random.shuffle(places)
    assert holm([p_values[i] for i in places]) == pytest.approx(adjusted[places])


def test_holm_keeps_the_family_wise_error_and_finds_what_is_there():
    rng = np.random.default_rng(0)
    p_values = rng.random((4000, 8))
    assert np.mean([holm(row).min() <= 0.05 for row in p_values]) == pytest.approx(0.05, abs=0.012)
    p_values[:, 0] = 1e-6
    found = np.array([holm(row) <= 0.05 for row in p_values])
    assert found[:, 0].all()
    assert found[:, 1:].any(axis=1).mean() <= 0.062


@pytest.mark.parametrize("n", [100, 1000])
def test_the_detectable_difference_is_found_with_the_power_asked_for(n):
    rng = np.random.default_rng(0)
    size = detectable_difference(0.5, n)
    differences = rng.normal(size, 0.5, (2000, n))
    found = np.mean(stats.ttest_1samp(differences, 0.0, axis=1).pvalue <= 0.05)
    assert found == pytest.approx(0.8, abs=0.03)


def test_detectable_accuracy_of_independent_samples():
    size = detectable_difference(unpaired_spread(math.sqrt(0.25), math.sqrt(0.25)), 1500)
    assert size == pytest.approx((1.959964 + 0.841621) * math.sqrt(0.5 / 1500), rel=1e-5)
    first, second = (np.random.default_rng(s).binomial(1500, p, 3000) for s, p in ((0, 0.5), (1, 0.5 + size)))
    z = (second - first) / np.sqrt(1500 * 0.5)
    assert np.mean(np.abs(z) > 1.959964) == pytest.approx(0.8, abs=0.03)
    assert detectable_difference(0.5, 6000) == pytest.approx(detectable_difference(0.5, 1500) / 2)
    assert detectable_difference(0.5, 100, alpha=0.01) > detectable_difference(0.5, 100)
    assert detectable_difference(0.0, 100) == 0
    assert math.isinf(detectable_difference(0.5, 1))
    for wrong in ({"alpha": 0.0}, {"power": 1.0}):
        with pytest.raises(ValueError, match="between 0 and 1"):
            detectable_difference(0.5, 100, **wrong)
    with pytest.raises(ValueError, match="spread=-1"):
        detectable_difference(-1.0, 100)
