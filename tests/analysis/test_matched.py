from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.analysis.catalogue import run_analyses
from pretune.analysis.inputs import Inputs
from pretune.analysis.pareto import find_front
from synthetic_tables import measurement, tabulate


def _tune(step, lr, loss, rise, **changes):
    tuned = {"step": step, "state": "tuned", "lr": lr, "ci_low": None, "ci_high": None, "train_task": "nli", **changes}
    return [
        measurement(**tuned, kind="train", eval_task="nli", metric="validation_loss", scorer=None, value=loss,
                    relation="validation"),
        measurement(**tuned, eval_task="text", metric="loss", scorer="likelihood", value=3.0 + rise,
                    relation="pretraining"),
    ]  # fmt: skip


def _study(curves, **changes) -> Inputs:
    rows = []
    for step, points in curves.items():
        rows.append(measurement(step=step, eval_task="text", metric="loss", scorer="likelihood", value=3.0))
        for lr, loss, rise in points:
            rows += _tune(step, lr, loss, rise, **changes)
    return Inputs(table=tabulate(rows), primary={})


def _match(inputs: Inputs) -> pd.DataFrame:
    return run_analyses(inputs, ["matched_forgetting"])["matched_forgetting"].table


CURVES = {
    1: [(1e-4, 2.0, 0.1), (1e-3, 1.4, 0.3), (1e-2, 1.6, 0.9)],  # reaches 1.4 at best: it sets τ
    2: [(1e-4, 1.8, 0.2), (1e-3, 1.0, 0.6), (1e-2, 0.9, 2.0)],  # passes τ halfway between the first two
    4: [(1e-4, 1.3, 0.5), (1e-3, 0.8, 1.0), (1e-2, 0.7, 3.0)],  # is below τ from the start
}


def test_forgetting_is_read_off_where_each_checkpoint_first_reaches_the_common_loss():
    found = _match(_study(CURVES))
    assert found["matched_loss"].tolist() == pytest.approx([1.4] * 9)
    each = found.drop_duplicates("step").set_index("step")
    assert each["matching"].to_dict() == {1: "at a rate", 2: "between two rates", 4: "below the smallest rate"}
    assert each.loc[1, "matched_forgetting"] == pytest.approx(0.3)
    assert each.loc[2, "matched_forgetting"] == pytest.approx(0.4)
    assert each.loc[2, "matched_lr"] == pytest.approx(10**-3.5)
    assert np.isnan(each.loc[4, "matched_forgetting"])


def test_the_interval_at_a_rate_is_its_own_and_between_two_rates_is_weighted():
    inputs = _study(CURVES)
    table = inputs.table.copy()
    tuned = (table["eval_task"] == "text") & (table["state"] == "tuned")
    table.loc[tuned, "ci_low"], table.loc[tuned, "ci_high"] = table["value"] - 0.02, table["value"] + 0.04
    base = (table["eval_task"] == "text") & (table["state"] == "base")
    table.loc[base, "ci_low"] = table.loc[base, "ci_high"] = table["value"]
    each = _match(Inputs(table=table, primary={})).drop_duplicates("step").set_index("step")
    assert each.loc[1, "matched_low"] == pytest.approx(0.3 - 0.02)
    assert each.loc[1, "matched_high"] == pytest.approx(0.3 + 0.04)
    assert each.loc[2, "matched_high"] == pytest.approx(0.4 + 0.04 / np.sqrt(2))
    assert np.isnan(each.loc[4, "matched_low"])


def test_text_that_is_trained_on_is_not_forgotten():
    rows = [measurement(eval_task="text", metric="loss", scorer="likelihood", value=3.0)]
    tuned = {"state": "tuned", "eval_task": "text", "metric": "loss", "scorer": "likelihood", "relation": "in_domain"}
    rows += [measurement(**tuned, train_task=task, value=2.0) for task in ("text", "nli")]
    inputs = Inputs(table=tabulate(rows), primary={})
    assert inputs.forgetting["train_task"].dropna().tolist() == ["nli"]


def test_rates_off_the_front_are_those_that_another_beats_in_both():
    found = _match(_study(CURVES)).set_index(["step", "lr"])
    assert found.index[~found["pareto"].astype(bool)].tolist() == [(1, 1e-2)]
    assert found["forgetting"].tolist() == pytest.approx([rise for points in CURVES.values() for _, _, rise in points])


def test_one_straight_line_gives_its_own_value_whatever_the_grid():
    curves = {
        step: [(lr, loss, slope * (3.0 - loss)) for lr, loss in zip((1e-5, 1e-4, 1e-3), losses, strict=True)]
        for step, slope, losses in ((1, 0.1, (2.9, 2.3, 1.5)), (2, 0.2, (2.7, 1.9, 1.1)), (4, 0.4, (2.8, 1.6, 1.2)))
    }
    each = _match(_study(curves)).drop_duplicates("step").set_index("step")
    assert each["matched_forgetting"].to_dict() == pytest.approx({1: 0.15, 2: 0.3, 4: 0.6})


def test_annealed_checkpoints_tasks_and_settings_are_matched_apart():
    tables = [
        _study({step: [(lr, loss + shift, rise) for lr, loss, rise in points] for step, points in CURVES.items()},
               **changes).table
        for shift, changes in ((0.0, {}), (1.0, {"train_task": "other"}), (2.0, {"regularizer": "l2sp"}))
    ]  # fmt: skip
    found = _match(Inputs(table=pd.concat(tables, ignore_index=True), primary={}))
    targets = found.groupby(["train_task", "regularizer"])["matched_loss"].agg(["min", "max"])
    assert targets["min"].to_dict() == pytest.approx(
        {("nli", "none"): 1.4, ("nli", "l2sp"): 3.4, ("other", "none"): 2.4}
    )
    assert (targets["min"] == targets["max"]).all()


def test_the_text_that_is_trained_on_is_not_forgotten():
    assert _match(_study(CURVES, train_task="text")).empty


@pytest.mark.parametrize("curves", [
    {1: CURVES[1]},
    {1: CURVES[1], 2: CURVES[2][:1]},
])  # fmt: skip
def test_nothing_is_matched_with_one_checkpoint_that_has_several_rates(curves):
    assert _match(_study(curves)).empty


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_the_front_is_what_a_search_finds(points):
    front = find_front(*np.array(points, dtype=float).T)
    for index, (good, cost) in enumerate(points):
        beaten = any((g >= good and c <= cost) and (g > good or c < cost) for g, c in points)
        assert front[index] == (not beaten)
    assert front.any()
