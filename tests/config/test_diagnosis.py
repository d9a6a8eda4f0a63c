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
    "types": (
        ["seed=many", "optimizer.lr=fast"],
        {"seed=many": "must be a whole number", "optimizer.lr=fast": "must be a number"},
    ),
    "choice, key, type and rule": (
        ["format=oi", "sede=1", "stage.epochs=many", "optimizer.lr=0"],
        {
            "format=oi": "io",
            "sede=1": "seed",
            "stage.epochs=many": "whole number",
            "optimizer.lr=0.0": "greater than 0",
        },
    ),
    "key that only the valid choice has": (
        ["format=oi", "checkpoint.recipe.seed=3"],
        {"format=oi": "io"},
    ),
    "nothing chosen": (["experiment=null"], {"experiment=null": "amuro_char"}),
    "no override": (["lr", "seed=x"], {"lr=": "key=value", "seed=x": "whole number"}),
    "kinds of values": (
        [
            "trainer.compile=maybe",
            "trainer.micro_batch=x",
            "task.label_names=a",
            "eval.shots=[a]",
            "seed=null",
            "task.labels=[a]",
            "task.name={a:1}",
            "checkpoint.step=[1]",
            "checkpoint.recipe.model.heads=x",
        ],
        {
            "trainer.compile=maybe": "must be true or false",
            "trainer.micro_batch=x": "must be a whole number, or null",
            "task.label_names=a": "is a list: write task.label_names=[a]",
            "eval.shots=[a]": "must be a list of whole numbers",
            "seed=null": "must be a whole number",
            "task.labels=[a]": "must be a mapping of texts",
            "task.name={a:1}": "must be a text",
            "checkpoint.step=[1]": "must be a whole number or a text, or null",
            "checkpoint.recipe.model.heads=x": "must be a whole number",
        },
    ),
    "grammar": (
        ["format=io,", "task.name=[a", "study_dir=~/x"],
        {
            "format=io,": "ends with a comma: a value is missing",
            "task.name=[a": "is not closed, or has a special character (special characters need quotes",
            "study_dir=~/x": "cannot hold '~' (special",
        },
    ),
    "keys nearest by place": (
        ["lr=1", "optmizer.lr=1", "stage.eval_steps=1", "optimizer.zzz=1", "hydra.launcher.nope=1"],
        {
            "lr=1": "did you mean optimizer.lr or search.lr? valid: cache, ",
            "optmizer.lr=1": "did you mean optimizer.lr? valid: cache, ",
            "stage.eval_steps=1": "did you mean stage.save_steps? valid: stage.batch_size, ",
            "optimizer.zzz=1": "no such key; valid: optimizer.betas, optimizer.eps, optimizer.fused, optimizer.lr",
            "hydra.launcher.nope=1": "no such key; none are known",
        },
    ),
    "options nearest by place, steps in their order": (
        ["checkpoint=pico/step65"],
        {"checkpoint=pico/step65": "valid: pico/step0, pico/step16, pico/step32, pico/step64, pico/step128, "},
    ),
    "values of a key of Hydra's": (
        ["hydra.sweeper.chunk_size=x"],
        {"hydra.sweeper.chunk_size=x": "must be a whole number"},
    ),
    "values of a key that there is not": (["optimizer.lrr=1,2,3"], {"optimizer.lrr=1": "did you mean optimizer.lr?"}),
    "parts of axes": (
        ["pairs='checkpoint=pico/step64,main:optimizer.lrr=1'", "only='seed=x:task=pico/nly'", "pairs=3"],
        {
            "optimizer.lrr=1": "did you mean optimizer.lr?",
            "seed=x": "must be a whole number",
            "task=pico/nly": "did you mean pico/nli",
            "pairs=3": "needs two or more parts",
        },
    ),
    "deleted key that is not there": (["~optimizer.lrr"], {"~optimizer.lrr=": ""}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_wrong_override_is_named_with_what_would_be_right(name: str, loader: Any) -> None:
    overrides, expected = CASES[name]
    problems = diagnosed([*SOUND, *overrides], loader, sweeping=True)
    assert sorted(f"{problem.key}={problem.value}" for problem in problems) == sorted(expected)
    for problem in problems:
        assert expected[f"{problem.key}={problem.value}"] in problem.message
        assert "\n" not in problem.message


def test_several_values_need_a_sweep(loader: Any) -> None:
    words = ["optimizer.lr=1e-3,1e-4", "eval.shots=0,4", "eval.formats=default,oi", "seed=range(1,3)", "task=mnli,rte"]
    assert [str(problem) for problem in diagnosed([*SOUND, *words], loader)] == [
        "optimizer.lr=1e-3,1e-4: several values need -m",
        "eval.shots=0,4: several values need -m; one list is written eval.shots=[0,4]",
        "eval.formats=default,oi: several values need -m; one list is written eval.formats=[default,oi]",
        "seed=range(1,3): several values need -m",
        "task=mnli,rte: several values need -m",
    ]
    assert diagnosed([*SOUND, "optimizer.lr=1e-3,1e-4"], loader, sweeping=True) == []


def test_a_word_that_is_no_override_is_shown_as_it_was_typed(loader: Any) -> None:
    shown = [str(problem).split(": ")[0] for problem in diagnosed(["checkpoint", "", "~optimizer.lrr"], loader)]
    assert shown == ["checkpoint", "''", "~optimizer.lrr"]


def test_a_key_of_another_script_is_said_to_be_one(loader: Any) -> None:
    words = ["checkpoint=pico/step64", "optimizer.lr=1", "stage=sft"]
    assert [str(problem) for problem in diagnosed(words, loader, script="evaluate")] == [
        "stage=sft: evaluate.py has no stage, which is a key of train.py",
        "optimizer.lr=1: evaluate.py has no optimizer, which is a key of train.py",
    ]


def test_the_keys_of_the_chosen_launcher_are_listed(loader: Any) -> None:
    (problem,) = diagnosed([*SOUND, "hydra/launcher=workers", "hydra.launcher.procs=2"], loader)
    names = ", ".join(f"hydra.launcher.{name}" for name in ("per_device", "processes", "threads"))
    assert problem.message == f"no such key; did you mean hydra.launcher.processes? valid: {names}"


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
