"""Figures sized and typeset for a paper: PDF and SVG by matplotlib, from the same charts as the page.

Why matplotlib: PDF with embedded, editable fonts at an exact width in inches is what it is made for; the page's own
SVG has its colours in a style sheet and its size in the window. It is only needed here (extra ``paper``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import UsageError
from pretune.report.charts import Figure
from pretune.report.panels import Panel
from pretune.report.paper_charts import draw_chart, is_wide
from pretune.report.sections import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_PANELS = 12
"""Panels of one figure; more are further figures of the same name with a number."""

PANEL_WIDTH, PANEL_RATIO = 1.75, 0.82
"""Least width of a small panel in inches, and its height over its width."""

STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif", "font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7, "xtick.labelsize": 6,
    "ytick.labelsize": 6, "legend.fontsize": 6.5, "axes.linewidth": 0.6, "lines.linewidth": 1.1,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "xtick.major.width": 0.5, "ytick.major.width": 0.5, "xtick.major.size": 2, "ytick.major.size": 2,
    "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "pretune", "figure.dpi": 100,
}  # fmt: skip


def write_paper(
    overview: Sequence[Figure], sections: Sequence[Section], folder: Path, *, width: float
) -> dict[str, list[Path]]:
    """Write one figure per question (its small panels together) as PDF and SVG, ``width`` inches wide, into ``folder``.

    Returns the files by name. Same charts, same bytes. Raises :class:`UsageError` when matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UsageError(
            "report.format=paper needs matplotlib: pip install 'pretune[paper]' (or pip install matplotlib)"
        ) from None
    groups: list[tuple[str, list[Figure]]] = [("overview", list(overview))] if overview else []
    for section in sections:
        small = [f for f in section.figures if isinstance(f.chart, Panel) and not is_wide(f.chart)]
        groups += [(f.name, [f]) for f in section.figures if f not in small]
        planes = [f for f in small if isinstance(f.chart, Panel) and f.chart.ladder.scale is not None]
        for name, alike in ((section.id, [f for f in small if f not in planes]), (f"{section.id}-plane", planes)):
            for start in range(0, len(alike), MOST_PANELS):
                number = "" if len(alike) <= MOST_PANELS else f"-{start // MOST_PANELS + 1}"
                groups.append((name + number, alike[start : start + MOST_PANELS]))
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[Path]] = {}
    style: AbstractContextManager[Any] = matplotlib.rc_context(dict(STYLE))
    with style:
        for name, figures in groups:
            canvas = _draw(figures, width)
            written[name] = []
            for ending, metadata in (("pdf", {"CreationDate": None, "Producer": None}), ("svg", {"Date": None})):
                path = folder / f"{name}.{ending}"
                canvas.savefig(path, metadata=metadata)
                written[name].append(path)
    for path in [*folder.glob("*.pdf"), *folder.glob("*.svg")]:
        if path.stem not in written:  # an earlier report's
            path.unlink()
    return written


def _draw(figures: Sequence[Figure], width: float) -> Canvas:
    """Lay charts out in a grid of the given width, with one legend for all."""
    from matplotlib.figure import Figure as Canvas

    first = figures[0].chart
    if len(figures) == 1 and not (isinstance(first, Panel) and not is_wide(first)):
        height = max(width * min(first.height / first.width, 1.1), 1.6)
        canvas = Canvas(figsize=(width, height), layout="constrained")
        draw_chart(canvas.add_subplot(), first)
    else:
        columns = max(min(int(width // PANEL_WIDTH), len(figures)), 1)
        rows = math.ceil(len(figures) / columns)
        height = rows * width / max(columns, 2) * PANEL_RATIO + 0.3
        canvas = Canvas(figsize=(width, height), layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index < len(figures):
                draw_chart(axes, figures[index].chart)
            else:
                axes.set_axis_off()
    titles = {figure.chart.ladder.title.partition(";")[0] for figure in figures if isinstance(figure.chart, Panel)}
    if titles:
        canvas.supxlabel(", ".join(sorted(titles)), fontsize=7)
    entries: dict[str, Any] = {}
    for axes in canvas.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = int(width / (0.4 + 0.055 * max(map(len, entries))))
        canvas.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=max(min(columns, 5), 1),
                      frameon=False, handlelength=2.4)  # fmt: skip
    return canvas
