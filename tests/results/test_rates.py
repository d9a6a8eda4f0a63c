"""One rule chooses learning rates, wherever one is chosen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.results.rates import VALIDATION_LOSS, Choice, Trial, choose_common_rate, choose_rate

METRIC = "accuracy on validation rows"


def trials(costs, evidence=METRIC):
    return [Trial(lr=lr, seed=seed, cost=cost, evidence=evidence) for (lr, seed), cost in costs.items()]


def test_rates_are_compared_on_the_seeds_that_all_of_them_have():
    costs = {(1e-4, 0): 0.30, (1e-3, 0): 0.20, (1e-3, 1): 0.50, (1e-3, 2): 0.60}
    choice = choose_rate(trials(costs))
    assert choice == Choice(lr=1e-3, evidence=METRIC, costs={1e-4: 0.3, 1e-3: 0.2}, seeds={1e-4: 1, 1e-3: 1})


def test_without_a_common_seed_each_rate_is_the_mean_of_its_own():
    choice = choose_rate(trials({(1e-4, 0): 0.3, (1e-3, 1): 0.2, (1e-3, 2): 0.5}))
    assert choice.lr == 1e-4
    assert choice.costs == {1e-4: 0.3, 1e-3: pytest.approx(0.35)}


def test_the_smaller_rate_wins_a_tie_and_a_diverged_one_never():
    assert choose_rate(trials({(1e-3, 0): 0.2, (1e-4, 0): 0.2, (1e-5, 0): math.nan})).lr == 1e-4
    assert choose_rate(trials({(1e-3, 0): math.inf})) is None
    assert choose_rate([]) is None
    once = {(1e-3, 0): 0.3, (1e-3, 1): 0.3, (1e-2, 0): 0.1, (1e-2, 1): math.nan}
    assert choose_rate(trials(once)).lr == 1e-3, "good with one seed, diverged with the other"
    assert choose_rate(trials({(1e-2, 0): 0.1, (1e-2, 1): math.inf})).lr == 1e-2, "there is no other"


def test_a_metric_goes_before_a_loss():
    both = trials({(1e-4, 0): 0.1}, VALIDATION_LOSS) + trials({(1e-3, 0): 0.9})
    assert choose_rate(both).lr == 1e-3
    assert choose_rate(both).costs.keys() == {1e-3}


def test_one_rate_for_several_places_must_have_been_tried_at_all_of_them():
    places = [choose_rate(trials(costs)) for costs in (
        {(1e-4, 0): 0.1, (1e-3, 0): 0.4}, {(1e-4, 0): 0.9, (1e-3, 0): 0.4, (1e-2, 0): 0.0},
    )]  # fmt: skip
    assert choose_common_rate(places) == 1e-3
    assert choose_common_rate([*places, choose_rate(trials({(5e-3, 0): 0.1}))]) is None
    assert choose_common_rate([]) is None


@given(
    st.dictionaries(st.tuples(st.sampled_from([1e-5, 1e-4, 1e-3]), st.integers(0, 3)), st.floats(-1, 1)), st.randoms()
)
def test_the_order_of_the_trials_does_not_matter(costs, random):
    found = trials(costs)
    shuffled = random.sample(found, len(found))
    assert choose_rate(found) == choose_rate(shuffled)
