from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pretune.analysis.averaging import average_seeds
from pretune.analysis.choosing import NOT_CHOSEN, ONLY_ONE, validate_rates
from pretune.analysis.cleaning import clean
from pretune.analysis.formats import build_formats
from pretune.analysis.headline import build_headline
from pretune.analysis.ladders import order_checkpoints
from pretune.analysis.metrics import Measure, choose_measures, find_text_tasks
from synthetic_tables import NEED_TUNING, PRIMARY, STEPS, measurement, realistic_study, tabulate

NLI = {"pico/nli": ("accuracy", "sum")}


def test_gain_is_tuned_minus_base_at_each_checkpoint():
    rows = []
    for step, base, tuned in ((0, 0.30, 0.35), (64, 0.32, 0.60), (1024, 0.31, 0.81)):
        rows += [measurement(step=step, value=base), measurement(step=step, state="tuned", value=tuned)]
    rows.append(measurement(step=64, scorer="baseline", value=0.34))
    headline = build_headline(tabulate(rows), NLI)
    assert headline["step"].tolist() == [0, 64, 1024]
    assert headline["tokens"].tolist() == [0, 64 * 2048, 1024 * 2048]
    np.testing.assert_allclose(headline["gain"], [0.05, 0.28, 0.50])
    np.testing.assert_allclose(headline["baseline"], 0.34)
    np.testing.assert_allclose(headline["base_low"], [0.27, 0.29, 0.28])
    # Unpaired: the distances of ±3 points of both are added in quadrature.
    np.testing.assert_allclose(headline["gain_high"] - headline["gain"], math.hypot(0.03, 0.03))


def test_gain_of_a_loss_is_its_decrease():
    rows = [
        measurement(metric="loss", scorer="likelihood", value=3.0, ci_low=2.9, ci_high=3.1),
        measurement(metric="accuracy", value=0.3),
        measurement(state="tuned", metric="loss", scorer="likelihood", value=2.0, ci_low=1.7, ci_high=2.1),
    ]
    row = build_headline(tabulate(rows), {"pico/nli": ("loss", "likelihood")}).iloc[0]
    assert row["gain"] == pytest.approx(1.0)
    assert row["gain_low"] == pytest.approx(1.0 - math.hypot(0.1, 0.1))
    assert row["gain_high"] == pytest.approx(1.0 + math.hypot(0.3, 0.1))


def test_rate_is_chosen_on_validation_rows_and_not_on_evaluated_ones():
    rows = [measurement(value=0.3)]
    for lr, validation, evaluated in ((1e-4, 0.50, 0.95), (5e-4, 0.70, 0.60), (1e-3, 0.65, 0.99)):
        tuned = {"state": "tuned", "lr": lr}
        rows.append(measurement(**tuned, relation="validation", eval_split="train", value=validation))
        rows.append(measurement(**tuned, value=evaluated))
    table = tabulate(rows)
    row = build_headline(table, NLI).iloc[0]
    assert (row["lr"], row["tuned"]) == (5e-4, 0.60)
    assert row["lr_chosen_by"] == "validation rows, accuracy"
    assert build_headline(table, NLI, every_rate=True)["lr"].tolist() == [1e-4, 5e-4, 1e-3]


def test_rate_is_chosen_per_checkpoint():
    rows = []
    for step, best in ((64, 1e-4), (1024, 1e-3)):
        rows.append(measurement(step=step, value=0.3))
        for lr in (1e-4, 1e-3):
            tuned = {"step": step, "state": "tuned", "lr": lr}
            value = 0.8 if lr == best else 0.6
            rows += [measurement(**tuned, value=0.5), measurement(**tuned, relation="validation", value=value)]
    assert build_headline(tabulate(rows), NLI)["lr"].tolist() == [1e-4, 1e-3]


@pytest.mark.parametrize("best", [0, 1])
def test_rate_is_chosen_by_validation_loss_where_there_are_no_validation_rows(best):
    rows = [measurement(value=0.3)]
    for index, lr in enumerate((1e-4, 1e-3)):
        tuned = {"state": "tuned", "lr": lr}
        loss = 0.4 if index == best else 0.9
        rows.append(measurement(**tuned, value=0.9 - 0.1 * index))
        rows.append(measurement(**tuned, kind="train", metric="validation_loss", scorer=None, eval_task=None,
                                train_task="pico/nli", relation=None, value=loss))  # fmt: skip
    row = build_headline(tabulate(rows), NLI).iloc[0]
    assert row["lr"] == (1e-4, 1e-3)[best]
    assert row["lr_chosen_by"] == "validation loss"


