"""What needs no model imports none: help, the configuration, completion, a plan, a finished grid."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.commands import HEAVY, ROOT, Result, environment, run
from support.studies import CELL, GRID, SMALL, Place

SPY = """
import atexit, json, sys
atexit.register(lambda: open({path!r}, "w").write(json.dumps(sorted(sys.modules))))
"""


@pytest.fixture
def spied(tmp_path: Path) -> Callable[..., tuple[Result, set[str]]]:
    """Run a script in a new interpreter; also return the modules that it had imported when it ended."""
    cwd = tmp_path / "empty"
    cwd.mkdir()
    spy, found = tmp_path / "spy", tmp_path / "modules.json"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(SPY.format(path=str(found)))

    def call(*words: str, **variables: str) -> tuple[Result, set[str]]:
        env = environment(tmp_path, PYTHONPATH=str(spy), **variables)
        result = run(*words, cwd=cwd, env=env, fresh=True)
        assert list(cwd.iterdir()) == []
        return result, set(json.loads(found.read_text()))

    return call


def assert_light(modules: set[str]) -> None:
    assert "hydra" in modules
    assert modules.isdisjoint({*HEAVY, "datasets", "bitsandbytes", "wandb", "scipy", "matplotlib"})


def test_the_spy_sees_heavy_modules(spied: Callable[..., tuple[Result, set[str]]]) -> None:
    result, modules = spied("-c", "import hydra, torch")
    assert result.status == 0
    with pytest.raises(AssertionError):
        assert_light(modules)


@pytest.mark.parametrize("script", ["train", "evaluate", "report"])
def test_help_is_light_and_lists_the_groups(script: str, spied: Callable[..., tuple[Result, set[str]]]) -> None:
    result, modules = spied(f"{script}.py", "--help")
    assert result.status == 0
    assert result.err == ""
    assert_light(modules)
    assert "pandas" not in modules
    for line in ("checkpoint/pico: step0", "task/pico: chat", "format: default, instruct, io", "study_dir:"):
        assert line in result.out
    assert f"python {script}.py" in result.out


def test_the_composed_configuration_is_shown_without_anything_heavy(
    spied: Callable[..., tuple[Result, set[str]]],
) -> None:
    result, modules = spied("train.py", "checkpoint=pico/step64", "task=pico/nli", "optimizer.lr=1e-3", "--cfg", "job")
    assert result.status == 0
    assert_light(modules)
    for line in ("  lr: 0.001", "  step: 64", "  name: pico/nli", "study_dir: studies/default"):
        assert line in result.out.splitlines()


@pytest.mark.parametrize(
    ("typed", "offered", "not_offered"),
    [
        ("checkpoint=s", ["checkpoint=step342k", "checkpoint=step1k"], ["checkpoint=main"]),
        ("checkpoint=", ["checkpoint=main", "checkpoint=pico", "checkpoint=hub"], []),
        ("checkpoint/pico=step6", ["checkpoint/pico=step64"], ["checkpoint/pico=step0"]),
        ("task=mnli", ["task=mnli", "task=mnli_mismatched"], ["task=paws"]),
        ("task=mnli optimizer.", ["optimizer.lr=", "optimizer.weight_decay="], []),
        ("opt", ["optimizer.", "optimizer="], []),
    ],
)
def test_shell_completion_offers_options_and_imports_nothing_heavy(
    typed: str, offered: list[str], not_offered: list[str], spied: Callable[..., tuple[Result, set[str]]]
) -> None:
    line = f"python train.py {typed}"
    result, modules = spied("train.py", "--shell-completion", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert result.status == 0
    assert set(offered) <= set(result.out.split())
    assert set(not_offered).isdisjoint(result.out.split())
    assert_light(modules)


def test_the_completion_that_the_help_names_can_be_installed(shell: Callable[..., Result]) -> None:
    result = shell("train.py", "--shell-completion", "install=bash")
    assert result.status == 0
    assert "complete -o nospace" in result.out
    shown = shell("train.py", "--help").out
    assert 'eval "$(python train.py --shell-completion install=bash)"' in shown


def test_a_finished_grid_is_recognised_without_anything_heavy(
    copied: Place, spied: Callable[..., tuple[Result, set[str]]]
) -> None:
    result, modules = spied("train.py", "-m", *copied.arguments(*GRID))
    assert "Nothing to do" in result.out, result.text
    assert_light(modules)


def test_a_plan_is_made_without_anything_heavy(place: Place, spied: Callable[..., tuple[Result, set[str]]]) -> None:
    result, modules = spied("train.py", "-m", *place.arguments(*GRID, "mode=plan"))
    assert "14 missing" in result.out, result.text
    assert_light(modules)


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate.py", *SMALL, "checkpoint.step=8", "task=pico/nli"),
        ("probe.py", *SMALL, "checkpoint.step=8", "probe=gaussian"),
        ("train.py", *CELL, "checkpoint.step=8", "mode=status"),
    ],
    ids=lambda words: words[0],
)
def test_so_are_those_of_the_other_scripts_and_a_status(
    words: tuple[str, ...], place: Place, spied: Callable[..., tuple[Result, set[str]]]
) -> None:
    result, modules = spied(words[0], *place.arguments("mode=plan", *words[1:]))
    assert result.status == 0, result.text
    assert "missing" in result.out
    assert_light(modules)


def test_a_refusal_is_made_without_anything_heavy(spied: Callable[..., tuple[Result, set[str]]]) -> None:
    result, modules = spied("train.py", "optimizer.lr=0", "task=mnly")
    assert result.status == 2
    assert_light(modules)


def test_the_list_of_studies_is_light(spied: Callable[..., tuple[Result, set[str]]]) -> None:
    result, modules = spied("-m", "pretune.study")
    assert "miniature" in result.out
    assert modules.isdisjoint({*HEAVY, "datasets", "wandb"})


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    help_ = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "train.py"), "--help"], cwd=tmp_path, env=environment(tmp_path),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert help_.stdout is not None
    assert help_.stderr is not None
    help_.stdout.close()
    err = help_.stderr.read().decode()
    help_.wait()
    assert "error" not in err.lower()


def test_a_list_of_checkpoints_is_light(spied: Callable[..., tuple[Result, set[str]]], tmp_path: Path) -> None:
    words = ("evaluate.py", "-m", "mode=checkpoints", "checkpoint=pico", "checkpoint.step=every:4")
    result, modules = spied(*words, f"study_dir={tmp_path / 'study'}")
    assert result.status == 0, result.text
    assert "131 k" in result.out
    assert_light(modules)
    assert not (tmp_path / "study").exists()
