"""What a section of the page consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pretune.report.charts import Figure
from pretune.report.views import View


@dataclass(frozen=True, kw_only=True)
class Charts:
    """Figures side by side under a heading; ``note`` says how to read them. ``wide``: one below the other."""

    figures: tuple[Figure, ...]
    heading: str = ""
    note: str = ""
    wide: bool = False


MOST_FIGURES = 18
"""Figures of one block: a page of many models stays small enough to mail."""


def cut(
    figures: Sequence[Figure], *, heading: str = "", note: str = "", wide: bool = False, most: int = MOST_FIGURES
) -> list[Charts]:
    """Make a block of the first ``most`` figures, and say how many are left out; nothing of none."""
    if not figures:
        return []
    if len(figures) > most:
        note = f"{note} The first {most} of {len(figures)} figures; the tables have all curves.".lstrip()
    return [Charts(figures=tuple(figures[:most]), heading=heading, note=note, wide=wide)]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Tables of which one is shown at a time, the last one first, chosen by its caption under ``label``.

    ``folded``: behind a line to unfold. ``file``: the CSV file with all rows.
    """

    views: tuple[View, ...]
    label: str = ""
    heading: str = ""
    note: str = ""
    folded: bool = False
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question: what answers it, how that was computed, and what to keep in mind.

    ``short`` is its name in the navigation, ``lead`` the sentence below the question.
    """

    id: str
    short: str
    question: str
    blocks: tuple[Charts | Tables, ...]
    lead: str = ""
    method: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures of the section."""
        return tuple(figure for block in self.blocks if isinstance(block, Charts) for figure in block.figures)
