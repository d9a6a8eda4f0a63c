from __future__ import annotations

import numpy as np
import pytest
from planted import (
    ITEM_SE,
    consistent,
    curves_of,
    make_axis,
    make_families,
    make_inputs,
    make_rows,
    make_steps,
    not_above,
)

from pretune.analysis.inputs import Inputs
from synthetic_tables import measurement, tabulate


def _plateau(x, place, level=0.8, slope=0.08):
    return level - slope * np.maximum(place - x, 0)


def test_planted_onsets_are_covered_at_the_nominal_rate_on_dense_grids():
    rng = np.random.default_rng(0)
    x = make_axis(14)
    truth = {f"t{i}": rng.uniform(x[4], x[10]) for i in range(120)}
    inputs = make_inputs({t: {"base": _plateau(x, p) + rng.normal(0, 0.02, 14)} for t, p in truth.items()})
    found = curves_of(inputs.trends)
    assert (found["shape"] == "plateau").mean() > 0.85
    covered = sum(found.loc[t, "onset_low"] <= p <= found.loc[t, "onset_high"] for t, p in truth.items())
    assert 0.90 <= covered / len(truth) <= 0.99
    assert (found["trend"] == "improves").mean() > 0.7


def test_planted_onsets_lie_between_the_stated_neighbours_on_sparse_grids():
    rng = np.random.default_rng(1)
    x = make_axis(8)
    truth = {f"t{i}": rng.integers(2, 6) for i in range(120)}
    # The plateau starts right after checkpoint k: its value is 8 points lower, which is more than the noise.
    curves = {t: {"base": _plateau(x, x[k + 1], slope=0.16) + rng.normal(0, ITEM_SE, 8)} for t, k in truth.items()}
    found = curves_of(make_inputs(curves).trends)
    names = [f"step{step}" for step in make_steps(8)]
    right = [
        (found.loc[t, "onset_after"], found.loc[t, "onset_by"]) == (names[k], names[k + 1]) for t, k in truth.items()
    ]
    assert np.mean(right) >= 0.9
    assert set(found["method"]) == {"between neighbouring checkpoints"}
    assert found["onset"].isna().all()


def test_the_reference_grid_has_the_whole_interval():
    steps = [1000, 18000, 342000, 424000, 505000, 592000, 738000, 738020]
    scores = [0.354, 0.557, 0.787, 0.784, 0.792, 0.799, 0.798, 0.790]
    rows = make_rows("mnli", scores, state="tuned", steps=steps)
    trend = Inputs(table=tabulate(rows), primary={}).trends.iloc[0]
    assert (trend["onset_low_step"], trend["onset_high_step"]) == (pytest.approx(18000), pytest.approx(342000))
    assert (trend["onset_after"], trend["onset_by"]) == ("step18000", "step342000")


@pytest.mark.parametrize("count", [8, 16])
def test_false_trends_and_plateaus_after_correction_are_as_rare_as_promised(count):
    rng = np.random.default_rng(2)
    found = make_families(lambda: 0.5 + rng.normal(0, 2 * ITEM_SE, count), families=60, tasks=4).trends
    alarms = (found["trend"] != "none shown").groupby(found["family"]).any()
    plateaus = ((found["shape"] == "plateau") & found["p_shape"].notna()).groupby(found["family"]).any()
    assert not_above(int(alarms.sum()), 60, 0.05)
    assert not_above(int(plateaus.sum()), 60, 0.05)


def test_uncorrected_rate_is_five_percent():
    rng = np.random.default_rng(3)
    found = make_inputs({f"t{i}": {"base": rng.normal(0.5, 0.02, 11)} for i in range(300)}).trends
    assert consistent(int((found["p"] <= 0.05).sum()), 300, 0.05)


def test_flat_and_rising_curves_are_told_from_plateaus():
    rng = np.random.default_rng(4)
    x = make_axis(16)
    inputs = make_inputs({"flat": {"base": 0.4 + rng.normal(0, ITEM_SE / 2, 16)},
                          "rising": {"base": 0.2 + 0.05 * (x - x[0]) + rng.normal(0, ITEM_SE, 16)}})  # fmt: skip
    found = curves_of(inputs.trends)
    assert found.loc["flat", "shape"] == "flat"
    assert found.loc["rising", "shape"] == "no plateau yet"
    assert found.loc["rising", "slope_low"] <= 0.05 <= found.loc["rising", "slope_high"]


def test_an_onset_in_a_wide_gap_is_the_whole_gap():
    x = np.concatenate([np.arange(8), 20 + np.arange(8) * 0.5])
    steps = [round(1000 * 2**place) for place in x]
    values = np.where(x < 15, 0.2 + 0.04 * x, 0.8) + np.random.default_rng(0).normal(0, 0.005, 16)
    found = Inputs(table=tabulate(make_rows("t", values, steps=steps)), primary={}).trends.iloc[0]
    assert (found["onset_after"], found["onset_by"]) == ("step128000", f"step{steps[8]}")


def test_falling_loss_improves():
    rows = [measurement(step=s, metric="loss", scorer="likelihood", eval_task="t", value=v, ci_low=v, ci_high=v)
            for s, v in zip(make_steps(8), np.linspace(4, 2, 8), strict=True)]  # fmt: skip
    rows += [measurement(step=1000, eval_task="t")]
    found = Inputs(table=tabulate(rows), primary={"t": ("loss", "likelihood")}).trends
    assert found["trend"].tolist() == ["improves"]


def test_annealed_checkpoints_are_a_curve_of_their_own():
    rows = make_rows("t", [0.3, 0.4, 0.5, 0.6], annealed=False)
    rows += make_rows("t", [0.9], steps=[64000], annealed=True)
    found = Inputs(table=tabulate(rows), primary={}).trends.set_index("annealed")
    assert found.loc["not annealed", "last"] == 0.6
    assert found.loc["annealed", "shape"] == "not enough data"
    assert "not enough data because" in found.loc["annealed", "reason"]


def test_step_zero_has_a_place_and_a_step():
    found = Inputs(table=tabulate(make_rows("t", [0.3, 0.8, 0.8, 0.81, 0.8], steps=[0, 1, 2, 4, 8])), primary={}).trends
    assert (found["onset_low_step"].iloc[0], found["onset_high_step"].iloc[0]) == (0.0, 1.0)
