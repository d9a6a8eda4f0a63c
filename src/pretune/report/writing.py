"""Write the report: the page, its tables as CSV, its figures as SVG with the data of each as CSV."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pretune.analysis.metrics import Primary
from pretune.errors import PretuneError
from pretune.report.charts import Figure, name_apart
from pretune.report.figures import draw_overview
from pretune.report.page import render_page
from pretune.report.palette import assign_colours
from pretune.report.results import Results, analyse
from pretune.report.sections import Section, build_sections
from pretune.report.svg import stand_alone


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where the report is: the page, its tables by name, its figures by name (SVG; the data is beside each).

    ``paper``: folder of the figures for a paper, if there are any.
    """

    page: Path
    tables: Mapping[str, Path]
    figures: Mapping[str, Path]
    paper: Path | None = None


def write_report(
    table: pd.DataFrame,
    out_dir: str | Path,
    *,
    title: str,
    primary: Primary,
    study: Mapping[str, Any] | None = None,
    paper_width: float | None = None,
) -> ReportFiles:
    """Analyse a results table and write ``index.html``, ``tables/*.csv`` and ``figures/*.svg`` into ``out_dir``.

    ``primary`` says which (metric, scorer) is the headline of each evaluated task; ``study`` is shown as it is,
    key by key, among the facts about the study. The same table gives the same bytes. Every file appears under its name
    only when it is complete, the page last; tables and figures that an earlier report left and this one does not have
    are removed. Configurations of cells are linked when ``runs`` lies beside ``out_dir``, as in a study's folder.

    With ``paper_width`` (inches) figures for a paper are written into ``paper/``.

    Raises :class:`DataError` when the table holds no evaluation to report on, :class:`PretuneError` when the folder
    cannot be written.
    """
    results = analyse(table, primary)
    overview, sections = draw_report(results)
    out_dir = Path(out_dir)
    runs_path = "../runs/" if (out_dir.parent / "runs").is_dir() else None
    page = render_page(results, overview, sections, title=title, study=study or {}, runs_path=runs_path)
    figures = [*overview, *(figure for section in sections for figure in section.figures)]
    try:
        paper = out_dir / "paper" if paper_width is not None else None
        if paper is not None and paper_width is not None:
            from pretune.report.paper import write_paper

            write_paper(overview, sections, paper, width=paper_width)
        return replace(_write_files(out_dir, results, figures, page), paper=paper)
    except OSError as error:
        raise PretuneError(f"the report cannot be written to '{out_dir}': {error.strerror or error}") from error


def draw_report(results: Results) -> tuple[tuple[Figure, ...], list[Section]]:
    """Draw the figure of the first screen and build all sections; names of figures are unique."""
    from pretune.report.sections import Charts

    taken: set[str] = set()
    colours = assign_colours(results.headline, results.curves)
    overview = name_apart(draw_overview(results.find("dichotomy"), colours), taken)
    sections = []
    for section in build_sections(results):
        blocks = tuple(
            replace(block, figures=name_apart(block.figures, taken)) if isinstance(block, Charts) else block
            for block in section.blocks
        )
        sections.append(replace(section, blocks=blocks))
    return overview, sections


def _write_files(out_dir: Path, results: Results, figures: Sequence[Figure], page: str) -> ReportFiles:
    folders = {name: out_dir / name for name in ("tables", "figures")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Path] = {}
    drawings: dict[str, Path] = {}
    for name, frame in results.tables.items():
        tables[name] = folders["tables"] / f"{name}.csv"
        _write_whole(tables[name], frame.to_csv(index=False))
    kept = set(tables.values())
    for figure in figures:
        drawings[figure.name] = folders["figures"] / f"{figure.name}.svg"
        data = folders["figures"] / f"{figure.name}.csv"
        _write_whole(drawings[figure.name], stand_alone(figure.drawing))
        _write_whole(data, figure.data.to_csv(index=False))
        kept |= {drawings[figure.name], data}
    for path in [
        *folders["tables"].glob("*.csv"),
        *folders["figures"].glob("*.svg"),
        *folders["figures"].glob("*.csv"),
    ]:
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
