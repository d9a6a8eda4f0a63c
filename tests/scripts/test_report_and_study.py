"""report.py, and ``python -m pretune.study``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pretune.results import load
from pretune.study import Step, _has_key, find_root, list_studies, read_study
from support.commands import Result, run
from support.studies import CELL, Place

STUDY = """
description: two steps on nothing much
study_dir: studies/tiny
steps:
  - script: train
    multirun: true
    overrides: [{overrides}]
  - script: report
"""


def test_the_report_is_written_and_its_places_are_named(copied: Place) -> None:
    result = run("report.py", f"study_dir={copied.study}", cwd=copied.cwd)
    assert result.status == 0, result.text
    page, table = copied.study / "report" / "index.html", copied.study / "report" / "results.csv"
    assert f"Report: {page}" in result.out
    assert f"Table:  {table}" in result.out
    text = page.read_text()
    assert "<svg" in text or "<img" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert 'src="http' not in text
    frame = load(copied.study)
    assert len(pd.read_csv(table)) == len(frame)
    assert f"({len(frame):,} rows)" in result.out
    assert list(copied.cwd.iterdir()) == []


def test_a_report_of_nothing_is_an_error_that_says_what_to_run(tmp_path: Path, shell: Callable[..., Result]) -> None:
    result = shell("report.py", f"study_dir={tmp_path}/nothing")
    assert result.status == 2
    assert f"study_dir={tmp_path}/nothing" in result.err
    assert "train.py" in result.err
    assert not (tmp_path / "nothing").exists()


def test_without_a_name_the_studies_are_listed(shell: Callable[..., Result]) -> None:
    for words in ([], ["--help"]):
        result = shell("-m", "pretune.study", *words)
        assert result.status == 0
        for name in list_studies(find_root()):
            assert name in result.out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["miniatur"], ["study 'miniatur'", "did you mean miniature"]),
        (["miniature", "seed"], ["seed", "key=value"]),
        (["miniature", "sede=1"], ["sede=1"]),
    ],
)
def test_bad_input_is_one_error_before_anything_starts(
    words: list[str], parts: list[str], shell: Callable[..., Result]
) -> None:
    result = shell("-m", "pretune.study", *words)
    assert result.status == 2, result.text
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) == 1
    for part in parts:
        assert part in result.err


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a study of its own: the scripts and the configuration are the real ones."""
    root = tmp_path / "checkout"
    (root / "conf" / "study").mkdir(parents=True)
    real = find_root()
    for name in ("train.py", "evaluate.py", "report.py"):
        (root / name).write_text((real / name).read_text())
    for path in (real / "conf").iterdir():
        if path.name != "study":
            (root / "conf" / path.name).symlink_to(path)
    words = [*CELL, "checkpoint.step=8", "optimizer.lr=1e-3,1e-4"]
    text = STUDY.format(overrides=", ".join(f'"{word}"' for word in words))
    (root / "conf" / "study" / "tiny.yaml").write_text(text)
    return root


def test_a_study_runs_its_steps_in_order_and_again_does_nothing(checkout: Path, cache: Path) -> None:
    first = run("-m", "pretune.study", "tiny", f"cache_dir={cache}", cwd=checkout)
    assert first.status == 0, first.text
    assert first.out.index("[1/2] python train.py -m") < first.out.index("[2/2] python report.py")
    assert "2 train and 3 evaluate cells done" in first.out
    study = checkout / "studies" / "tiny"
    assert f"Report: {study / 'report' / 'index.html'}" in first.out
    assert len(list(study.glob("runs/train-*"))) == 2
    second = run("-m", "pretune.study", "tiny", f"cache_dir={cache}", cwd=checkout)
    assert "Nothing to do: all 2 train" in second.out
    other = run(
        "-m", "pretune.study", "tiny", f"cache_dir={cache}", "study_dir=elsewhere", "mode=plan", "seed=3", cwd=checkout
    )
    assert "-s3" in other.out
    assert other.status == 2  # nothing was run, so there is nothing to report
    assert not (checkout / "elsewhere").exists()


def test_a_study_stops_at_the_step_that_fails(checkout: Path, cache: Path) -> None:
    result = run("-m", "pretune.study", "tiny", f"cache_dir={cache}", "optimizer.lr=0", cwd=checkout)
    assert result.status == 2
    assert "step 1 of study 'tiny' ended with status 2" in result.err
    assert "[2/2]" not in result.out
    assert not (checkout / "studies").exists()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("steps: []", "no steps"),
        ("steps:\n  - script: trian", "did you mean train"),
    ],
)
def test_a_study_that_is_wrong_is_named_by_file(checkout: Path, text: str, part: str) -> None:
    path = checkout / "conf" / "study" / "wrong.yaml"
    path.write_text(text)
    result = run("-m", "pretune.study", "wrong", cwd=checkout)
    assert result.status == 2
    assert str(path) in result.err
    assert part in result.err


def test_further_arguments_go_to_the_steps_that_have_the_key_and_come_last() -> None:
    step = Step(script="train", overrides=("seed=0",), multirun=True)
    assert step.arguments("here", ["seed=1", "shots=2"]) == ["-m", "seed=0", "study_dir=here", "seed=1"]
    report = Step(script="report", overrides=(), multirun=False)
    assert report.arguments("here", ["seed=1", "cache_dir=x"]) == ["study_dir=here", "cache_dir=x"]
    assert _has_key("train", "optimizer.lr=1")
    assert not _has_key("evaluate", "optimizer.lr=1")


@pytest.mark.parametrize("name", list_studies(find_root()))
def test_every_shipped_study_can_be_read(name: str) -> None:
    plan = read_study(find_root(), name)
    assert plan.description
    assert plan.study_dir.startswith("studies/")
    assert plan.steps[-1].script == "report"
