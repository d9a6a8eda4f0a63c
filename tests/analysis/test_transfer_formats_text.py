from __future__ import annotations

import numpy as np
import pytest

from pretune.analysis.coverage import count_cells, list_missing
from pretune.analysis.forgetting import build_forgetting
from pretune.analysis.formats import build_formats
from pretune.analysis.transfer import build_transfer, pivot_transfer
from synthetic_tables import PRIMARY, STEPS, measurement, realistic_study, tabulate

TASKS = {"a": ("accuracy", "sum"), "b": ("rouge_l", "generate"), "t": ("loss", "likelihood")}


def _two_tasks() -> list[dict]:
    rows = []
    for task, base in (("a", 0.40), ("b", 0.20)):
        metric, scorer = TASKS[task]
        rows.append(measurement(eval_task=task, metric=metric, scorer=scorer, value=base))
    for train, task, value in (("a", "a", 0.90), ("a", "b", 0.05), ("b", "b", 0.45), ("b", "a", 0.41)):
        metric, scorer = TASKS[task]
        relation = "in_domain" if train == task else "cross_task"
        rows.append(measurement(state="tuned", train_task=train, eval_task=task, metric=metric, scorer=scorer,
                                relation=relation, value=value))  # fmt: skip
    return rows


def test_transfer_is_in_points():
    transfer = build_transfer(tabulate(_two_tasks()), TASKS)
    matrix = pivot_transfer(transfer)
    np.testing.assert_allclose(matrix.loc[["a", "b"], ["a", "b"]], [[50.0, -15.0], [1.0, 25.0]])
    row = transfer[(transfer["train_task"] == "a") & (transfer["eval_task"] == "b")].iloc[0]
    assert row["relation"] == "cross_task"
    assert row["difference_low"] == pytest.approx(-15 - 3 * 2**0.5)


def test_transfer_of_a_loss_keeps_its_sign_and_unit():
    rows = _two_tasks()
    for state, value in (("base", 3.0), ("tuned", 3.5)):
        changes = {"train_task": "a", "relation": "cross_task"} if state == "tuned" else {}
        rows.append(measurement(state=state, eval_task="t", metric="loss", scorer="likelihood", value=value, **changes))
        rows.append(measurement(state=state, eval_task="t", metric="accuracy", scorer="sum", value=0.5, **changes))
    transfer = build_transfer(tabulate(rows), TASKS)
    row = transfer[transfer["eval_task"] == "t"].iloc[0]
    assert row["difference"] == pytest.approx(0.5)
    assert not row["higher_is_better"]


def test_transfer_leaves_out_pairs_without_both_scores():
    rows = [row for row in _two_tasks() if not (row["state"] == "base" and row["eval_task"] == "b")]
    assert set(build_transfer(tabulate(rows), TASKS)["eval_task"]) == {"a"}


def test_spread_over_formats():
    rows = []
    for state, values in (("base", (0.3, 0.32, 0.29)), ("tuned", (0.8, 0.7, 0.5))):
        for format_, value in zip(("default", "instruct", "io"), values, strict=True):
            rows.append(measurement(state=state, eval_format=format_, value=value))
    formats = build_formats(tabulate(rows), PRIMARY).set_index("state")
    np.testing.assert_allclose(formats.loc[["base", "tuned"], "spread"], [0.03, 0.3])
    assert formats.loc["tuned", "best"] == "default"
    assert formats.loc["tuned", "worst"] == "io"
    assert formats.loc["tuned", "format:instruct"] == 0.7
    assert formats.loc["tuned", "formats"] == 3


def test_spread_needs_two_formats_and_ignores_more_shots():
    rows = [measurement(value=0.3), measurement(value=0.6, shots=4, eval_format="io")]
    row = build_formats(tabulate(rows), PRIMARY).iloc[0]
    assert np.isnan(row["spread"])
    assert row["format:default"] == 0.3
    assert row["shots"] == 0
    assert np.isnan(row["format:io"])


def test_base_rows_of_formats_appear_once_however_many_trainings_there_are():
    formats = build_formats(realistic_study(), PRIMARY)
    base = formats[formats["state"] == "base"]
    assert not base.duplicated(["family", "checkpoint", "eval_task"]).any()
    assert len(base) == 11 * len(STEPS)


def test_format_named_like_a_column_is_no_problem():
    rows = [measurement(value=0.3, eval_format="spread"), measurement(value=0.6, eval_format="eval_task")]
    assert build_formats(tabulate(rows), PRIMARY).iloc[0]["spread"] == pytest.approx(0.3)


def test_forgetting_is_the_rise_of_the_loss_at_the_chosen_rate():
    forgetting = build_forgetting(realistic_study(), PRIMARY)
    nli = forgetting[forgetting["train_task"] == "pico/nli"]
    np.testing.assert_allclose(nli["change"], [0.05 + 0.06 * index for index in range(8)])
    assert set(nli["lr"]) == {1e-3}
    slower = build_forgetting(realistic_study(), PRIMARY, every_rate=True)
    slower = slower[(slower["train_task"] == "pico/nli") & (slower["lr"] == 2e-4)]
    np.testing.assert_allclose(slower["change"], [0.05 + 0.012 * index for index in range(8)])


def test_text_of_base_models_alone_is_kept():
    rows = [measurement(eval_task="t", metric="perplexity", scorer="likelihood", value=20.0, step=s) for s in (0, 8)]
    forgetting = build_forgetting(tabulate(rows), {})
    assert forgetting["base"].tolist() == [20.0, 20.0]
    assert forgetting["train_task"].isna().all()


def test_loss_is_preferred_to_perplexity_whatever_is_primary():
    rows = [
        measurement(eval_task="t", metric=metric, scorer="likelihood", value=value)
        for metric, value in (("perplexity", 20.0), ("loss", 3.0))
    ]
    assert build_forgetting(tabulate(rows), {"t": ("perplexity", "likelihood")})["metric"].tolist() == ["loss"]


def test_missing_cells_are_those_the_grid_lacks():
    missing = list_missing(realistic_study())
    found = {tuple(row) for row in missing[["kind", "checkpoint", "train_task", "lr"]].to_numpy().tolist()}
    assert found == {
        ("train", "step32", "pico/question", 2e-4), ("train", "step32", "pico/question", 1e-3),
        ("train", "step512", "pico/summary", 2e-4), ("train", "step512", "pico/summary", 1e-3),
    }  # fmt: skip


def test_missing_evaluations_of_base_and_tuned_models():
    rows = _two_tasks()
    assert list_missing(tabulate(rows)).empty
    rows = [measurement(**(row | {"step": step, "checkpoint": f"step{step}", "run_id": None})) for step in (64, 128)
            for row in rows]  # fmt: skip
    complete = tabulate(rows)
    is_gone = (complete["step"] == 128) & (complete["eval_task"] == "b") & (complete["train_task"].fillna("a") == "a")
    missing = list_missing(complete[~is_gone])
    assert sorted(zip(missing["state"], missing["checkpoint"], missing["eval_task"], strict=True)) == [
        ("base", "step128", "b"),
        ("tuned", "step128", "b"),
    ]


def test_cells_are_counted_by_run_id():
    assert count_cells(tabulate(_two_tasks())) == {"evaluate": 6}
