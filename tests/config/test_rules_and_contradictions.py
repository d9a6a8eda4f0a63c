"""Each broken rule and each contradiction is one problem with key and value, and all are reported together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretune.config.running import EvaluateConfig, ReportConfig, TrainConfig
from pretune.config.schema import walk
from pretune.config.science import Checkpoint, Task
from pretune.config.validation import find_problems, validate
from pretune.errors import ConfigError, Problem, suggest, suggest_key
from support.configs import CONFIG, LADDER, change, leaves

LEAVES = {key for key, _ in leaves(CONFIG)}


@pytest.fixture
def good(tmp_path: Path) -> TrainConfig:
    return change(CONFIG, "study_dir", str(tmp_path / "study"))


def test_a_sound_configuration_has_no_problem(good: TrainConfig) -> None:
    assert find_problems(good) == []
    assert find_problems(change(good, "checkpoint", LADDER)) == []
    validate([good])


def broken_rules() -> list[tuple[str, Any]]:
    """One value outside the bounds of each rule."""
    found: list[tuple[str, Any]] = []
    base = change(CONFIG, "checkpoint", LADDER)
    for key, value, rule in walk(base):
        wrap = (lambda item: (item,)) if isinstance(value, tuple) else (lambda item: item)
        if key not in {name for name, _ in leaves(base)}:
            continue
        if rule.minimum is not None:
            found.append((key, wrap(rule.minimum - 1 if not isinstance(value, float) else rule.minimum - 0.5)))
        if rule.maximum is not None:
            found.append((key, wrap(rule.maximum + 1)))
        if rule.above is not None:
            found += [(key, wrap(rule.above)), (key, wrap(float("inf"))), (key, wrap(float("nan")))]
        if rule.choices:
            found.append((key, wrap("no-such-choice")))
        if rule.nonempty:
            found.append((key, () if isinstance(value, tuple) else ""))
    return found


@pytest.mark.parametrize(("key", "value"), broken_rules(), ids=lambda item: str(item))
def test_a_broken_rule_is_a_problem_of_that_key_and_value(key: str, value: Any, good: TrainConfig) -> None:
    problems = find_problems(change(change(good, "checkpoint", LADDER), key, value))
    mine = [problem for problem in problems if problem.key == key]
    assert len(mine) == 1, problems
    shown = value[0] if isinstance(value, tuple) and value else value
    assert str(mine[0].value) in (str(shown), repr(shown))
    assert mine[0].message


LOOSE: dict[str, tuple[dict[str, Any], str, str]] = {
    "free answers without decoding": ({"task.scorer": "generate"}, "task.scorer", "needs eval.decode=true"),
    "hub without repository": ({"checkpoint.repo": None}, "checkpoint.repo", "needs a repository"),
    "path without folder": (
        {"checkpoint.source": "path", "checkpoint.step": None}, "checkpoint.path", "needs a folder"
    ),
    "folder that is missing": (
        {"checkpoint.source": "path", "checkpoint.path": "/no/such", "checkpoint.step": None},
        "checkpoint.path", "no such folder",
    ),
    "hub with a folder": ({"checkpoint.path": "/tmp"}, "checkpoint.path", "contradicts checkpoint.source=hub"),
    "ladder without recipe": (
        {"checkpoint.source": "ladder", "checkpoint.step": None}, "checkpoint.path", "a trained ladder, or a recipe"
    ),
    "revision and step": ({"checkpoint.revision": "main"}, "checkpoint.step", "contradicts checkpoint.revision=main"),
    "step without pattern": ({"checkpoint.pattern": None}, "checkpoint.step", "needs checkpoint.pattern"),
    "pattern that is none": ({"checkpoint.pattern": "("}, "checkpoint.pattern", "not a regular expression"),
    "step below zero": ({"checkpoint.step": -1}, "checkpoint.step", "at least 0"),
    "step of words": ({"checkpoint.step": "every:0"}, "checkpoint.step", "every:N"),
    "rows of the hub in a folder": ({"task.path": "/tmp"}, "task.path", "contradicts task.source=hub"),
    "rows without folder": ({"task.source": "path"}, "task.path", "needs a folder"),
    "rows of a missing folder": ({"task.source": "path", "task.path": "/no/such"}, "task.path", "no such folder"),
    "pre-training a hub model": ({"stage.name": "pretrain"}, "stage", "needs a checkpoint with a recipe"),
    "no training split": ({"task.train_split": None}, "task", "no training split"),
    "a conversation by sft": ({"task.answer": "chat"}, "stage", "holds conversations; give stage=instruct"),
    "instruct without one": ({"stage.name": "instruct"}, "stage", "give stage=sft"),
    "hidden labels": (
        {"task.labelled_splits": ("train", "validation"), "task.eval_split": "test"},
        "task.eval_split",
        "no labels there, or no such split; labelled: train, validation",
    ),
    "an unknown part of a split": (
        {"task.labelled_splits": ("train", "validation"), "task.train_split": "train+trian"},
        "task.train_split",
        "labelled: train, validation",
    ),
    "overlapping splits": (
        {"task.train_split": "a+b", "task.eval_split": "b+c"}, "task.eval_split", "is the training split"
    ),
    "micro-batch above batch": ({"trainer.micro_batch": 9}, "trainer.micro_batch", "stage.batch_size=8"),
    "devices for one process": ({"trainer.devices": 2}, "trainer.devices", "give trainer=ddp"),
    "machines for one process": ({"trainer.num_nodes": 2}, "trainer.num_nodes", "give trainer=ddp"),
    "processes that do not divide a step": (
        {"trainer.strategy": "ddp", "trainer.devices": 3}, "trainer.devices", "3 processes do not divide the 8 rows"
    ),
    "an unknown number of processes": (
        {"trainer.strategy": "ddp", "trainer.accelerator": "cpu"}, "trainer.devices", "must be given"
    ),
    "moments in blocks of cut weights": (
        {"trainer.strategy": "fsdp", "trainer.devices": 2, "optimizer.name": "adamw8bit"},
        "optimizer",
        "valid: adamw, sgd",
    ),
    "adapters on cut weights": (
        {"trainer.strategy": "fsdp", "trainer.devices": 2, "regularizer.name": "lora"},
        "regularizer",
        "valid: none, freeze, replay",
    ),
    "rounded updates of cut weights": (
        {"trainer.strategy": "fsdp", "trainer.devices": 2, "trainer.precision": "bf16-true"},
        "trainer.precision",
        "valid: bf16-mixed, 32-true",
    ),
    "three betas": ({"optimizer.betas": (0.9, 0.9, 0.9)}, "optimizer.betas", "two numbers"),
    "a beta of one": ({"optimizer.betas": (0.9, 1.0)}, "optimizer.betas", "below 1"),
    "a task twice": ({"task.cross_task": ("a", "b", "a")}, "task.cross_task", "twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOSE)
def test_a_contradiction_is_one_problem(name: str, good: TrainConfig) -> None:
    changes, key, part = LOOSE[name]
    config = good
    for changed, value in changes.items():
        config = change(config, changed, value)
    problems = find_problems(config)
    assert [problem.key for problem in problems] == [key], problems
    assert part in problems[0].message


@pytest.mark.parametrize(
    ("steps", "sound"),
    [
        ((0, 4, 8), True),
        ((4,), True),
        ((), False),
        ((4, 0), False),
        ((0, 4, 4), False),
        ((-1, 4), False),
        ((0,), False),
    ],
)
def test_steps_of_a_ladder_must_increase(steps: tuple[int, ...], sound: bool, good: TrainConfig) -> None:
    config = change(change(good, "checkpoint", LADDER), "checkpoint.recipe.stage.save_steps", steps)
    config = change(config, "checkpoint.step", steps[-1] if sound else None)
    keys = [problem.key for problem in find_problems(config)]
    assert keys == ([] if sound else ["checkpoint.recipe.stage.save_steps"])


def test_a_step_that_the_ladder_has_not_names_the_nearest(good: TrainConfig) -> None:
    (problem,) = find_problems(change(change(good, "checkpoint", LADDER), "checkpoint.step", 4))
    assert str(problem) == "checkpoint.step=4: the ladder has no such step; nearest: 2, 5; valid: 0, 2, 5"


def test_evaluate_checks_the_checkpoint_only_when_it_uses_it(tmp_path: Path) -> None:
    config = EvaluateConfig(study_dir=str(tmp_path), task=Task(name="a", family="b"), checkpoint=Checkpoint())
    config = change(config, "format", CONFIG.format)
    assert [problem.key for problem in find_problems(config)] == ["checkpoint.repo"]
    assert find_problems(change(config, "run", "all")) == []


def test_shots_need_a_training_split_unless_a_suite_is_evaluated(tmp_path: Path) -> None:
    config = EvaluateConfig(
        study_dir=str(tmp_path),
        task=Task(name="a", family="b", train_split=None),
        format=CONFIG.format,
        run="x",
        shots=4,
    )
    assert [(problem.key, problem.value) for problem in find_problems(config)] == [("shots", 4)]
    assert find_problems(change(config, "suite", "mnli")) == []
    assert find_problems(change(config, "shots", 0)) == []


def test_study_folders(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder, part in ((file, "is a file"), (file / "deeper", "is a file"), (Path("/proc/study"), "not writable")):
        (problem,) = find_problems(ReportConfig(study_dir=str(folder)))
        assert (problem.key, problem.value) == ("study_dir", str(folder))
        assert part in problem.message
    for folder in (tmp_path, tmp_path / "new" / "deep"):
        assert find_problems(ReportConfig(study_dir=str(folder))) == []
    assert list(tmp_path.iterdir()) == [file]


def test_all_problems_of_all_configurations_are_in_one_error_each_once(good: TrainConfig) -> None:
    broken = [
        change(change(good, "optimizer.lr", 0.0), "seed", -1),
        change(change(good, "optimizer.lr", 0.0), "stage.epochs", 0),
        change(good, "optimizer.lr", -1.0),
    ]
    with pytest.raises(ConfigError) as caught:
        validate(broken)
    assert [(problem.key, problem.value) for problem in caught.value.problems] == [
        ("optimizer.lr", 0.0), ("seed", -1), ("stage.epochs", 0), ("optimizer.lr", -1.0),
    ]  # fmt: skip
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 problems in the configuration:"
    assert lines[1] == "  optimizer.lr=0.0: must be greater than 0"


def test_one_problem_is_not_called_several() -> None:
    assert str(ConfigError([Problem(key="a", value=1, message="no")])) == "1 problem in the configuration:\n  a=1: no"


def test_suggestions_name_near_and_valid_names() -> None:
    assert suggest("mnly", ["paws", "mnli"]) == "did you mean mnli? valid: mnli, paws"
    assert suggest("zzz", []) == "none are known"
    assert suggest("zzz", map(str, range(20))).endswith("(20 in all)")


def test_a_key_is_suggested_from_beside_it_or_at_most_one_group_deeper() -> None:
    keys = ["seed", "optimizer", "optimizer.lr", "recipe", "recipe.model", "recipe.model.lr", "recipe.model.heads"]
    assert suggest_key("lr", keys) == "did you mean optimizer.lr? valid: optimizer, recipe, seed"
    assert suggest_key("optimizer.lrr", keys) == "did you mean optimizer.lr? valid: optimizer.lr"
    assert suggest_key("recipe.modle.heads", keys) == "did you mean recipe.model.heads? valid: recipe.model"
    assert suggest_key("heads", keys) == "valid: optimizer, recipe, seed"
    assert suggest_key("seed.x", keys) == "none are known"


def test_a_suggestion_begins_with_the_same_folder_and_counts_as_people_do() -> None:
    options = ["b", "a/step16", "a/step8", "c/step1"]
    assert suggest("a/x", options) == "valid: a/step8, a/step16, b, c/step1"
