"""Everything the report shows, computed from a results table alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pandas as pd

from pretune.analysis.catalogue import Outcome, run_analyses
from pretune.analysis.cleaning import clean
from pretune.analysis.coverage import count_cells, list_missing
from pretune.analysis.inputs import Inputs
from pretune.analysis.ladders import order_checkpoints
from pretune.analysis.metrics import Measure, Primary
from pretune.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Results:
    """The tables of all analyses, and facts about the results table; each table is also a CSV file of its own.

    ``outcomes`` are those of the catalogue, by name. ``runs`` says what each run id of the table was a run of.
    """

    headline: pd.DataFrame
    transfer: pd.DataFrame
    formats: pd.DataFrame
    forgetting: pd.DataFrame
    learning_rates: pd.DataFrame
    missing_cells: pd.DataFrame
    checkpoints: pd.DataFrame
    curves: pd.DataFrame
    damages: pd.DataFrame
    best_rates: pd.DataFrame
    runs: pd.DataFrame
    outcomes: Mapping[str, Outcome]
    measures: Mapping[str, Measure]
    cells: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by the name of their file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tables = {name: value for name, value in values.items() if isinstance(value, pd.DataFrame)}
        return tables | {name: outcome.table for name, outcome in self.outcomes.items()}

    def find(self, name: str) -> pd.DataFrame:
        """Return the table of an analysis of the catalogue."""
        return self.outcomes[name].table


RUN_FACTS = [
    "kind", "family", "checkpoint", "step", "tokens", "state", "stage", "train_task", "train_format", "train_rows",
    "epochs", "optimizer", "lr", "regularizer", "regularizer_strength", "seed", "eval_task", "eval_split", "relation",
    "eval_format", "shots", "probe", "probe_variant", "magnitude", "probe_seed",
]  # fmt: skip
"""What the page says of a run: the columns that identify what was trained, evaluated or probed."""


MEASUREMENTS = ("evaluate", "probe")
"""Kinds of rows that a report can be about; training cells alone say nothing about checkpoints."""


def analyse(table: pd.DataFrame, primary: Primary) -> Results:
    """Compute every table of the report. Raises :class:`DataError` when there is nothing to report on."""
    if len(table) == 0:
        raise DataError("the results table is empty: no cell has finished yet, so there is nothing to report")
    cleaned = clean(table)
    rows = cleaned.table
    measured = rows[rows["kind"].isin(MEASUREMENTS).fillna(False).astype(bool)]
    if measured.empty:
        kinds = sorted({str(kind) for kind in table["kind"].dropna()})
        raise DataError(
            "the results table holds no evaluation and no probe with a finite value (kinds of rows: "
            f"{', '.join(kinds) or 'none'}): there is nothing to report"
        )
    inputs = Inputs(table=rows, primary=primary)
    return Results(
        headline=inputs.headline,
        transfer=inputs.transfer,
        formats=inputs.formats,
        forgetting=inputs.forgetting,
        learning_rates=inputs.rates,
        missing_cells=list_missing(rows),
        checkpoints=order_checkpoints(measured),
        curves=inputs.curves,
        damages=inputs.damages,
        best_rates=inputs.best_rates,
        runs=_describe_runs(table),
        outcomes=run_analyses(inputs),
        measures=inputs.measures,
        cells=count_cells(rows),
        notes=(*cleaned.notes, *_note_fallbacks(inputs.measures, primary)),
    )


def _describe_runs(table: pd.DataFrame) -> pd.DataFrame:
    known = table.dropna(subset=["run_id"]).drop_duplicates("run_id")
    return known.reindex(columns=["run_id", *RUN_FACTS]).reset_index(drop=True)


def _note_fallbacks(measures: Mapping[str, tuple[str, str]], primary: Primary) -> list[str]:
    notes = []
    for task, measure in sorted(measures.items()):
        if task in primary and tuple(primary[task]) != tuple(measure):
            wanted = " by ".join(primary[task])
            notes.append(f"{task}: the table has no {wanted}; {' by '.join(measure)} is shown instead.")
    return notes
