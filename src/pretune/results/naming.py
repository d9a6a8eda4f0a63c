"""Names of runs for people: their order, and a few of them where a name was not clear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")
SHOWN = 5
"""Runs that a message names."""


def natural_order(name: str) -> tuple[list[str | float], str]:
    """Sorting key by which numbers in names count as numbers: ``step256`` before ``step1024``."""
    parts = NUMBER.split(name)
    return [float(part) if index % 2 else part for index, part in enumerate(parts)], name


def say_runs(names: Sequence[str], folder: Path, *, near: str = "") -> str:
    """The first few of ``names``, one a line: those like ``near`` and trainings first; and the folder they are in."""
    if not names:
        return f"there are none in {folder}"
    alike = [name for name in names if near and near in name] or get_close_matches(near, names, n=3, cutoff=0.5)
    ordered = sorted(names, key=lambda name: (name not in alike, not name.startswith("train-"), natural_order(name)))
    more = [f"and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else []
    lead = f"did you mean one of these in {folder}?" if alike else f"in {folder} there are:"
    return "\n  ".join([lead, *ordered[:SHOWN], *more])
