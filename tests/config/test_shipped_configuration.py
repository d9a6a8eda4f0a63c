"""Every shipped YAML composes, passes the validator, and is what its folder says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from pretune.config.diagnosis import single_values
from pretune.config.expansion import expand
from pretune.config.library import Library, list_options
from pretune.config.schema import SCRIPTS, freeze
from pretune.config.validation import find_problems
from pretune.errors import UsageError
from pretune.execution.jobs import complete_train_job, list_evaluations
from pretune.study import find_root, list_studies, read_study
from support.configs import option_names

CONF = find_root() / "conf"
SOUND = {"checkpoint": "pico/step64", "task": "pico/nli"}
NEEDS = {
    "hub": ["checkpoint.repo=owner/name"],
    "pico": ["checkpoint.step=64"],
    "olmo1b": ["checkpoint.step=1000"],
    "text": ["checkpoint.step=26"],
}
NEEDS_FOLDER = {"path": "checkpoint.path", "ladder": "checkpoint.path", "text": "checkpoint.recipe.corpus.path"}


@cache
def master_of(script: str, loader: Any) -> Any:
    return loader.load_configuration(config_name=script, overrides=[], run_mode=RunMode.MULTIRUN)


def points(script: str, overrides: list[str], loader: Any) -> list[Any]:
    expanded = expand([*overrides], loader=loader, master=master_of(script, loader))
    return [freeze(SCRIPTS[script], point.config) for point in expanded]


@pytest.mark.parametrize("name", option_names("checkpoint"))
def test_every_checkpoint_composes_and_is_sound(name: str, loader: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "ladder.json").write_text("{}")
    more = NEEDS.get(name, [])
    if name in NEEDS_FOLDER:
        more = [*more, f"{NEEDS_FOLDER[name]}={tmp_path}"]
    (config,) = points("train", [f"checkpoint={name}", "task=pico/nli", *more], loader)
    assert find_problems(config) == []
    assert config.checkpoint.pretraining_text in list_options(loader, "task")
    if "/step" in f"/{name}" and name != "main":
        digits = name.rsplit("step")[1].replace("k", "000")
        assert config.checkpoint.step == int(digits)


@pytest.mark.parametrize("name", ["mnli", "sciq_mc", "alpaca", "text", "pico/nli"])
def test_the_task_that_a_script_composes_is_that_of_the_library(name: str, loader: Any) -> None:
    task = library_of(loader).task(name)
    words = ["checkpoint=pico/step64", f"task={name}", *(["task.path=/"] if task.source == "path" else [])]
    for script in ("train", "evaluate"):
        (config,) = points(script, words, loader)
        assert config.task == replace(task, path=config.task.path)


@pytest.mark.parametrize("name", option_names("task"))
def test_every_task_is_sound_and_names_tasks_and_formats_that_exist(name: str, loader: Any) -> None:
    library = library_of(loader)
    task = library.task(name)
    assert task.name == name
    task = replace(task, path="/") if task.source == "path" else task
    plain, chat = (sound_config("train", stage, loader) for stage in ("stage=sft", "stage=instruct task=alpaca"))
    config = replace(chat if task.answer == "chat" else plain, task=task)
    trainable = task.train_split is not None
    assert ([] if trainable else ["task"]) == sorted({problem.key for problem in find_problems(config)})
    if trainable:
        names = [each for each in library.names("format") if not each.startswith("paper/")]
        formats = [library.format(each) for each in names]
        assert all(task.family in format_.templates for format_ in formats)
        job = complete_train_job(config, library, ())
        assert name in {evaluation.task.name for evaluation in list_evaluations(job)}
    assert find_problems(replace(sound_config("evaluate", "", loader), task=task)) == []


@cache
def library_of(loader: Any) -> Library:
    return Library(loader)


@cache
def sound_config(script: str, words: str, loader: Any) -> Any:
    sound = {**SOUND, **dict(word.split("=") for word in words.split())}
    (config,) = points(script, [f"{key}={value}" for key, value in sound.items()], loader)
    return config


GROUPS = {"format", "stage", "optimizer", "regularizer", "trainer", "logger", "experiment", "search"}


CONVERSATIONS = {"stage=instruct", "experiment=amuro_char_tulu", "experiment=springer_instruct"}
"""Choices that train on conversations."""


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in sorted(GROUPS) for name in option_names(group)])
def test_every_other_choice_composes_and_is_sound(group: str, name: str, loader: Any) -> None:
    words = [f"{key}={value}" for key, value in SOUND.items()]
    words += ["task=alpaca"] if f"{group}={name}" in CONVERSATIONS else []
    (config,) = points("train", [*words, f"{group}={name}"], loader)
    assert find_problems(config) == []
    if group != "experiment":
        chosen = getattr(config, group)
        assert getattr(chosen, "name", name) == name


@pytest.mark.parametrize("name", option_names("model"))
def test_every_model_composes_into_a_recipe(name: str, loader: Any) -> None:
    words = ["checkpoint=pico/step64", "task=pico/nli", f"model@checkpoint.recipe.model={name}"]
    (config,) = points("train", words, loader)
    assert config.checkpoint.recipe.model.name == name
    assert find_problems(config) == []


@pytest.mark.parametrize("name", option_names("probe"))
def test_every_probe_composes_and_is_sound(name: str, loader: Any) -> None:
    weights = ["run=train-x"] if name == "interpolate" else ["checkpoint=pico/step64"]
    words = ["tasks=[pico/nli]"] if name == "format" else []
    (config,) = points("probe", [*weights, *words, f"probe={name}"], loader)
    assert find_problems(config) == []
    assert config.probe.name == name


def test_no_group_is_left_out() -> None:
    known = {*GROUPS, "checkpoint", "task", "model", "study", "probe", "hydra"}
    assert {path.name for path in CONF.iterdir() if path.is_dir()} <= known


STEPS = [
    (name, number) for name in list_studies(find_root()) for number, _ in enumerate(read_study(find_root(), name).steps)
]


@pytest.mark.parametrize(("name", "number"), STEPS)
def test_every_step_of_every_study_composes_and_is_sound(name: str, number: int, loader: Any) -> None:
    step = read_study(find_root(), name).steps[number]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(step.overrides))
    axes = [single_values(override) for override in parsed]
    assert step.multirun == any(len(values) > 1 for values in axes)
    for number in range(max(map(len, axes), default=1)):  # every value once, not every combination
        (config,) = points(step.script, [values[number % len(values)] for values in axes], loader)
        assert find_problems(config) == []


def test_options_in_folders_are_listed_with_their_folder(loader: Any) -> None:
    for group in ("checkpoint", "task", "format"):
        assert list_options(loader, group) == option_names(group)
    assert "pico/nli" in Library(loader).names("task")
    assert "pico/step64" in list_options(loader, "checkpoint")
    assert list_options(loader, "nothing") == []


@pytest.mark.parametrize(("name", "near"), [("pico/nly", "pico/nli"), ("mnly", "mnli"), ("", "c4")])
def test_an_unknown_task_is_refused_with_near_names(name: str, near: str, loader: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Library(loader).task(name)
    assert f"task={name}: no such task" in str(caught.value)
    assert near in str(caught.value)


def test_an_option_is_read_once(loader: Any) -> None:
    library = Library(loader)
    assert library.task("mnli") is library.task("mnli")
    assert library.format("io") is library.format("io")
    with pytest.raises(UsageError, match="did you mean io"):
        library.format("oi")


def test_yaml_holds_values_only() -> None:
    """But for the presets of launchers, which name what Hydra starts."""
    for path in CONF.rglob("*.yaml"):
        data = yaml.safe_load(path.read_text())
        if path.parent == CONF / "hydra" / "launcher":
            assert str(data["_target_"]).startswith(("hydra_plugins.pretune_", "hydra._internal.core_plugins."))
        else:
            assert "_target_" not in path.read_text(), path
