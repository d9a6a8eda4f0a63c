"""What every section is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pretune.report.axes import LadderAxis
from pretune.report.columns import Column, guess_columns, view_columns
from pretune.report.floors import Floors
from pretune.report.results import Results
from pretune.report.sections.blocks import Tables

SETTINGS: tuple[Column, ...] = (
    ("stage", "stage", "text"), ("train_format", "format", "text"), ("train_rows", "rows", "count"),
    ("epochs", "epochs", "number"), ("optimizer", "optimizer", "text"), ("regularizer", "regulariser", "text"),
    ("regularizer_strength", "strength", "number"),
)  # fmt: skip
"""What tells trainings of a task apart; a column that is the same in all rows is left out."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The analyses, the axis of each ladder of checkpoints, the colour of each task, the noise floor of each curve.

    ``overlays`` names the published results that are of the same model as a family of the study.
    """

    results: Results
    ladders: Mapping[str, LadderAxis]
    colours: Mapping[str, int]
    floors: Floors
    overlays: Mapping[str, tuple[str, ...]]

    def show(self, name: str, columns: list[Column] | None = None, *, folded: bool = True) -> list[Tables]:
        """Show an analysis of the catalogue as a table, by default with all its columns; nothing when it is empty."""
        outcome = self.results.outcomes[name]
        if outcome.table.empty:
            return []
        table = outcome.table
        if "checkpoints" in table and pd.api.types.is_numeric_dtype(table["checkpoints"]):
            table = table.sort_values("checkpoints", ascending=False, kind="stable")  # what is known best comes first
        view = view_columns(table, columns or guess_columns(table), outcome.analysis.title, outcome.analysis.columns)
        return [Tables(views=(view,), heading=outcome.analysis.title, folded=folded, file=name)]

    def ask(self, name: str) -> str:
        """Return the question of an analysis of the catalogue."""
        return self.results.outcomes[name].analysis.question

    def tell(self, *names: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return methods (with their sources) and caveats of analyses of the catalogue."""
        told = [self.results.outcomes[name].analysis for name in names]
        methods = tuple(f"{one.title}: {one.method} Source: {one.source}." for one in told)
        return methods, tuple(caveat for one in told for caveat in one.caveats)
