from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretune.evaluation.intervals import METHODS, bootstrap_mean, bootstrap_ratio, bootstrap_share, first_reaching

DRAWS = {
    "normal": lambda rng, n: rng.normal(1.0, 2.0, n),
    "exponential": lambda rng, n: rng.exponential(1.0, n),
    "accuracy": lambda rng, n: (rng.random(n) < 0.3).astype(float),
    "quarters": lambda rng, n: rng.integers(0, 5, n) / 4,
}


def test_deterministic_for_a_seed():
    values = np.random.default_rng(0).random(200)
    assert bootstrap_mean(values) == bootstrap_mean(list(values))
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_does_not_depend_on_the_order_of_the_items(values, random):
    mixed = list(values)
    random.shuffle(mixed)
    assert bootstrap_mean(values, resamples=50) == bootstrap_mean(mixed, resamples=50)
    weights = [1 + round(8 * value) for value in values]
    pairs = list(zip(values, weights, strict=True))
    random.shuffle(pairs)
    again = bootstrap_ratio([v for v, _ in pairs], [w for _, w in pairs], resamples=50)
    assert again == bootstrap_ratio(values, weights, resamples=50)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.sampled_from(METHODS))
def test_ends_lie_among_the_values(values, method):
    interval = bootstrap_mean(values, resamples=100, method=method)
    tiny = 1e-9 * max(1.0, max(map(abs, values)))
    assert min(values) - tiny <= interval.low <= interval.high <= max(values) + tiny
    assert interval.n == len(values)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DRAWS)
def test_equals_scipy(name, method):
    values = DRAWS[name](np.random.default_rng(3), 80)
    ours = bootstrap_mean(values, method=method, resamples=40_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method=method.replace("bca", "BCa"), rng=np.random.default_rng(7)
    ).confidence_interval
    error = 0.06 * values.std() / np.sqrt(len(values))  # Monte Carlo error of both; a lattice step of accuracies
    error += 1.01 / 80 if name == "accuracy" else 0.0
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=error)
    assert ours.high == pytest.approx(theirs.high, abs=error)


@pytest.mark.parametrize("method", METHODS)
def test_ratio_equals_scipy(method):
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 60, 120).astype(float)
    nats = tokens * rng.gamma(4.0, 0.5, 120)
    ours = bootstrap_ratio(nats, tokens, method=method, resamples=40_000)
    theirs = stats.bootstrap(
        (nats, tokens),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True, n_resamples=40_000, method=method.replace("bca", "BCa"), rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)