def test_without_validation_every_rate_is_kept_and_said_to_be_unchosen():
    rows = [measurement(value=0.3)] + [measurement(state="tuned", lr=lr, value=0.5) for lr in (1e-4, 1e-3)]
    headline = build_headline(tabulate(rows), NLI)
    assert headline["lr"].tolist() == [1e-4, 1e-3]
    assert set(headline["lr_chosen_by"]) == {NOT_CHOSEN}
    assert set(build_headline(tabulate(rows[:2]), NLI)["lr_chosen_by"]) == {ONLY_ONE}


def test_rate_that_diverged_is_not_chosen_and_ties_take_the_smaller():
    rows = [measurement(value=0.3)]
    for lr, validation in ((1e-2, math.nan), (1e-3, 0.6), (1e-4, 0.6)):
        tuned = {"state": "tuned", "lr": lr}
        rows += [measurement(**tuned, value=0.5), measurement(**tuned, relation="validation", value=validation)]
    cleaned = clean(tabulate(rows)).table
    rates = validate_rates(cleaned, choose_measures(cleaned, NLI))
    assert rates.loc[rates["chosen"].astype(bool), "lr"].tolist() == [1e-4]


def test_seeds_are_averaged_and_widen_the_interval():
    rows = [measurement(value=0.3)] + [measurement(state="tuned", seed=s, value=v) for s, v in ((0, 0.70), (1, 0.74))]
    row = build_headline(tabulate(rows), NLI).iloc[0]
    assert (row["tuned"], row["seeds"]) == (pytest.approx(0.72), 2)
    assert row["tuned_low"] < 0.72 - 0.03
    assert len(row["tuned_runs"].split()) == 2


def test_run_ids_stay_with_their_row():
    headline = build_headline(realistic_study(seeds=2, steps=(0, 64)), PRIMARY).dropna(subset=["tuned"])
    for row in headline.to_dict("records"):
        first, second = row["tuned_runs"].split()
        name = f"{row['checkpoint']}-{row['train_task']}-default-0.001-{{}}-{row['eval_task']}-default"
        name = name.replace("/", "_")
        assert name.format(0) in first
        assert name.format(1) in second


def test_interval_over_seeds_follows_its_formula():
    rows = tabulate(
        measurement(state="tuned", seed=s, metric="loss", value=v, ci_low=v - 0.1, ci_high=v + 0.2)
        for s, v in ((0, 1.0), (1, 1.2), (2, 1.4))
    )
    row = average_seeds(rows, ["metric"]).iloc[0]
    half = 4.302653 * 0.2 / math.sqrt(3)
    assert row["low"] == pytest.approx(1.2 - math.hypot(0.1, half), abs=1e-5)
    assert row["high"] == pytest.approx(1.2 + math.hypot(0.2, half), abs=1e-5)


def test_tuned_models_are_read_in_their_training_format_and_at_the_fewest_shots():
    rows = []
    for format_, shots, value in (("default", 0, 0.1), ("io", 4, 0.2), ("io", 2, 0.3), ("io", 8, 0.4)):
        rows.append(measurement(eval_format=format_, shots=shots, value=value))
        rows.append(measurement(state="tuned", train_format="io", eval_format=format_, shots=shots, value=value + 0.5))
    table = tabulate(rows)
    row = build_headline(table, NLI).iloc[0]
    assert (row["eval_format"], row["shots"], row["tuned"]) == ("io", 2, pytest.approx(0.8))
    assert build_headline(table, NLI, shots=8).iloc[0]["base"] == pytest.approx(0.4)
    assert build_headline(table, NLI, eval_format="default").iloc[0]["base"] == pytest.approx(0.1)


def test_tasks_without_fine_tuning_show_their_base_curve():
    headline = build_headline(realistic_study(), PRIMARY)
    choice = headline[(headline["eval_task"] == "pico/choice") & headline["train_task"].isna()]
    assert choice["step"].tolist() == list(STEPS)
    assert choice["base"].notna().all()
    assert choice["tuned"].isna().all()
    assert not headline["eval_task"].eq("pico/text").any()
    twins = headline[headline["eval_task"] == "pico/nli-ood"]
    assert twins["train_task"].notna().all()


