"""The order of runs' names, and the few that a message shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretune.results.naming import natural_order, say_runs

FOLDER = Path("/study/runs")


@pytest.mark.parametrize(
    "names",
    [
        ["train-pico-step64-a", "train-pico-step256-a", "train-pico-step1024-a"],
        ["train-lr2e-07-s0", "train-lr2e-06-s0", "train-lr0.0005-s0", "train-lr0.001-s0"],
        ["evaluate-9e9999", "train-1", "train-a"],
    ],
)
def test_numbers_in_names_are_numbers(names: list[str]) -> None:
    assert sorted(set(names), key=natural_order) == names


def test_trainings_come_first_and_the_rest_is_counted() -> None:
    names = [f"evaluate-{number}" for number in range(20)] + ["train-step1024", "train-step64"]
    lines = say_runs(names, FOLDER, near="RUN_ID").splitlines()
    assert lines[0] == f"in {FOLDER} there are:"
    assert [line.strip() for line in lines[1:]] == [
        "train-step64", "train-step1024", "evaluate-0", "evaluate-1", "evaluate-2", "and 17 more"
    ]  # fmt: skip


@pytest.mark.parametrize("near", ["on-mnli", "evaluate-on-mlni"])
def test_names_like_the_given_one_come_before_all_others(near: str) -> None:
    lines = say_runs(["train-a", "train-b", "evaluate-on-mnli"], FOLDER, near=near).splitlines()
    assert lines == [f"did you mean one of these in {FOLDER}?", "  evaluate-on-mnli", "  train-a", "  train-b"]


def test_a_study_without_runs() -> None:
    assert say_runs([], FOLDER, near="x") == f"there are none in {FOLDER}"
