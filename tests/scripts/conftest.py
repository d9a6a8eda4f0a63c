"""Studies on a ladder so tiny that a cell takes a second: what the tests of whole scripts look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.commands import Result, run

MODEL = "checkpoint.recipe.model"
STAGE = "checkpoint.recipe.stage"
LADDER = (
    "checkpoint=pico",
    f"{STAGE}.save_steps=[0,4,8]",
    f"{STAGE}.batch_size=4",
    f"{MODEL}.hidden_size=32",
    f"{MODEL}.intermediate_size=64",
    f"{MODEL}.layers=1",
    f"{MODEL}.heads=2",
)
SMALL = (*LADDER, "trainer=fp32", "logger=none", "eval.limit=8")
"""A checkpoint of the tiny ladder, for train.py and evaluate.py."""
NLI = (*SMALL, "task=pico/nli", "task.train_rows=32", "task.validation_rows=8")
CELL = (*NLI, "eval.relations=[in_domain]")
"""A training with one evaluation before and one after."""
GRID = (*CELL, "checkpoint.step=4,8", "optimizer.lr=1e-4,5e-4,1e-3")
"""Six of them; the base models are evaluated once each."""


@dataclass(frozen=True)
class Place:
    """A working folder, a study folder and a cache: where a test's commands run."""

    cwd: Path
    study: Path
    cache: Path
    results: list[Result] = field(default_factory=list)

    def arguments(self, *overrides: str) -> list[str]:
        """Overrides that keep everything in this place."""
        return [*overrides, f"study_dir={self.study}", f"cache_dir={self.cache}"]

    def train(self, *overrides: str, fresh: bool = False) -> Result:
        """Run ``train.py``."""
        return run("train.py", *self.arguments(*overrides), cwd=self.cwd, fresh=fresh)

    def evaluate(self, *overrides: str, fresh: bool = False) -> Result:
        """Run ``evaluate.py``."""
        return run("evaluate.py", *self.arguments(*overrides), cwd=self.cwd, fresh=fresh)

    def runs(self, pattern: str = "*") -> list[Path]:
        """Folders of finished runs."""
        return sorted(path.parent for path in (self.study / "runs").glob(f"{pattern}/run.json"))

    def failures(self) -> list[Path]:
        """Failure records."""
        return sorted((self.study / "runs").glob("*/failure.json"))


def make_place(folder: Path, cache: Path, *, copy_of: Path | None = None) -> Place:
    """An empty working folder and a study: none yet, or a copy of another."""
    cwd = folder / "work"
    cwd.mkdir(parents=True)
    if copy_of is not None:
        shutil.copytree(copy_of, folder / "study")
    return Place(cwd=cwd, study=folder / "study", cache=cache)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that all commands share, so that the ladder is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    """A place without a study."""
    return make_place(tmp_path, cache)


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """The grid of six trainings, run by real commands from another working folder. To be read only."""
    there = make_place(tmp_path_factory.mktemp("grid"), cache)
    there.results.append(there.train("-m", *GRID, fresh=True))
    assert there.results[0].status == 0, there.results[0].text
    return there


@pytest.fixture
def copied(tmp_path: Path, grid: Place) -> Place:
    """A copy of the finished grid, to be changed."""
    return make_place(tmp_path, grid.cache, copy_of=grid.study)


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Result]:
    """Run any script in an empty working folder, and see that it stays empty."""
    cwd = tmp_path / "empty"
    cwd.mkdir()

    def call(*words: str, **how: object) -> Result:
        result = run(*words, cwd=cwd, **how)  # type: ignore[arg-type]
        assert list(cwd.iterdir()) == [], "something was written to the working folder"
        return result

    return call


def lines_with(text: str, *parts: str) -> Sequence[str]:
    """Lines that hold all parts."""
    return [line for line in text.splitlines() if all(part in line for part in parts)]
