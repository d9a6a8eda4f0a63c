from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted import ITEM_SE, consistent, make_axis, make_rows, make_steps, not_above

from pretune.analysis.catalogue import run_analyses
from pretune.analysis.inflections import find_inflections
from pretune.analysis.inputs import Inputs
from pretune.analysis.series import SERIES, build_frame
from synthetic_tables import measurement, tabulate


def _curves(values: np.ndarray, *, item_se: float = np.nan, seed_sd: float = np.nan, seeds: int = 1) -> pd.DataFrame:
    """Curves of tuned scores, one family each, from [curves, checkpoints]."""
    count, n = values.shape
    parts = []
    for index in range(count):
        parts.append(pd.DataFrame({
            "family": f"f{index}", "annealed": "unknown", "state": "tuned", "eval_task": "t", "train_task": "t",
            "relation": "in_domain", "setting": "", "metric": "accuracy", "scorer": "sum", "eval_format": "default",
            "shots": 0, "checkpoint": [f"step{s}" for s in make_steps(n)], "step": make_steps(n),
            "tokens": [s * 2048 for s in make_steps(n)], "position": range(n), "axis": "log2 tokens",
            "x": make_axis(n), "value": values[index], "good": values[index], "item_se": item_se, "seed_sd": seed_sd,
            "seeds": seeds, "baseline": np.nan, "runs": "",
        }))  # fmt: skip
    return build_frame(pd.concat(parts, ignore_index=True), SERIES)


def _alarms(table: pd.DataFrame) -> int:
    return int((table["finding"] == "worsens after its peak").sum())


@pytest.mark.parametrize("checkpoints", [6, 8, 14])
def test_flat_curves_alarm_in_at_most_one_of_twenty_where_the_naive_test_alarms_in_many(checkpoints):
    rng = np.random.default_rng(checkpoints)
    found = find_inflections(_curves(0.7 + rng.normal(0, 0.02, (200, checkpoints)), item_se=0.02))
    assert not_above(_alarms(found), 200, 0.05)
    assert (found["p_naive"] <= 0.05).mean() > 0.15
    assert (found["p"] <= 0.5).mean() > 0.2  # and the test is no formality


def test_rates_hold_with_noise_known_from_seeds_and_from_scatter_alone():
    rng = np.random.default_rng(5)
    n, seeds = 8, 3
    runs = 0.7 + rng.normal(0, 0.03, (200, n, seeds))
    curves = _curves(runs.mean(axis=2), seeds=seeds)
    curves["seed_sd"] = runs.std(axis=2, ddof=1).ravel()
    found = find_inflections(curves)
    assert set(found["noise"]) == {"seeds"}
    assert consistent(_alarms(found), 200, 0.05)
    alone = find_inflections(_curves(0.7 + rng.normal(0, 0.03, (200, 12))))
    assert set(alone["noise"]) == {"scatter about the curve"}
    assert consistent(_alarms(alone), 200, 0.05)


def test_curves_that_only_rise_alarm_no_more():
    rng = np.random.default_rng(6)
    rising = np.linspace(0.3, 0.8, 12) ** 0.5
    assert not_above(_alarms(find_inflections(_curves(rising + rng.normal(0, 0.02, (150, 12))))), 150, 0.05)


def test_planted_inflections_are_found_and_covered_at_their_rate():
    rng = np.random.default_rng(7)
    x = make_axis(20)
    truth = rng.uniform(x[7], x[13], 120)
    shape = 0.3 + 0.06 * np.minimum(x - x[0], truth[:, None] - x[0]) - 0.05 * np.maximum(x - truth[:, None], 0)
    found = find_inflections(_curves(shape + rng.normal(0, 0.015, (120, 20)), item_se=0.01))
    seen = found["finding"] == "worsens after its peak"
    assert seen.mean() > 0.8
    low, high = found["inflection_low"].astype(float), found["inflection_high"].astype(float)
    covered = int(((low <= truth) & (truth <= high))[seen].sum())
    assert 0.90 <= covered / seen.sum() <= 0.99 or consistent(covered, int(seen.sum()), 0.95)
    assert found.loc[~seen, "inflection_low"].isna().all()


