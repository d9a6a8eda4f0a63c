from __future__ import annotations

import math

import pytest

from pretune.config.science import Stage
from pretune.training.schedules import decay_steps, factor_at, warmup_steps


def factors(total: int, **settings) -> list[float]:
    return [factor_at(Stage(**settings), step, total) for step in range(total)]


def test_warm_up_rises_to_the_peak_and_reaches_it_after_its_last_step():
    values = factors(100, schedule="constant", warmup_ratio=0.04)
    assert values[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(values[4:]) == {1.0}


def test_warm_up_is_rounded_up():
    assert warmup_steps(Stage(warmup_ratio=0.03), 100) == 3
    assert warmup_steps(Stage(warmup_ratio=0.03), 101) == 4
    assert warmup_steps(Stage(warmup_ratio=0.0), 100) == 0
    assert warmup_steps(Stage(warmup_ratio=1.0), 7) == 7


def test_linear_falls_evenly_to_zero_after_the_last_step():
    values = factors(10, schedule="linear", warmup_ratio=0.0)
    assert values == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert factor_at(Stage(schedule="linear", warmup_ratio=0.0), 10, 10) == 0.0


def test_cosine_passes_the_middle_at_a_half():
    stage = Stage(schedule="cosine", warmup_ratio=0.2)
    assert factor_at(stage, 2, 10) == 1.0
    assert factor_at(stage, 6, 10) == pytest.approx(0.5)
    assert factor_at(stage, 4, 10) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert factor_at(stage, 10, 10) == pytest.approx(0.0)


def test_wsd_stays_at_the_peak_and_falls_evenly_to_zero_in_its_last_steps():
    values = factors(20, schedule="wsd", warmup_ratio=0.1, decay_ratio=0.25)
    assert values == pytest.approx([1 / 3, 2 / 3, *[1.0] * 13, 1.0, 0.8, 0.6, 0.4, 0.2])
    whole = {"warmup_ratio": 0.0, "decay_ratio": 1.0}
    assert factors(9, schedule="wsd", **whole) == pytest.approx(factors(9, schedule="linear", warmup_ratio=0.0))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "wsd"])
@pytest.mark.parametrize("ratio", [0.0, 0.03, 0.5, 1.0])
def test_every_step_learns_and_none_exceeds_the_peak(schedule, ratio):
    for total in (1, 2, 7, 100):
        assert all(0 < factor <= 1 for factor in factors(total, schedule=schedule, warmup_ratio=ratio))


def test_wsd_stays_at_the_peak_and_falls_to_zero_over_its_last_share():
    values = factors(20, schedule="wsd", warmup_steps=4, decay_ratio=0.25)
    assert values[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert set(values[4:16]) == {1.0}
    assert values[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert factor_at(Stage(schedule="wsd", warmup_steps=4, decay_ratio=0.25), 20, 20) == 0.0


def test_wsd_runs_of_any_length_have_all_but_their_decay_in_common():
    short, long = (factors(total, schedule="wsd", warmup_steps=3, decay_ratio=0.2) for total in (20, 50))
    assert short[:16] == long[:16]
    assert decay_steps(Stage(schedule="wsd", decay_ratio=0.2), 21) == 5


def test_a_number_of_warm_up_steps_goes_before_a_share():
    assert warmup_steps(Stage(warmup_ratio=0.5, warmup_steps=7), 100) == 7
