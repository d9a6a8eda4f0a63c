"""What a figure is: a chart in one of four forms, the data behind it, and its name as a file."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pandas as pd
from markupsafe import Markup

from pretune.report.dots import Dots, draw_dots
from pretune.report.matrix import Matrix, draw_matrix
from pretune.report.overview import Overview, draw_overview
from pretune.report.panels import Panel, draw_panel
from pretune.report.wording import is_null

Chart = Panel | Matrix | Overview | Dots


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart, the table of what it shows (in the units of the results table) and the name of its files.

    ``legend``: the reader needs to be told the curves apart.
    """

    name: str
    chart: Chart
    data: pd.DataFrame = field(compare=False)
    legend: bool = False

    @property
    def title(self) -> str:
        """The chart's title."""
        return self.chart.title

    @functools.cached_property
    def drawing(self) -> Markup:
        """The chart as SVG."""
        return draw_chart(self.chart)

    @property
    def runs(self) -> dict[str, tuple[str, ...]]:
        """Run ids behind each point that has any, by "series.point" as in the drawing."""
        return dict(_list_runs(self.chart))


def draw_chart(chart: Chart) -> Markup:
    """Draw a chart as SVG."""
    if isinstance(chart, Panel):
        return draw_panel(chart)
    if isinstance(chart, Dots):
        return draw_dots(chart)
    return draw_matrix(chart) if isinstance(chart, Matrix) else draw_overview(chart)


def _list_runs(chart: Chart) -> Iterable[tuple[str, tuple[str, ...]]]:
    if isinstance(chart, Panel | Dots):
        rows: list[list[tuple[str, ...]]] = [[point.runs for point in curve.points] for curve in chart.curves]
    elif isinstance(chart, Matrix):
        rows = [[cell.runs if cell else () for cell in cells] for cells in chart.cells]
    else:
        rows = [[row.base_runs, row.tuned_runs] for row in chart.rows]
    return [(f"{i}.{j}", runs) for i, row in enumerate(rows) for j, runs in enumerate(row) if runs]


def name_file(*parts: object) -> str:
    """Return a file name without an ending: letters, digits, dots, hyphens; other characters become hyphens."""
    joined = "-".join(str(part) for part in parts if not is_null(part) and str(part))
    return re.sub(r"[^A-Za-z0-9.]+", "-", joined).strip("-.")[:100] or "figure"


def name_apart(figures: Iterable[Figure], taken: set[str]) -> tuple[Figure, ...]:
    """Give figures whose names collide once they are file names (also without case) a number; fills ``taken``."""
    renamed = []
    for figure in figures:
        name, number = figure.name, 2
        while name.lower() in taken:
            name, number = f"{figure.name}-{number}", number + 1
        taken.add(name.lower())
        renamed.append(replace(figure, name=name))
    return tuple(renamed)
