"""The search for learning rates by the real command: each trial a cell, and resumed from the table alone."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from support.commands import start, wait_until
from support.studies import NLI, Place, lines_with, make_place, values

pytest.importorskip("optuna")

SEARCH = (
    *NLI,
    "eval.relations=[validation,in_domain]",
    "checkpoint.step=4,8",
    "search=optuna",
    "search.trials=4",
    "search.startup=2",
    "search.lr=[1e-4,1e-2]",
)


def test_a_search_goes_on_where_it_was_stopped_and_ends_with_the_same_table(place: Place) -> None:
    whole = place.train("-m", *SEARCH)
    assert whole.status == 0, whole.text
    assert whole.done[0] == 8
    assert len(place.runs("train-*")) == 8
    for step in (4, 8):
        assert len(lines_with(whole.out, f"pico step{step}", "accuracy on validation rows")) == 1
    assert "Nothing to do: all 8 train" in place.train("-m", *SEARCH).out

    other = make_place(place.cwd.parent / "other", place.cache)
    command = start("train.py", "-m", *other.arguments(*SEARCH), cwd=other.cwd)
    # the third training is over and in the index when its first evaluation is done, too
    assert wait_until(lambda: len(other.runs("evaluate-*lr*")) >= 5 or not command.is_running())
    command.kill()
    before = len(other.runs("train-*"))
    assert 3 <= before < 8
    again = other.train("-m", *SEARCH)
    assert again.status == 0, again.text
    assert again.done[0] == 8 - before
    pd.testing.assert_frame_equal(values(other.study), values(place.study), check_exact=True)

    shutil.rmtree(place.runs("train-*step8*")[-1])
    plan = place.train("-m", *SEARCH, "mode=plan")
    assert plan.status == 0, plan.text
    assert " missing." in plan.out
    assert place.train("-m", *SEARCH, "optimizer.lr=1e-3").status == 2
