"""What holds for every analysis of the catalogue, whatever the table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pretune.analysis import CATALOGUE, Inputs, run_analyses
from synthetic_tables import PRIMARY, measurement, realistic_study, tabulate

DOCS = Path(__file__).parents[2] / "docs" / "analyses.md"
PROBE = {"kind": "probe", "probe": "gaussian", "magnitude": 0.1, "metric": "loss_increase", "eval_task": None,
         "scorer": None, "eval_format": None}  # fmt: skip

TABLES = {
    "an empty study": [],
    "one base score": [measurement()],
    "one tuned score": [measurement(state="tuned")],
    "one checkpoint before and after": [measurement(), measurement(state="tuned", value=0.8)],
    "only values that are not finite": [measurement(value=np.nan), measurement(state="tuned", value=np.inf)],
    "only training losses": [measurement(kind="train", state="tuned", eval_task=None, scorer=None, metric="loss")],
    "only probes": [measurement(step=step, **PROBE, value=0.1) for step in (1, 2)],
    "only text": [measurement(eval_task="text", metric="loss", scorer="likelihood", value=3.0, step=s) for s in (1, 2)],
    "duplicates that disagree": [measurement(), measurement(), measurement(value=0.4), measurement(value=0.4, n=9)],
    "checkpoints without steps": [measurement(step=None, checkpoint=name, value=0.5) for name in "abcdef"],
    "no intervals, no counts": [measurement(step=s, ci_low=None, ci_high=None, n=None, state=state)
                                for s in (1, 2, 4) for state in ("base", "tuned")],
    "constant scores": [measurement(step=2**s, value=1.0, ci_low=1.0, ci_high=1.0, state=state)
                        for s in range(14) for state in ("base", "tuned")],
    "scores of zero": [measurement(step=2**s, value=0.0, ci_low=0.0, ci_high=0.0, state=state)
                       for s in range(6) for state in ("base", "tuned")],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_every_table_gives_values_or_says_that_there_are_not_enough_data(name):
    for outcome in run_analyses(Inputs(table=tabulate(TABLES[name]), primary={})).values():
        assert list(outcome.table.columns) == list(outcome.analysis.columns)
        assert outcome.note.startswith("not enough data because the table has no") == (len(outcome.table) == 0)


def test_a_study_with_a_third_of_its_rows_missing():
    table = realistic_study().sample(frac=0.67, random_state=0)
    outcomes = run_analyses(Inputs(table=table, primary=PRIMARY))
    assert {name for name, outcome in outcomes.items() if outcome.note} <= {"soundness", "matched_forgetting"}


def test_one_task_alone():
    table = realistic_study()
    table = table[(table["eval_task"] == "pico/nli") & table["train_task"].isin(["pico/nli", None])]
    outcomes = run_analyses(Inputs(table=table, primary=PRIMARY))
    assert outcomes["dichotomy"].table["eval_task"].tolist() == ["pico/nli"]
    assert set(outcomes["prediction"].table["verdict"]) == {"not enough data"}


def test_the_order_of_rows_and_their_repetition_change_nothing():
    table = realistic_study(steps=(0, 16, 64, 256, 1024))
    other = pd.concat([table, table.sample(200, random_state=1)]).sample(frac=1, random_state=2)
    first, second = (run_analyses(Inputs(table=t, primary=PRIMARY)) for t in (table, other))
    for name, outcome in first.items():
        frames = []
        for frame in (outcome.table, second[name].table):
            keys = [column for column in frame.columns if frame[column].dtype.kind not in "fib"]
            frames.append(frame.sort_values(keys, ignore_index=True))
        pd.testing.assert_frame_equal(*frames, check_dtype=False, rtol=1e-9)


def test_points_are_tables_units_and_intervals_hold_their_values():
    outcomes = run_analyses(Inputs(table=realistic_study(), primary=PRIMARY))
    for name, value in (
        ("exchange", "difference"),
        ("format_slopes", "slope"),
        ("sensitivity", "slope"),
        ("gains", "gain"),
    ):
        table = outcomes[name].table
        low, middle, high = (table[f"{value}{end}"].to_numpy(dtype=float) for end in ("_low", "", "_high"))
        known = np.isfinite(low)
        assert known.any()
        assert (low[known] <= middle[known] + 1e-12).all()
        assert (middle[known] <= high[known] + 1e-12).all()


def test_every_analysis_is_documented():
    sections = re.findall(r"^## (\w+):", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [analysis.name for analysis in CATALOGUE]
    for analysis in CATALOGUE:
        assert analysis.question.endswith("?")
        assert analysis.method.endswith(".")
        assert analysis.caveats
        assert all(analysis.columns.values())


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="did you mean trends"):
        run_analyses(Inputs(table=tabulate([]), primary={}), ["trend"])