def test_planted_scores_of_a_whole_study_are_recovered():
    headline = build_headline(realistic_study(seeds=2), PRIMARY)
    for task, (base, tuned) in NEED_TUNING.items():
        last = headline[(headline["train_task"] == task) & (headline["eval_task"] == task)].iloc[-1]
        assert last["base"] == pytest.approx(base, abs=0.05)
        assert last["tuned"] == pytest.approx(tuned, abs=0.05)
        assert last["lr"] == 1e-3


def test_missing_tuned_cell_leaves_a_gap_not_a_hole_in_the_base_curve():
    headline = build_headline(realistic_study(), PRIMARY)
    curve = headline[(headline["train_task"] == "pico/question") & (headline["eval_task"] == "pico/question")]
    assert curve["step"].tolist() == list(STEPS)
    assert curve["base"].notna().all()
    assert curve.loc[curve["tuned"].isna(), "step"].tolist() == [32]


def test_missing_base_cell_leaves_the_tuned_score():
    row = build_headline(tabulate([measurement(state="tuned", value=0.7)]), NLI).iloc[0]
    assert row["tuned"] == 0.7
    assert math.isnan(row["base"])
    assert math.isnan(row["gain"])


def test_settings_that_vary_become_curves_of_their_own():
    rows = [measurement(value=0.3)] + [measurement(state="tuned", train_rows=n, value=0.5) for n in (100, 3000)]
    headline = build_headline(tabulate(rows), NLI)
    assert headline["setting"].tolist() == ["train_rows=100", "train_rows=3000"]


def test_validation_rows_are_never_in_the_headline():
    rows = [
        measurement(state="tuned", relation="validation", value=0.9),
        measurement(state="tuned", value=0.5),
        measurement(value=0.3),
    ]
    assert build_headline(tabulate(rows), NLI)["tuned"].tolist() == [0.5]


def test_primary_falls_back_when_a_task_declares_none():
    rows = [
        measurement(eval_task="a", metric=m, scorer=s)
        for m, s in (("accuracy", "sum"), ("rouge_l", "generate"), ("loss", "likelihood"))
    ]
    rows += [measurement(eval_task="b", metric=m, scorer=s) for m, s in (("accuracy", "sum"), ("accuracy", "per_byte"))]
    rows += [measurement(eval_task="c", metric="f1", scorer="x")]
    rows += [measurement(eval_task="d", metric="loss", scorer=None)]
    rows += [measurement(eval_task="b", metric="accuracy", scorer="baseline")]
    table = tabulate(rows)
    assert choose_measures(table, {"b": ("accuracy", "per_byte"), "c": ("accuracy", "sum")}) == {
        "a": Measure("rouge_l", "generate"),
        "b": Measure("accuracy", "per_byte"),
        "c": Measure("f1", "x"),
        "d": Measure("loss", ""),
    }
    assert find_text_tasks(table) == {"d"}


