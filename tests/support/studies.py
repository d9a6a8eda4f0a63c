"""Studies on a ladder so tiny that a cell takes a second: what the tests of whole scripts work with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pretune.results import load
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

    def probe(self, *overrides: str, fresh: bool = False) -> Result:
        """Run ``probe.py``."""
        return run("probe.py", *self.arguments(*overrides), cwd=self.cwd, fresh=fresh)

    def report(self, *overrides: str) -> Result:
        """Run ``report.py``."""
        return run("report.py", *overrides, f"study_dir={self.study}", cwd=self.cwd)

    def runs(self, pattern: str = "*") -> list[Path]:
        """Folders of finished runs."""
        found = (path.parent for path in (self.study / "runs").glob(f"{pattern}/run.json"))
        return sorted(folder for folder in found if not folder.name.startswith("."))  # those are being written

    def failures(self) -> list[Path]:
        """Failure records."""
        return sorted((self.study / "runs").glob("[!.]*/failure.json"))


def make_place(folder: Path, cache: Path, *, copy_of: Path | None = None) -> Place:
    """An empty working folder and a study: none yet, or a copy of another."""
    cwd = folder / "work"
    cwd.mkdir(parents=True)
    if copy_of is not None:
        shutil.copytree(copy_of, folder / "study")
    return Place(cwd=cwd, study=folder / "study", cache=cache)


def lines_with(text: str, *parts: str) -> Sequence[str]:
    """Lines that hold all parts."""
    return [line for line in text.splitlines() if all(part in line for part in parts)]


def values(study: Path) -> pd.DataFrame:
    """All rows of the table without the run's name, in an order that does not depend on it."""
    table = load(study).drop(columns="run_id")
    keys = [name for name in table.columns if name not in ("value", "ci_low", "ci_high", "n")]
    return table.sort_values(keys, ignore_index=True)
