"""After Hydra refused a command line, everything that is wrong with it is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pretune.config.diagnosis import find_all, first_lines, is_refusal, single_values
from pretune.errors import Problem

SOUND = ("checkpoint=pico/step64", "task=pico/nli")


def diagnosed(overrides: Sequence[str], loader: Any, *, sweeping: bool = False, script: str = "train") -> list[Problem]:
    return list(find_all(script, list(overrides), loader, sweeping=sweeping))


CASES: dict[str, tuple[list[str], dict[str, str]]] = {
    "choice": (["task=mnly"], {"task=mnly": "did you mean mnli"}),
    "choice in a folder": (["task=pico/nly"], {"task=pico/nly": "did you mean pico/nli"}),
    "several choices": (
        ["task=mnly", "format=oi", "checkpoint=step342"],
        {"task=mnly": "mnli", "format=oi": "io", "checkpoint=step342": "step342k"},
    ),
    "keys": (
        ["optimizer.lrr=1", "sede=1", "task.train_row=5"],
        {"optimizer.lrr=1": "optimizer.lr", "sede=1": "seed", "task.train_row=5": "task.train_rows"},
    ),
    "types": (["seed=many", "optimizer.lr=fast"], {"seed=many": "many", "optimizer.lr=fast": "fast"}),
    "choice, key, type and rule": (
        ["format=oi", "sede=1", "stage.epochs=many", "optimizer.lr=0"],
        {"format=oi": "io", "sede=1": "seed", "stage.epochs=many": "many", "optimizer.lr=0.0": "greater than 0"},
    ),
    "key that only the valid choice has": (
        ["format=oi", "checkpoint.recipe.seed=3"],
        {"format=oi": "io"},
    ),
    "nothing chosen": (["experiment=null"], {"experiment=null": "amuro_char"}),
    "no override": (["lr", "seed=x"], {"lr=": "key=value", "seed=x": "x"}),
    "deleted key that is not there": (["~optimizer.lrr"], {"~optimizer.lrr=": ""}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_wrong_override_is_named_with_what_would_be_right(name: str, loader: Any) -> None:
    overrides, expected = CASES[name]
    problems = diagnosed([*SOUND, *overrides], loader)
    assert sorted(f"{problem.key}={problem.value}" for problem in problems) == sorted(expected)
    for problem in problems:
        assert expected[f"{problem.key}={problem.value}"] in problem.message
        assert "\n" not in problem.message


def test_several_values_need_a_sweep(loader: Any) -> None:
    (problem,) = diagnosed([*SOUND, "optimizer.lr=1e-3,1e-4"], loader)
    expected = "several values need -m; one list is written optimizer.lr=[1e-3,1e-4]"
    assert str(problem) == f"optimizer.lr=1e-3,1e-4: {expected}"
    assert diagnosed([*SOUND, "optimizer.lr=1e-3,1e-4"], loader, sweeping=True) == []


def test_each_bad_value_of_a_sweep_is_named_and_the_good_ones_are_not(loader: Any) -> None:
    words = ["task=mnly,paws", "seed=1,x,2,y", "format=default,oi"]
    problems = diagnosed(["checkpoint=pico/step64", *words], loader, sweeping=True)
    found = [f"{problem.key}={problem.value}" for problem in problems]
    assert sorted(found) == ["format=oi", "seed=x", "seed=y", "task=mnly"]


def test_a_sound_command_line_has_no_problem(loader: Any) -> None:
    words = [*SOUND, "optimizer.lr=1e-3", "+task.fields.extra=a", "~task.fields.premise", "experiment=miniature"]
    assert diagnosed(words, loader) == []
    assert diagnosed([*SOUND, "shots=4"], loader, script="evaluate") == []
    assert diagnosed([*SOUND, "hydra.sweeper.chunk_size=2"], loader) == []


def test_single_values_of_an_override(loader: Any) -> None:
    parser = OverridesParser.create(config_loader=loader)
    for text, expected in {
        "seed=1,2": ["seed=1", "seed=2"],
        "task=mnli": ["task=mnli"],
        "eval.shots=[0,4]": ["eval.shots=[0,4]"],
        "seed=range(3)": ["seed=0", "seed=1", "seed=2"],
    }.items():
        assert single_values(parser.parse_override(text)) == expected


def test_hydras_message_is_kept_without_what_only_helps_hydra() -> None:
    error = ValueError("Could not find it\nConfig search path:\n\tprovider=main, path=x\n\n    object_type=dict")
    error.__cause__ = ValueError("because of that\nand more")
    assert first_lines(error) == "Could not find it\n  because of that"


def test_which_errors_are_refusals() -> None:
    assert is_refusal(ValueError("Config group override must be a string or a list. Got NoneType"))
    assert not is_refusal(ValueError("something else"))
    assert not is_refusal(KeyboardInterrupt())
