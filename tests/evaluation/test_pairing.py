from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pretune.errors import DataError
from pretune.evaluation.pairing import COMPARISON, compare_items, pair_items
from pretune.evaluation.significance import holm, mcnemar, paired_bootstrap


def items(values, *, task="nli", scorer="sum", start=0, gold="yes", format_="default", shots=0, scores=None):
    return pd.DataFrame(
        [
            {
                "eval_task": task, "eval_format": format_, "shots": shots, "scorer": scorer, "item": str(start + i),
                "choices": [], "scores": [] if scores is None else [scores[i]], "prediction": "p", "gold": gold,
                "value": float(value),
            }
            for i, value in enumerate(values)
        ]
    )  # fmt: skip


def answers(seed: int, n: int = 120, p: float = 0.6) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < p).astype(float)


def test_items_are_joined_by_their_own_row_whatever_the_order():
    first, second = items(answers(0)), items(answers(1))
    joined = pair_items(first, second.sample(frac=1, random_state=0))
    assert list(joined["value_first"]) == list(first["value"])
    assert list(joined["value_second"]) == list(second["value"])


def test_only_common_items_of_the_same_evaluation_count():
    first = pd.concat([items([1, 0, 1]), items([1, 1], task="other"), items([1], scorer="per_byte")])
    second = pd.concat([items([1, 1], start=1), items([0], task="other", shots=4)])
    joined = pair_items(first, second)
    assert list(joined["item"]) == ["1", "2"]
    assert set(joined["eval_task"]) == {"nli"}
    table = compare_items(first, second)
    assert len(table) == 1
    assert table.loc[0, ["n", "unpaired"]].tolist() == [2, 1]


def test_text_without_format_and_shots_is_joined_too():
    nats = np.array([30.0, 8.0, 50.0])
    tokens = np.array([10.0, 4.0, 20.0])

    def text(factor):
        losses = nats * factor
        frame = items(losses / tokens, task="text", scorer="likelihood", gold="", scores=-losses)
        return frame.assign(eval_format=None, shots=pd.NA)

    (row,) = compare_items(text(1.0), text(1.5)).to_dict("records")
    assert row["first"] == pytest.approx(nats.sum() / tokens.sum())  # a ratio of totals, not a mean of ratios
    assert row["difference"] == pytest.approx(-0.5 * nats.sum() / tokens.sum())
    assert row["test"] == "bootstrap"
    assert row["p_value"] >= 0.25  # three documents
    assert row["unpaired"] == 0


def test_runs_that_disagree_about_the_answer_are_refused():
    second = items([1, 1, 1])
    second.loc[1, "gold"] = "no"
    with pytest.raises(
        DataError, match=r"1 of 3 common items have different gold answers.*item 1 of nli.*'yes' and 'no'"
    ):
        pair_items(items([1, 0, 1]), second)
    second.loc[1, "gold"] = None
    with pytest.raises(DataError, match="different gold"):
        pair_items(items([1, 0, 1]), second)


def test_an_item_that_occurs_twice_is_refused():
    with pytest.raises(DataError, match="item 0 of nli .sum. occurs 2 times"):
        pair_items(pd.concat([items([1, 0]), items([1])]), items([1, 0]))


def test_formats_and_shots_are_compared_across_when_asked():
    first, second = items(answers(0)), items(answers(1), format_="io", shots=4)
    assert pair_items(first, second).empty
    assert list(compare_items(first, second).columns) == COMPARISON
    table = compare_items(first, second, across=["eval_format", "shots"])
    assert table.loc[0, ["n", "unpaired", "eval_format"]].tolist() == [120, 0, "default"]


def test_the_table_holds_the_statistics_of_its_items():
    pairs = {"a": (answers(0), answers(1)), "b": (answers(2, p=0.9), answers(3, p=0.3))}
    rouge = np.random.default_rng(4).random((2, 60))
    first = pd.concat(
        [*(items(one, task=task) for task, (one, _) in pairs.items()), items(rouge[0], task="c", scorer="generate")]
    )
    second = pd.concat(
        [*(items(two, task=task) for task, (_, two) in pairs.items()), items(rouge[1], task="c", scorer="generate")]
    )
    table = compare_items(first, second).set_index("eval_task")
    for task, (one, two) in pairs.items():
        row, exact, found = table.loc[task], mcnemar(one, two), paired_bootstrap(one, two)
        assert (row["first"], row["second"]) == (pytest.approx(one.mean()), pytest.approx(two.mean()))
        assert (row["difference"], row["low"], row["high"]) == (found.value, found.low, found.high)
        assert (row["only_first"], row["only_second"], row["p_value"]) == (
            exact.only_first,
            exact.only_second,
            exact.p_value,
        )
        assert row["test"] == "McNemar"
    assert table.loc["c", "test"] == "bootstrap"
    assert pd.isna(table.loc["c", "only_first"])
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p_value"]).tolist())
    assert (table["p_holm"] >= table["p_value"]).all()