def test_on_sparse_grids_the_inflection_lies_between_the_neighbours_of_the_peak():
    values = np.array([[0.3, 0.45, 0.6, 0.75, 0.90, 0.70, 0.5, 0.3]])
    row = find_inflections(_curves(values, item_se=0.005)).iloc[0]
    names = [f"step{s}" for s in make_steps(8)]
    assert (row["peak"], row["inflection_after"], row["inflection_by"]) == (names[4], names[3], names[5])
    assert np.isnan(row["inflection"])


def _probe(step, gamma, value, seed=0, **changes):
    return measurement(kind="probe", step=step, eval_task="text", eval_format=None, scorer=None, probe="gaussian",
                       probe_variant="init", magnitude=gamma, probe_seed=seed, metric="loss_increase", value=value,
                       ci_low=None, ci_high=None, run_id=f"probe-{step}-{gamma}-{seed}", **changes)  # fmt: skip


def _study(rows) -> Inputs:
    return Inputs(table=tabulate(rows), primary={})


def test_slopes_of_sensitivity_are_covered_at_their_rate_per_size():
    rng = np.random.default_rng(8)
    steps, x = make_steps(12), make_axis(12)
    rows = []
    for family in range(60):
        for gamma, slope in ((0.01, 0.0), (0.1, 0.05)):
            for step, place in zip(steps, x, strict=True):
                value = 1 + slope * (place - x[0]) + rng.normal(0, 0.05)
                rows.append(_probe(step, gamma, value, family=f"f{family}"))
    found = run_analyses(_study(rows), ["sensitivity"])["sensitivity"].table
    assert len(found) == 120
    for gamma, slope in ((0.01, 0.0), (0.1, 0.05)):
        part = found[found["magnitude"] == gamma]
        assert consistent(int(((part["slope_low"] <= slope) & (slope <= part["slope_high"])).sum()), len(part), 0.95)
    flat = found[found["magnitude"] == 0.01]
    assert not_above(int((flat["finding"] != "undecided").sum()), len(flat), 0.05)
    assert (found.loc[found["magnitude"] == 0.1, "finding"] == "more sensitive").all()


def test_probe_seeds_are_averaged_and_annealed_checkpoints_apart():
    rows = [_probe(s, 0.1, v + d, seed=k, annealed=a) for k, d in ((0, -0.1), (1, 0.1))
            for s, v, a in ((1, 1, False), (2, 2, False), (4, 3, False), (8, 4, False), (16, 9, True))]  # fmt: skip
    found = run_analyses(_study(rows), ["sensitivity"])["sensitivity"].table.set_index("annealed")
    assert found.loc["not annealed", "slope"] == pytest.approx(1.0)
    assert found.loc["not annealed", "disturbance"] == "gaussian init 0.1"
    assert found.loc["annealed", "finding"] == "not enough data"


def test_fine_tuning_at_a_fixed_rate_is_a_disturbance_too():
    rows = []
    for index, step in enumerate(make_steps(8)):
        rows.append(measurement(step=step, eval_task="text", metric="loss", scorer="likelihood", value=3.0))
        for lr in (1e-4, 1e-3):
            tuned = {"state": "tuned", "train_task": "nli", "relation": "pretraining"}
            rows.append(measurement(step=step, eval_task="text", **tuned,
                                    metric="loss", scorer="likelihood", lr=lr,
                                    value=3.0 + lr * 1000 * index))  # fmt: skip
    found = run_analyses(_study(rows), ["sensitivity", "inflections"])
    slopes = found["sensitivity"].table.set_index("lr")["slope"]
    assert slopes[1e-3] == pytest.approx(2.0, rel=1e-3)
    assert slopes[1e-4] == pytest.approx(0.2, rel=1e-3)
    tuned = found["inflections"].table
    assert set(tuned.loc[tuned["state"] == "tuned", "setting"]) == {"lr=0.0001", "lr=0.001"}


