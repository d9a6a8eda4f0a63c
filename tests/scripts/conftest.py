"""Places to run commands in, and the finished grid that many tests look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.commands import Result, run
from support.studies import GRID, Place, make_place


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
