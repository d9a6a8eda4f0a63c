"""Write the report: the page, its tables as CSV and its figures as SVG."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pretune.analysis.choosing import validate_rates
from pretune.analysis.cleaning import clean
from pretune.analysis.coverage import count_cells, list_missing
from pretune.analysis.forgetting import build_forgetting
from pretune.analysis.formats import build_formats
from pretune.analysis.headline import build_headline
from pretune.analysis.ladders import order_checkpoints
from pretune.analysis.metrics import Primary, choose_measures
from pretune.analysis.reading import read_tasks
from pretune.analysis.transfer import derive_transfer
from pretune.errors import DataError, PretuneError
from pretune.report.figures import Figure
from pretune.report.page import Results, draw_figures, render_page
from pretune.report.svg import stand_alone

TABLES = (
    "headline", "reading", "transfer", "formats", "forgetting", "learning_rates", "missing_cells", "checkpoints",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where the report is: the page, its tables by name, its figures by name."""

    page: Path
    tables: Mapping[str, Path]
    figures: Mapping[str, Path]


def write_report(
    table: pd.DataFrame,
    out_dir: str | Path,
    *,
    title: str,
    primary: Primary,
    study: Mapping[str, Any] | None = None,
) -> ReportFiles:
    """Analyse a results table and write ``index.html``, ``tables/*.csv`` and ``figures/*.svg`` into ``out_dir``.

    ``primary`` says which (metric, scorer) is the headline of each evaluated task; ``study`` is shown as it is,
    key by key, among the facts about the study. The same table gives the same bytes. Every file appears under its name
    only when it is complete, the page last; tables and figures that an earlier report left and this one does not have
    are removed.

    Raises :class:`DataError` when the table holds no evaluation to report on, :class:`PretuneError` when the folder
    cannot be written.
    """
    results = analyse(table, primary)
    figures = draw_figures(results)
    page = render_page(results, figures, title=title, study=study or {})
    out_dir = Path(out_dir)
    try:
        return _write_files(out_dir, results, [f for group in figures.values() for f in group], page)
    except OSError as error:
        raise PretuneError(f"the report cannot be written to '{out_dir}': {error.strerror or error}") from error


def analyse(table: pd.DataFrame, primary: Primary) -> Results:
    """Compute every table of the report. Raises :class:`DataError` when there is nothing to report on."""
    if len(table) == 0:
        raise DataError("the results table is empty: no cell has finished yet, so there is nothing to report")
    cleaned = clean(table)
    rows = cleaned.table
    if not (rows["kind"] == "evaluate").fillna(False).any():
        kinds = sorted({str(kind) for kind in table["kind"].dropna()})
        raise DataError(
            f"the results table holds no evaluation with a finite value (kinds of rows: {', '.join(kinds) or 'none'}): "
            "there is nothing to report"
        )
    measures = choose_measures(rows, primary)
    headline = build_headline(rows, primary)
    return Results(
        headline=headline,
        reading=read_tasks(headline),
        transfer=derive_transfer(headline),
        formats=build_formats(rows, primary),
        forgetting=build_forgetting(rows, primary),
        learning_rates=validate_rates(rows, measures),
        missing_cells=list_missing(rows),
        checkpoints=order_checkpoints(rows[rows["kind"] == "evaluate"]),
        measures=measures,
        cells=count_cells(rows),
        notes=(*cleaned.notes, *_note_fallbacks(measures, primary)),
    )


def _note_fallbacks(measures: Mapping[str, tuple[str, str]], primary: Primary) -> list[str]:
    notes = []
    for task, measure in sorted(measures.items()):
        if task in primary and tuple(primary[task]) != tuple(measure):
            wanted = " by ".join(primary[task])
            notes.append(f"{task}: the table has no {wanted}; {' by '.join(measure)} is shown instead.")
    return notes


def _write_files(out_dir: Path, results: Results, figures: list[Figure], page: str) -> ReportFiles:
    folders = {name: out_dir / name for name in ("tables", "figures")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Path] = {}
    drawings: dict[str, Path] = {}
    for name in TABLES:
        tables[name] = folders["tables"] / f"{name}.csv"
        frame: pd.DataFrame = getattr(results, name)
        _write_whole(tables[name], frame.to_csv(index=False, lineterminator="\n"))
    for figure in figures:
        drawings[figure.name] = folders["figures"] / f"{figure.name}.svg"
        _write_whole(drawings[figure.name], stand_alone(figure.drawing))
    kept = {*tables.values(), *drawings.values()}
    for path in [*folders["tables"].glob("*.csv"), *folders["figures"].glob("*.svg")]:
        if path not in kept:
            path.unlink()
    _write_whole(out_dir / "index.html", page)
    return ReportFiles(page=out_dir / "index.html", tables=tables, figures=drawings)


def _write_whole(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and rename: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Read the process's umask (there is no way but to set it)."""
    current = os.umask(0o022)
    os.umask(current)
    return current
