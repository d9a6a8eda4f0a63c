from __future__ import annotations

import time

import numpy as np
import pytest

from pretune.evaluation.intervals import bootstrap_mean, bootstrap_ratio


def test_deterministic_for_a_seed():
    values = np.random.default_rng(0).random(200)
    assert bootstrap_mean(values) == bootstrap_mean(list(values))
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values)


@pytest.mark.parametrize("draw", [
    lambda rng, n: rng.normal(1.0, 2.0, n),
    lambda rng, n: (rng.random(n) < 0.3).astype(float),
    lambda rng, n: rng.integers(0, 5, n) / 4,
])  # fmt: skip
def test_agrees_with_the_normal_interval(draw):
    values = draw(np.random.default_rng(3), 2000)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert interval.n == 2000


def test_few_distinct_values_give_the_same_distribution_as_their_items(monkeypatch):
    values = np.random.default_rng(3).integers(0, 2, 300).astype(float)
    short = bootstrap_mean(values)
    gathered = bootstrap_mean(values + np.linspace(0, 1e-9, 300))
    assert short.low == pytest.approx(gathered.low, abs=0.005)
    assert short.high == pytest.approx(gathered.high, abs=0.005)


def test_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        interval = bootstrap_mean(rng.normal(0, 1, 60), resamples=500)
        hits += interval.low <= 0 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_constant_values_and_one_item():
    assert bootstrap_mean([0.0] * 7).high == 0.0
    interval = bootstrap_mean([0.25])
    assert (interval.value, interval.low, interval.high, interval.n) == (0.25, 0.25, 0.25, 1)
    assert bootstrap_ratio([3.0], [2]).low == 1.5


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_refuses_what_has_no_mean(values):
    with pytest.raises(ValueError):
        bootstrap_mean(values)


def test_confidence_is_checked():
    with pytest.raises(ValueError, match=r"confidence=95"):
        bootstrap_mean([0.0, 1.0], confidence=95)


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


def test_ten_thousand_resamples_of_ten_thousand_items_in_two_seconds():
    values = np.random.default_rng(0).random(10_000)
    start = time.process_time()
    bootstrap_mean(values)
    assert time.process_time() - start < 2.0
