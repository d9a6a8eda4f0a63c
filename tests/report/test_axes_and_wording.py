from __future__ import annotations

import math

import pandas as pd
import pytest

from pretune.analysis.ladders import order_checkpoints
from pretune.report.axes import build_ladder_axis, build_value_axis
from pretune.report.svg import element, stand_alone
from pretune.report.wording import join_words, shorten, write_interval, write_number, write_rate


def _ladder(steps, tokens=None):
    names = [f"c{index}" for index in range(len(steps))]
    table = pd.DataFrame({"family": "f", "checkpoint": names, "step": pd.array(steps, dtype="Int64"), "annealed": None})
    table["tokens"] = pd.array(tokens or [None] * len(steps), dtype="Int64")
    return build_ladder_axis(order_checkpoints(table))


def test_steps_are_logarithmic_with_zero_set_apart():
    axis = _ladder([0, 16, 64, 256])
    places = list(axis.places.values())
    assert places[0] == 0
    assert places[-1] == pytest.approx(1)
    assert places[2] - places[1] == pytest.approx(places[3] - places[2])
    assert 0 < axis.cut < places[1]


def test_reference_grid_keeps_its_order_and_its_last_label():
    axis = _ladder([1000, 18000, 342000, 424000, 505000, 592000, 738000, 738020])
    places = list(axis.places.values())
    assert places == sorted(places)
    assert axis.ticks[-1].label == "738k"
    assert axis.ticks[0].label == "1,000"
    assert len(axis.ticks) < 8


def test_places_without_steps_are_even():
    assert list(_ladder([None, 3, 4]).places.values()) == [0, 0.5, 1]
    assert list(_ladder([None]).places.values()) == [0.5]
    assert list(_ladder([7]).places.values()) == [0.5]
    assert list(_ladder([0]).places.values()) == [0.5]


@pytest.mark.parametrize(
    "values", [[0.1], [2.2, 2.21], [1e-6, 3e-6], [-3.0, 4.0], [5e5, 1e6], [0.0], [math.nan, 2.0], [3.0, 3.0 + 1e-9]]
)
def test_value_axis_contains_its_values(values):
    axis = build_value_axis(values)
    known = [value for value in values if not math.isnan(value)]
    assert axis.low <= min(known) <= max(known) <= axis.high
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 9


def test_share_axis_is_fixed():
    assert build_value_axis([30.0], share=True).ticks == (0, 25, 50, 75, 100)


def test_numbers_in_words():
    assert write_number(-0.04) == "0.0"
    assert write_number(-0.04, signed=True) == "±0.0"
    assert write_number(-1.26, signed=True) == "−1.3"
    assert write_number(2, signed=True) == "+2.0"
    assert write_number(None) == write_number(pd.NA) == write_number(float("nan")) == "–"
    assert write_interval(1, None) == ""
    assert [shorten(v) for v in (0, 1024, 342000, 1.43e12, 262144)] == ["0", "1,024", "342k", "1.43T", "262k"]
    assert [write_rate(v) for v in (1e-3, 2e-6, 2.5e-5, None)] == ["1e-3", "2e-6", "2.5e-5", "–"]
    assert [join_words(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_elements_escape_text_and_attributes():
    drawn = element("text", "<b>", x=1.005, aria_label='"><script>', class_="a b", y=None)
    assert drawn == '<text x="1" aria-label="&#34;&gt;&lt;script&gt;" class="a b">&lt;b&gt;</text>'
    assert 'xmlns="http://www.w3.org/2000/svg"' in stand_alone(element("svg", viewBox="0 0 1 1"))
