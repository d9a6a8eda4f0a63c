from __future__ import annotations

import numpy as np
import pytest
from planted import consistent, make_axis, make_steps, not_above

from pretune.analysis.catalogue import run_analyses
from pretune.analysis.format_slopes import expected_range
from pretune.analysis.inputs import Inputs
from synthetic_tables import measurement, tabulate

PRIMARY = {"nli": ("accuracy", "sum"), "para": ("accuracy", "sum"), "sum": ("rouge_l", "generate"),
           "ask": ("rouge_l", "generate")}  # fmt: skip


def _run(rows, name, primary=PRIMARY):
    return run_analyses(Inputs(table=tabulate(rows), primary=primary), [name])[name].table


def _grid(changes, base=None):
    rows = []
    for task, (metric, scorer) in PRIMARY.items():
        score = (base or {}).get(task, 0.4 if metric == "accuracy" else 0.2)
        rows.append(measurement(eval_task=task, metric=metric, scorer=scorer, value=score))
        for train in PRIMARY:
            relation = "in_domain" if train == task else "cross_task"
            value = score * (1 + changes(train, task))
            rows.append(measurement(state="tuned", train_task=train, eval_task=task, metric=metric, scorer=scorer,
                                    relation=relation, value=value, ci_low=value, ci_high=value))  # fmt: skip
    return rows


def test_directions_differences_and_the_studys_ratio():
    found = _run(
        _grid(lambda train, task: -0.6 if (train, task) in (("nli", "sum"), ("para", "ask")) else -0.2), "exchange"
    )
    whole = found[found["checkpoint"].isna() & (found["relation"] == "cross_task")]
    row = whole[(whole["trained_on"] == "classification") & (whole["evaluated_on"] == "generation")].iloc[0]
    assert (row["cells"], row["pairs"]) == (4, 4)
    assert row["ratio"] == pytest.approx(-40)
    assert row["difference"] == pytest.approx(-8)
    assert row["difference_low"] < -8 < row["difference_high"] < 0
    assert row["worse"] == 1.0
    assert row["warning"] == ""


def test_ratio_over_a_base_score_near_zero_is_flagged_and_left_out():
    found = _run(_grid(lambda train, task: 9.0 if task == "ask" else -0.5, base={"ask": 0.01}), "exchange")
    whole = found[found["checkpoint"].isna() & (found["relation"] == "cross_task")]
    row = whole[(whole["trained_on"] == "classification") & (whole["evaluated_on"] == "generation")].iloc[0]
    assert row["ratio"] == pytest.approx(425)
    assert (row["unstable"], row["ratio_stable"]) == (2, pytest.approx(-50))
    assert "near zero" in row["warning"]


def test_a_pair_has_no_interval():
    rows = [measurement(value=0.4), measurement(state="tuned", value=0.7)]
    row = _run(rows, "exchange", {}).iloc[0]
    assert row["difference"] == pytest.approx(30)
    assert np.isnan(row["difference_low"])


def test_slopes_of_the_spread_are_covered_at_their_rate():
    rng = np.random.default_rng(0)
    x = make_axis(12)
    rows = []
    for task in range(80):
        slope = -0.02 if task % 2 else 0.0
        for step, at in zip(make_steps(12), x, strict=True):
            spread = 0.3 + slope * (at - x[0]) + rng.normal(0, 0.01)
            for name, value in (("default", 0.4 + spread), ("io", 0.4), ("instruct", 0.4 + spread / 2)):
                rows.append(
                    measurement(step=step, eval_task=f"t{task}", family=f"f{task}", eval_format=name, value=value)
                )
    found = _run(rows, "format_slopes", {})
    truth = np.where(found["eval_task"].str[1:].astype(int) % 2, -0.02, 0.0)
    covered = (found["slope_low"] <= truth) & (truth <= found["slope_high"])
    assert consistent(int(covered.sum()), len(found), 0.95)
    assert (found["finding"][truth < 0] == "less sensitive").all()
    assert not_above(int((found["finding"][truth == 0] != "undecided").sum()), 40, 0.05)


def test_only_common_formats_are_compared():
    rows = [
        measurement(step=s, eval_format=f, value=v) for s in make_steps(6) for f, v in (("default", 0.5), ("io", 0.4))
    ]
    rows.append(measurement(step=1000, eval_format="instruct", value=0.0))
    row = _run(rows, "format_slopes", {}).iloc[0]
    assert row["formats"] == "default, io"
    assert row["spread_first"] == pytest.approx(0.1)


def test_expected_range_of_noise():
    assert expected_range(2) == pytest.approx(2 / np.sqrt(np.pi))
    assert expected_range(3) == pytest.approx(3 / np.sqrt(np.pi))