def test_bca_follows_the_skew_and_percentile_interval_does_not():
    values = np.random.default_rng(0).exponential(1.0, 40)
    plain, moved = (bootstrap_mean(values, method=method) for method in ("percentile", "bca"))
    assert moved.low > plain.low
    assert moved.high > plain.high
    mirrored = bootstrap_mean(-values, method="bca")
    assert mirrored.low == pytest.approx(-moved.high, abs=0.02)
    assert mirrored.high == pytest.approx(-moved.low, abs=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_two_values_are_exact_whatever_they_are(method):
    values = np.array([0.0] * 170 + [1.0] * 30)
    exact = bootstrap_mean(values, method=method)
    assert exact == bootstrap_mean(values, method=method, seed=5, resamples=7)  # nothing is drawn
    stretched = bootstrap_mean(3 + 2 * values, method=method)
    assert stretched.low == pytest.approx(3 + 2 * exact.low)
    assert stretched.high == pytest.approx(3 + 2 * exact.high)
    # the same through draws of the items: values that differ by nothing that matters
    drawn = bootstrap_mean(values + np.linspace(0, 1e-9, 200), method=method)
    assert drawn.low == pytest.approx(exact.low, abs=0.0051)
    assert drawn.high == pytest.approx(exact.high, abs=0.0051)


def test_exact_percentile_ends_are_quantiles_of_the_binomial_distribution():
    for ones, n in [(1, 2), (7, 9), (30, 200), (9_950, 10_000)]:
        interval = bootstrap_mean([1.0] * ones + [0.0] * (n - ones), method="percentile")
        expected = stats.binom.ppf([0.025, 0.975], n, ones / n) / n
        assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def coverage_of_shares(n: int, truth: float, method: str) -> float:
    """Probability, summed over all outcomes, that the interval of n items holds the true share."""
    hits = 0.0
    for ones in range(n + 1):
        probability = stats.binom.pmf(ones, n, truth)
        if probability > 1e-7:
            interval = bootstrap_share([1.0] * ones + [0.0] * (n - ones), method=method)
            hits += probability * (interval.low <= truth <= interval.high)
    return hits


@pytest.mark.parametrize("truth", [0.35, 0.5, 0.8, 0.95])
def test_accuracies_are_covered_as_often_as_said_by_enumeration(truth):
    assert 0.94 <= coverage_of_shares(200, truth, "bca") <= 0.985
    assert coverage_of_shares(20, truth, "bca") >= 0.95


def test_bca_covers_where_the_percentile_interval_does_not():
    assert coverage_of_shares(20, 0.8, "percentile") < 0.93 < 0.95 <= coverage_of_shares(20, 0.8, "bca")


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("name", ["normal", "exponential"])
def test_means_are_covered_as_often_as_said(name, confidence):
    rng, repetitions = np.random.default_rng(5), 600
    hits = 0
    for _ in range(repetitions):
        interval = bootstrap_mean(DRAWS[name](rng, 100), resamples=800, confidence=confidence)
        hits += interval.low <= 1.0 <= interval.high
    error = 3 * np.sqrt(confidence * (1 - confidence) / repetitions) + 0.012  # n = 100 is not infinite
    assert hits / repetitions == pytest.approx(confidence, abs=error)


def test_ratios_are_covered_as_often_as_said():
    rng, hits = np.random.default_rng(6), 0
    for _ in range(400):
        tokens = rng.integers(5, 50, 100).astype(float)
        interval = bootstrap_ratio(tokens * rng.gamma(9.0, 1 / 3, 100), tokens, resamples=800)
        hits += interval.low <= 3.0 <= interval.high
    assert 0.91 <= hits / 400 <= 0.985


def test_equal_values_and_one_item_have_no_width():
    assert bootstrap_mean([0.25] * 7).low == bootstrap_mean([0.25] * 7).high == 0.25
    interval = bootstrap_mean([0.25])
    assert (interval.value, interval.low, interval.high, interval.n) == (0.25, 0.25, 0.25, 1)
    assert bootstrap_ratio([3.0], [2]).low == 1.5
    same = bootstrap_ratio([1.1, 2.2, 3.3], [1, 2, 3])
    assert same.low == same.high == pytest.approx(1.1)
    values = [0.1] * 3  # their sum is not 0.3
    assert bootstrap_mean(values).value == 0.1


def test_unanimous_shares_have_the_exact_binomial_end():
    for n in (1, 10, 200):
        clopper = stats.binomtest(n, n).proportion_ci(method="exact")
        ones, zeros = bootstrap_share([1.0] * n), bootstrap_share([0.0] * n)
        assert (ones.value, ones.low, ones.high) == (1.0, pytest.approx(clopper.low), 1.0)
        assert (zeros.value, zeros.low, zeros.high) == (0.0, 0.0, pytest.approx(1 - clopper.low))
    assert bootstrap_share([0.5] * 9).high == 0.5
    mixed = [1.0, 0.0, 0.25, 0.5] * 9
    assert bootstrap_share(mixed) == bootstrap_mean(mixed)
    with pytest.raises(ValueError, match="reach from 0.5 to 1.5"):
        bootstrap_share([0.5, 1.5])


def test_one_more_right_answer_never_moves_an_end_down():
    intervals = [bootstrap_share([1.0] * ones + [0.0] * (60 - ones)) for ones in range(61)]
    assert [i.low for i in intervals] == sorted(i.low for i in intervals)
    assert [i.high for i in intervals] == sorted(i.high for i in intervals)


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")], [[1.0, 2.0]]])
def test_refuses_what_has_no_mean(values):
    with pytest.raises(ValueError):
        bootstrap_mean(values)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="confidence=95"):
        bootstrap_mean([0.0, 1.0], confidence=95)
    with pytest.raises(ValueError, match="method=BCa: valid: bca, percentile"):
        bootstrap_mean([0.0, 1.0], method="BCa")
    with pytest.raises(ValueError, match="resamples=0"):
        bootstrap_mean([0.0, 1.0], resamples=0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_neither_tiny_nor_huge_values_break_it(scale):
    values = np.random.default_rng(0).exponential(1.0, 50)
    plain, scaled = bootstrap_mean(values), bootstrap_mean(values * scale)
    assert scaled.low / scale == pytest.approx(plain.low)
    assert scaled.high / scale == pytest.approx(plain.high)


def test_two_items_and_one_resample_still_give_an_interval():
    interval = bootstrap_mean([0.0, 0.5, 7.0], resamples=1)
    assert interval.low == interval.high
    two = bootstrap_mean([0.0, 1.0], confidence=0.999999)
    assert (two.low, two.high) == (0.0, 1.0)


def test_ratio_of_totals():
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 50, 400)
    nats = 2.0 * tokens + rng.normal(0, 3, 400)
    interval = bootstrap_ratio(nats, tokens)
    assert interval.value == pytest.approx(nats.sum() / tokens.sum())
    assert interval.low < interval.value < interval.high
    assert interval == bootstrap_ratio(nats, tokens)
    with pytest.raises(ValueError, match="positive"):
        bootstrap_ratio([1.0], [0])


def test_first_reaching():
    assert [first_reaching(lambda i, goal=goal: i >= goal, 10) for goal in (0, 4, 10, 99)] == [0, 4, 10, 10]


def test_ten_thousand_resamples_of_ten_thousand_items_in_two_seconds():
    values = np.random.default_rng(0).random(10_000)
    start = time.process_time()
    bootstrap_mean(values)
    assert time.process_time() - start < 2.0


def test_statistics_load_nothing_heavy():
    code = (
        "import sys, pretune.evaluation.intervals, pretune.evaluation.significance;"
        "assert not {'torch', 'pandas', 'scipy.stats', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