class TestRobustness:
    def test_identical_rows_change_nothing(self):
        table = realistic_study()
        twice = pd.concat([table, table], ignore_index=True)
        pd.testing.assert_frame_equal(build_headline(table, PRIMARY), build_headline(twice, PRIMARY))
        assert "dropped" in clean(twice).notes[0]

    def test_conflicting_rows_are_averaged_with_a_note(self):
        rows = [measurement(run_id="a", value=0.3), measurement(run_id="b", value=0.5)]
        cleaned = clean(tabulate(rows))
        assert cleaned.table["value"].tolist() == [pytest.approx(0.4)]
        assert cleaned.table["run_id"].tolist() == ["a b"]
        assert "1 measurement found more than once" in cleaned.notes[0]

    def test_the_measurement_on_most_rows_wins(self):
        rows = [measurement(run_id="a", value=0.3, n=50), measurement(run_id="b", value=0.5, n=400)]
        cleaned = clean(tabulate(rows))
        assert cleaned.table[["run_id", "value"]].to_numpy().tolist() == [["b", 0.5]]

    def test_cleaning_twice_is_cleaning_once(self):
        rows = [measurement(phase=phase, pretrain_seed=s, value=0.1) for phase in ("one", "two") for s in (0, 1)]
        once = clean(tabulate(rows)).table
        pd.testing.assert_frame_equal(once, clean(once).table)
        assert once["family"].nunique() == 4

    def test_rows_without_a_finite_value_count_as_missing(self):
        rows = [measurement(value=value) for value in (math.nan, None, math.inf, 0.4)]
        cleaned = clean(tabulate(rows))
        assert len(cleaned.table) == 1
        assert cleaned.notes[0].startswith("3 rows without a finite value")

    def test_checkpoints_without_a_step_keep_their_order_of_appearance(self):
        names = ("zebra", "ant", "main")
        rows = [measurement(checkpoint=name, step=None, value=0.3) for name in names]
        ordered = order_checkpoints(clean(tabulate(rows)).table)
        assert ordered["checkpoint"].tolist() == list(names)
        assert ordered["label"].tolist() == list(names)
        assert build_headline(tabulate(rows), NLI)["position"].tolist() == [0, 1, 2]

    def test_plain_pandas_types_as_a_file_may_have_them(self):
        table = realistic_study()
        plain = table.astype(object).where(table.notna(), None)
        pd.testing.assert_frame_equal(build_headline(table, PRIMARY), build_headline(plain, PRIMARY))

    def test_absent_column_is_named(self):
        from pretune.errors import DataError

        with pytest.raises(DataError, match="lacks the columns \\['value'\\]"):
            clean(realistic_study().drop(columns="value"))

    def test_column_of_another_type_is_named(self):
        from pretune.errors import DataError

        table = realistic_study().astype({"value": object})
        table.loc[0, "value"] = "much"
        with pytest.raises(DataError, match="'value'"):
            clean(table)


def test_setting_is_named_only_where_it_varies_within_a_training_task():
    rows = [measurement(eval_task=task, value=0.3) for task in ("a", "b")]
    rows += [measurement(state="tuned", eval_task="a", train_rows=1200, value=0.5)]
    rows += [measurement(state="tuned", eval_task="b", train_rows=800, value=0.5)]
    assert set(build_headline(tabulate(rows), {})["setting"]) == {""}


def test_rates_side_by_side_are_curves_of_their_own_with_their_gaps():
    rows = [measurement(step=step, value=0.3) for step in (1, 2)]
    rows += [measurement(step=1, state="tuned", lr=lr, value=0.5) for lr in (1e-4, 1e-3)]
    headline = build_headline(tabulate(rows), NLI)
    assert headline.groupby("setting")["base"].count().to_dict() == {"lr=0.0001": 2, "lr=0.001": 2}


@pytest.mark.parametrize("relation", ["cross_task", None])
def test_task_that_other_trainings_merely_touch_keeps_its_base_curve(relation):
    rows = [measurement(eval_task="choice", value=0.5)]
    rows += [measurement(state="tuned", train_task="nli", eval_task="choice", relation=relation, value=0.4)]
    headline = build_headline(tabulate(rows), {})
    assert headline["train_task"].isna().sum() == 1


@pytest.mark.parametrize("with_tuned", [True, False])
def test_base_rows_on_held_out_rows_are_validation_too(with_tuned):
    held_out = {"eval_split": "train[held out]"}
    rows = [measurement(value=0.9, **held_out, run_id="v"), measurement(value=0.3, run_id="e")]
    rows += [measurement(value=0.8, scorer="baseline", **held_out), measurement(value=0.33, scorer="baseline")]
    if with_tuned:
        rows += [measurement(state="tuned", relation="validation", value=0.95, **held_out)]
        rows += [measurement(state="tuned", value=0.7)]
    headline = build_headline(tabulate(rows), NLI)
    assert headline["base"].tolist() == [0.3]
    assert headline["baseline"].tolist() == [0.33]
    assert build_formats(tabulate(rows), NLI).loc[lambda f: f["state"] == "base", "format:default"].tolist() == [0.3]


def test_split_of_another_name_that_only_validates_is_left_out():
    rows = [measurement(value=0.9, eval_split="dev"), measurement(value=0.3, eval_split="test")]
    rows += [measurement(state="tuned", relation="validation", eval_split="dev", value=0.95)]
    rows += [measurement(state="tuned", eval_split="test", value=0.7)]
    rows += [measurement(step=2, value=0.8, eval_split="dev"), measurement(step=2, value=0.31, eval_split="test")]
    assert build_headline(tabulate(rows), NLI)["base"].tolist() == [0.31, 0.3]