@pytest.mark.parametrize(
    ("slope", "finding"),
    [(0.0, "constant"), (-0.3, "slowly decreasing"), (-0.9, "quickly decreasing"), (0.4, "increasing")],
)
def test_trend_of_the_best_rate(slope, finding):
    rows = []
    for index, step in enumerate(make_steps(8)):
        best = -10 + slope * index / 2
        rows.append(measurement(step=step, value=0.3))
        for exponent in range(-18, -2, 2):
            tuned = {"step": step, "state": "tuned", "lr": 2.0**exponent}
            rows.append(measurement(**tuned, value=0.5))
            rows.append(measurement(**tuned, relation="validation", value=0.9 - 0.002 * (exponent - best) ** 2))
    found = run_analyses(_study(rows), ["rate_trends"])["rate_trends"].table.iloc[0]
    assert found["slope"] == pytest.approx(slope, abs=1e-3)
    assert found["finding"] == finding
    assert found["best_first"] == pytest.approx(2.0**-10)


def test_best_rates_at_the_edge_of_the_grid_decide_nothing():
    rows = [measurement(value=0.3)]
    for step in make_steps(6):
        for lr, value in ((1e-4, 0.5), (1e-3, 0.7)):
            rows.append(measurement(step=step, state="tuned", lr=lr, value=0.5))
            rows.append(measurement(step=step, state="tuned", lr=lr, relation="validation", value=value))
    found = run_analyses(_study(rows), ["rate_trends"])["rate_trends"].table.iloc[0]
    assert (found["finding"], found["at_edge"]) == ("undecided", 6)


def test_arms_are_compared_with_the_plain_one_at_its_chosen_rate():
    rows = [measurement(value=0.3), measurement(eval_task="text", metric="loss", scorer="likelihood", value=3.0)]
    arms = (("none", 0.0, 1e-3, 0.80, 0.5), ("none", 0.0, 1e-4, 0.70, 0.1), ("l2sp", 0.1, 1e-3, 0.79, 0.2),
            ("l2sp", 9.0, 1e-3, 0.60, 0.3))  # fmt: skip
    for name, strength, lr, score, rise in arms:
        tuned = {"state": "tuned", "regularizer": name, "regularizer_strength": strength, "lr": lr}
        rows.append(measurement(**tuned, value=score))
        rows.append(measurement(**tuned, relation="validation", value=score))
        rows.append(measurement(**tuned, train_task="pico/nli", eval_task="text", relation="pretraining",
                                metric="loss", scorer="likelihood", value=3.0 + rise))  # fmt: skip
    found = run_analyses(_study(rows), ["mitigation"])["mitigation"].table
    found = found.set_index(["regularizer_strength", "lr"])
    assert found["is_reference"].to_dict() == {
        (0.0, 1e-4): False,
        (0.0, 1e-3): True,
        (0.1, 1e-3): False,
        (9.0, 1e-3): False,
    }
    assert found.loc[(0.1, 1e-3), "score_change"] == pytest.approx(-0.01)
    assert found.loc[(0.1, 1e-3), "forgetting_change"] == pytest.approx(-0.3)
    assert found.index[~found["pareto"].astype(bool)].tolist() == [(9.0, 1e-3)]
    assert found.loc[(0.0, 1e-3), "forgetting_change_high"] == 0.0


def test_noise_floor_knows_items_seeds_and_twins():
    rng = np.random.default_rng(9)
    rows = []
    for task in range(40):
        for step in (*make_steps(6)[:-1], 738_000, 738_020):
            for seed in range(3):
                rows += make_rows(f"t{task}", [0.5 + rng.normal(0, 0.03)], steps=[step], state="tuned", seed=seed)
    noise = _study(rows).noise
    assert noise["item_se"].median() == pytest.approx(ITEM_SE, rel=0.05)
    assert noise["seed_sd"].median() == pytest.approx(0.03, rel=0.1)
    assert set(noise["twins"]) == {"step738000 and step738020"}
    assert set(noise["seed_df"]) == {14}
    assert noise["smallest_difference"].median() == pytest.approx(1.96 * 2**0.5 * np.hypot(0.03, ITEM_SE), rel=0.1)
