"""Finished cells predict others: exactly on a line, by the likest ones first, with an honest error."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.planning.calibration import Calibration, Sample, fit_line


def sample(flops, seconds, task="nli", family="a", kind="train"):
    return Sample(key=(kind, family, task), flops=flops, seconds=seconds)


@given(st.floats(0, 50), st.floats(1e-6, 1e3), st.lists(st.floats(1, 1e6), min_size=3, max_size=12, unique=True))
def test_points_on_a_line_give_the_line(start, rate, sizes):
    samples = [sample(size, start + rate * size) for size in sizes]
    line = fit_line(samples)
    if max(sizes) >= 1.5 * min(sizes):
        for size in sizes:
            assert line.at(size) == pytest.approx(start + rate * size, rel=1e-4, abs=1e-3)


def test_equal_sizes_give_their_median_ratio_and_one_outlier_nothing():
    assert fit_line([sample(10, 2.0), sample(10, 2.2), sample(10, 90.0)]).at(20) == pytest.approx(4.4)


def test_the_likest_finished_cells_speak_first():
    found = Calibration([
        sample(10, 1.0), sample(10, 1.0), sample(10, 5.0, task="other"), sample(10, 5.0, task="other"),
        sample(10, 3.0, family="b"), sample(10, 3.0, family="b"),
    ])  # fmt: skip
    assert found.predict(("train", "a", "nli"), 10) == pytest.approx(1.0)
    assert found.predict(("train", "b", "new"), 10) == pytest.approx(3.0)
    assert found.predict(("train", "c", "nli"), 10) is None, "a model that nothing was measured of"
    assert found.predict(("probe", "a", "nli"), 10) is None
    assert Calibration([sample(10, 1.0)]).predict(("train", "a", "nli"), 10) is None


def test_errors_are_those_of_predictions_by_the_others():
    rng = random.Random(0)
    samples = [sample(size, (1 + 0.01 * size) * rng.lognormvariate(0, 0.1)) for size in range(100, 400, 10)]
    errors = Calibration(samples).errors()
    assert len(errors) == len(samples)
    assert all(0.6 < error < 1.6 for error in errors)
    assert Calibration([*samples, sample(100, 1000.0)]).errors()[-1] < 0.01


def test_a_line_never_begins_below_zero():
    line = fit_line([sample(10, 1.0), sample(20, 3.0), sample(40, 7.0)])
    assert line.start == 0
    assert line.at(1) > 0
