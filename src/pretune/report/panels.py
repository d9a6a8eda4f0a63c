"""One small chart: curves over a ladder of checkpoints, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from pretune.report.axes import LadderAxis, ValueAxis
from pretune.report.svg import draw_mark, element, path_through, tint
from pretune.report.wording import write_number

WIDTH, HEIGHT = 380.0, 268.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 44.0, 46.0, 50.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at a checkpoint (name), its interval (NaN where unknown) and what hovering shows."""

    checkpoint: str
    value: float
    low: float
    high: float
    hover: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points in the order of the ladder. ``state`` sets line and mark (base: dashed, open; tuned: solid, filled)."""

    name: str
    state: str
    colour: int
    shape: int
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """All that one chart shows; ``level`` is a thin horizontal line with its label."""

    name: str
    title: str
    subtitle: str
    curves: tuple[Curve, ...]
    ladder: LadderAxis
    axis: ValueAxis
    level: float | None = None
    level_label: str = "trivial baseline"
    digits: int = 1


def draw_panel(panel: Panel) -> Markup:
    """Draw ``panel`` as an ``<svg>`` of 380 × 268 units whose colours come from the style sheet."""
    inner = [
        element("title", f"{panel.title}: {panel.subtitle}"),
        element("text", _clip(panel.title, 40), x=4, y=16, class_="heading"),
        element("text", _clip(panel.subtitle, 62), x=4, y=32, class_="note"),
        _draw_frame(panel),
    ]
    if panel.level is not None and math.isfinite(panel.level):
        y = _y(panel, panel.level)
        inner.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="level"))
        hover = f"{panel.level_label}: {write_number(panel.level, panel.digits)}"
        inner.append(element("g", element("title", hover), element(
            "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="hit")))  # fmt: skip
    inner += [_draw_band(panel, curve) for curve in panel.curves]
    inner += [_draw_curve(panel, curve) for curve in panel.curves]
    if len(panel.curves) <= 3:
        inner.append(_label_ends(panel))
    label = f"{panel.title}: {panel.subtitle}; values are in the tables"
    return element("svg", *inner, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=label, class_="panel")


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _x(panel: Panel, checkpoint: str) -> float:
    return LEFT + 8 + panel.ladder.places[checkpoint] * (WIDTH - LEFT - RIGHT - 16)


def _y(panel: Panel, value: float) -> float:
    share = (value - panel.axis.low) / (panel.axis.high - panel.axis.low)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _draw_frame(panel: Panel) -> Markup:
    floor = HEIGHT - BOTTOM
    parts = []
    for value in panel.axis.ticks:
        y = _y(panel, value)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        text = write_number(value, panel.axis.digits)
        parts.append(element("text", text, x=LEFT - 6, y=y + 3.5, class_="tick end"))
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"))
    span = WIDTH - LEFT - RIGHT - 16
    for tick in panel.ladder.ticks:
        x = LEFT + 8 + tick.at * span
        parts.append(element("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis"))
        parts.append(element("text", tick.label, x=x, y=floor + 15, class_="tick middle"))
        if tick.below:
            parts.append(element("text", tick.below, x=x, y=floor + 27, class_="tick middle faint"))
    if panel.ladder.cut is not None:
        x = LEFT + 8 + panel.ladder.cut * span
        parts.append(element("rect", x=x - 2.5, y=floor - 3, width=5, height=6, class_="ground"))
        for shift in (-2.5, 2.5):
            parts.append(element("line", x1=x + shift - 1.5, x2=x + shift + 1.5, y1=floor + 4, y2=floor - 4,
                                 class_="axis"))  # fmt: skip
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(element("text", panel.ladder.title, x=middle, y=HEIGHT - 7, class_="note middle"))
    return element("g", *parts)


def _draw_band(panel: Panel, curve: Curve) -> Markup:
    known = [p for p in curve.points if math.isfinite(p.low) and math.isfinite(p.high)]
    if not known:
        return Markup("")

    def inside(value: float) -> float:
        return min(max(value, panel.axis.low), panel.axis.high)

    colour = tint(curve.colour)
    if len(known) == 1:
        x = _x(panel, known[0].checkpoint)
        return element("line", x1=x, x2=x, y1=_y(panel, inside(known[0].low)), y2=_y(panel, inside(known[0].high)),
                       class_=f"whisker {colour}")  # fmt: skip
    upper = [(_x(panel, p.checkpoint), _y(panel, inside(p.high))) for p in known]
    lower = [(_x(panel, p.checkpoint), _y(panel, inside(p.low))) for p in reversed(known)]
    return element("path", d=path_through(upper + lower) + " Z", class_=f"band {curve.state} {colour}")


def _draw_curve(panel: Panel, curve: Curve) -> Markup:
    colour = tint(curve.colour)
    places = [(_x(panel, p.checkpoint), _y(panel, p.value)) for p in curve.points]
    parts = [element("path", d=path_through(places), class_=f"line {curve.state} {colour}")] if len(places) > 1 else []
    for point, (x, y) in zip(curve.points, places, strict=True):
        mark = draw_mark(curve.shape, x, y, f"mark {curve.state} {colour}")
        hit = element("circle", cx=x, cy=y, r=9, class_="hit")
        parts.append(element("g", element("title", point.hover), mark, hit))
    return element("g", *parts)


def _label_ends(panel: Panel) -> Markup:
    """Write the last value of each curve at the right edge, at least 12 units apart."""
    ends = [(_y(panel, curve.points[-1].value), curve) for curve in panel.curves if curve.points]
    ends.sort(key=lambda end: end[0])
    labels, lowest = [], -math.inf
    for y, curve in ends:
        lowest = max(y + 3.5, lowest + 12)
        text = write_number(curve.points[-1].value, panel.digits)
        labels.append(element("text", text, x=WIDTH - RIGHT + 3, y=lowest, class_=f"value {tint(curve.colour)}"))
    return element("g", *labels)
