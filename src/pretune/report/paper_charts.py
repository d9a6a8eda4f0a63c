"""One chart of the page on matplotlib axes: the same values, marks and dashes, in the colours of paper."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pretune.report.axes import Tick
from pretune.report.charts import Chart
from pretune.report.dots import Dots
from pretune.report.matrix import Matrix
from pretune.report.overview import Overview
from pretune.report.palette import BETTER, SOFT, WORSE, ink
from pretune.report.panels import Curve, Panel, Point, place_labels
from pretune.report.wording import write_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = ("o", "s", "D", "^")
DASHES = {"base": (0, (4, 2.4)), "tuned": "solid", "published": (0, (1, 1.6))}
STATES = {"base": "base model", "tuned": "after fine-tuning", "published": "published by others"}
SHADES = {f"{way}{level}": alpha for way in ("up", "down") for level, alpha in enumerate((0.1, 0.2, 0.32, 0.46), 1)}
SMALL = 5.5


def draw_chart(axes: Axes, chart: Chart) -> None:
    """Draw a chart; curves and levels are labelled for a legend."""
    if isinstance(chart, Panel):
        _draw_panel(axes, chart)
    elif isinstance(chart, Matrix):
        _draw_matrix(axes, chart)
    elif isinstance(chart, Dots):
        _draw_dots(axes, chart)
    else:
        _draw_overview(axes, chart)


def is_wide(panel: Panel) -> bool:
    """Say whether a panel has a figure of its own; the others stand side by side."""
    return panel.width >= 600


def _thin_out(ticks: Sequence[Tick], distance: float) -> list[Tick]:
    """Keep the last tick and those before it that are far enough apart for a narrow panel."""
    kept: list[Tick] = []
    for tick in reversed(ticks):
        if not kept or kept[-1].at - tick.at >= distance:
            kept.append(tick)
    return kept


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title if is_wide(panel) else textwrap.fill(panel.title, 26))
    axes.set_ylabel(textwrap.fill(panel.subtitle.partition(" · ")[0].partition(" (")[0], 26))
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(panel.axis.low, panel.axis.high)
    axes.set_yticks(panel.axis.ticks, [label for _, label in panel.axis.write(signed=panel.about_zero)])
    distance = 0.27 if any(curve.label for curve in panel.curves) else 0.21
    ticks = panel.ladder.ticks if is_wide(panel) else _thin_out(panel.ladder.ticks, distance)
    axes.set_xticks([tick.at for tick in ticks], [tick.label for tick in ticks])
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.5)
    axes.set_axisbelow(True)
    if panel.level is not None and math.isfinite(panel.level):
        axes.axhline(panel.level, color=SOFT, linewidth=0.7, linestyle=(0, (1, 2)), label=panel.level_label)
    if panel.span is not None:
        axes.axvspan(*sorted(panel.ladder.places[name] for name in panel.span), color=SOFT, alpha=0.1, linewidth=0,
                     label=panel.span_label)  # fmt: skip
    if panel.floor is not None and math.isfinite(panel.floor) and panel.floor > 0:
        _draw_floor(axes, panel, panel.floor)
    for curve in panel.curves:
        _draw_curve(axes, panel, curve)
    labels = place_labels(panel)
    for number, (y, text) in labels.items():
        height = panel.axis.low + (panel.bottom - (y - 3.5)) / (panel.bottom - panel.top) * (
            panel.axis.high - panel.axis.low
        )
        axes.annotate(text, (1.04, height), xytext=(2, 0), textcoords="offset points", fontsize=6, va="center",
                      color=ink(panel.curves[number].colour), fontweight="bold", annotation_clip=False)  # fmt: skip


def _draw_floor(axes: Axes, panel: Panel, floor: float) -> None:
    text = f"{panel.floor_label} {write_number(floor, panel.digits)}"
    if panel.about_zero:
        axes.axhspan(-floor, floor, color=SOFT, alpha=0.15, linewidth=0, label=panel.floor_label)
        return
    top = panel.axis.high - 0.03 * (panel.axis.high - panel.axis.low)
    axes.errorbar([0.0], [top - floor / 2], yerr=[floor / 2], color=SOFT, linewidth=0.8, capsize=1.5, fmt="none")
    axes.annotate(text, (0.0, top - floor / 2), xytext=(4, 0), textcoords="offset points", fontsize=SMALL, va="center",
                  color=SOFT)  # fmt: skip


def _draw_curve(axes: Axes, panel: Panel, curve: Curve) -> None:
    colour, filled = ink(curve.colour), curve.state == "tuned"
    mark = _choose_mark(curve)
    style: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 3.2, "markeredgewidth": 0.8,
             "markerfacecolor": colour if filled else "white", "linestyle": DASHES[curve.state]}  # fmt: skip
    told = {point.checkpoint: panel.ladder.places[point.checkpoint] for point in curve.points}
    single = len([other for other in panel.curves if other.state == curve.state]) == 1
    label: str | None = STATES[curve.state] if single else curve.name.partition(": ")[0]
    if curve.label:  # written at its end
        label = None
    for _, points in itertools.groupby(curve.points, lambda point: point.annealed):
        stretch = list(points)
        x = [told[point.checkpoint] for point in stretch]
        line = style["linestyle"] if curve.joined else "none"
        large = [index for index, point in enumerate(stretch) if not point.minor]
        axes.plot(x, [point.value for point in stretch], label=label,
                  **(style | {"linestyle": line, "markevery": large}))  # fmt: skip
        small = [(place, point.value) for place, point in zip(x, stretch, strict=True) if point.minor]
        if small:
            axes.plot(*zip(*small, strict=True), **(style | {"linestyle": "none", "markersize": 1.6}))
        _draw_carets(axes, curve, stretch, x)
        label = None
        bounded = [point for point in stretch if math.isfinite(point.low) and math.isfinite(point.high)]
        places = [told[point.checkpoint] for point in bounded]
        low, high = [point.low for point in bounded], [point.high for point in bounded]
        for point in bounded:
            if point.across is not None:
                axes.hlines(point.value, *point.across, color=colour, alpha=0.4, linewidth=0.8)
        if len(panel.curves) > 3 or len(bounded) < 2 or panel.bars:
            axes.vlines(places, low, high, color=colour, alpha=0.4, linewidth=0.8)
        else:
            axes.fill_between(places, low, high, color=colour, alpha=0.13, linewidth=0)
        if stretch[0].annealed:
            axes.plot(x, [point.value for point in stretch], linestyle="none", marker="o", markersize=6.5,
                      markerfacecolor="none", markeredgecolor=colour, markeredgewidth=0.6)  # fmt: skip


def _choose_mark(curve: Curve) -> str:
    if curve.shape < 0:
        return "+" if curve.shape == -2 else "x"
    return MARKS[curve.shape % len(MARKS)]


def _draw_carets(axes: Axes, curve: Curve, points: Sequence[Point], x: Sequence[float]) -> None:
    colour = ink(curve.colour)
    for place, point in zip(x, points, strict=True):
        if point.caret:
            axes.annotate("", (place, point.value), xytext=(0, -9 if curve.downwards else 9),
                          textcoords="offset points", annotation_clip=False,
                          arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 2.5, "linewidth": 0.5,
                                      "mutation_scale": 4.5, "color": colour,
                                      "fc": colour if point.caret == "filled" else "white"})  # fmt: skip


def _draw_dots(axes: Axes, dots: Dots) -> None:
    axes.set_title(dots.title)
    axes.set_xlim(dots.axis.low, dots.axis.high)
    axes.set_xticks(dots.axis.ticks, [label for _, label in dots.axis.write()])
    axes.set_ylim(len(dots.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(dots.rows)), dots.rows)
    axes.set_xlabel(dots.unit)
    axes.grid(color="#e3e6ea", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    places = {name: index for index, name in enumerate(dots.rows)}
    if dots.floor is not None and math.isfinite(dots.floor) and dots.floor > 0:
        text = f"{dots.floor_label} {write_number(dots.floor, dots.digits)}"
        axes.axvspan(0, dots.floor, color=SOFT, alpha=0.15, linewidth=0, label=text)
    for curve in dots.curves:
        colour = ink(curve.colour)
        axes.plot([point.value for point in curve.points], [places[point.checkpoint] for point in curve.points],
                  linestyle="none", marker=_choose_mark(curve), color=colour, markersize=4, markeredgewidth=0.8,
                  markerfacecolor=colour if curve.state == "tuned" else "white", label=curve.name)  # fmt: skip


def _draw_matrix(axes: Axes, matrix: Matrix) -> None:
    from matplotlib.patches import Rectangle

    axes.set_title(f"{matrix.title}: {matrix.subtitle}", fontweight="normal")
    for row, cells in enumerate(matrix.cells):
        for column, cell in enumerate(cells):
            if cell is None:
                axes.text(column, row, "–", ha="center", va="center", color=SOFT)
                continue
            tone = BETTER if cell.shade.startswith("up") else WORSE
            face = (*(part / 255 for part in tone), SHADES.get(cell.shade, 0.0))
            edge = SOFT if cell.outlined else "white"
            axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=face, edgecolor=edge,
                                     linewidth=0.8))  # fmt: skip
            axes.text(column, row, cell.text, ha="center", va="center", fontsize=6,
                      color=SOFT if cell.faint else "black")  # fmt: skip
    axes.set_xlim(-0.5, len(matrix.columns) - 0.5)
    axes.set_ylim(len(matrix.rows) - 0.5, -0.5)
    axes.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=38, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(matrix.rows)), matrix.rows)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(matrix.note)


def _draw_overview(axes: Axes, overview: Overview) -> None:
    from matplotlib.patches import Rectangle

    axes.set_xlim(0, 108)
    axes.set_ylim(len(overview.rows) - 0.4, -0.6)
    axes.set_yticks(range(len(overview.rows)), [row.name for row in overview.rows])
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("score × 100")
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    told: set[str] = set()

    def once(words: str) -> str | None:
        """Label the first mark of a kind only."""
        label = None if words in told else words
        told.add(words)
        return label

    for number, row in enumerate(overview.rows):
        colour = ink(row.colour)
        tracks = [("base", number - 0.17, row.first, row.last, row.rise_floor, row.annealed_base)]
        if math.isfinite(row.gain):
            tracks.append(("tuned", number + 0.17, row.last, row.tuned, row.gain_floor, row.annealed_tuned))
        for state, y, start, end, floor, annealed in tracks:
            if math.isfinite(floor):
                axes.add_patch(Rectangle((start - floor, y - 0.12), 2 * floor, 0.24, color=SOFT, alpha=0.15, lw=0,
                                         label=once("noise floor")))  # fmt: skip
            words = {"base": "base model, first → end", "tuned": "base → tuned at the end"}[state]
            axes.plot([start, end], [y, y], color=colour, linestyle=DASHES[state], label=once(words))
            axes.plot([end], [y], color=colour, marker="o", markersize=3.6, markeredgewidth=0.8,
                      markerfacecolor=colour if state == "tuned" else "white")  # fmt: skip
            if math.isfinite(annealed):
                axes.plot([annealed], [y], color=colour, marker="o", markersize=6, markerfacecolor="none",
                          markeredgewidth=0.6, linestyle="none")  # fmt: skip
            right = max(start, end) if not math.isfinite(annealed) or annealed > max(start, end) + 14 else max(
                start, end, annealed)  # fmt: skip
            axes.annotate(write_number(end - start, signed=True), (right, y), xytext=(5, 0), fontsize=6, va="center",
                          textcoords="offset points", color=colour if state == "tuned" else SOFT)  # fmt: skip
        if math.isfinite(row.baseline):
            axes.plot([row.baseline] * 2, [number - 0.4, number + 0.4], color=SOFT, linewidth=0.7,
                      linestyle=(0, (1, 1.6)), label=once("trivial baseline"))  # fmt: skip
