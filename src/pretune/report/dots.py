"""One row per thing, its values side by side on one horizontal axis: predictors, flagged scores, noise floors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from pretune.report.axes import ValueAxis, share_of
from pretune.report.panels import Curve
from pretune.report.svg import clip, draw_mark, element, tint
from pretune.report.wording import write_number

WIDTH, ROW, TOP, BOTTOM, RIGHT = 470.0, 25.0, 46.0, 46.0, 18.0
LONGEST = 36
MOST_ROWS = 16
"""Rows of one chart; what has no room is in the table."""


@dataclass(frozen=True, kw_only=True)
class Dots:
    """All that one chart of rows shows.

    ``rows`` are names, from top to bottom; a point of a curve stands in the row that its ``checkpoint`` names.
    ``floor`` is the smallest difference worth reading: a band from zero on. ``unit`` is written below the axis.
    """

    title: str
    subtitle: str
    rows: tuple[str, ...]
    curves: tuple[Curve, ...]
    axis: ValueAxis
    unit: str
    digits: int = 1
    floor: float | None = None
    floor_label: str = "noise floor"

    @property
    def left(self) -> float:
        """Room for the names."""
        return 16 + 6.1 * max((min(len(name), LONGEST) for name in self.rows), default=0)

    @property
    def width(self) -> float:
        """Width of the drawing."""
        return WIDTH

    @property
    def bottom(self) -> float:
        """Vertical place of the horizontal axis."""
        return TOP + ROW * len(self.rows)

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return self.bottom + BOTTOM

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        share = min(max(share_of(self.axis, value), 0.0), 1.0)
        return self.left + share * (WIDTH - self.left - RIGHT)


def draw_dots(dots: Dots) -> Markup:
    """Draw ``dots``; each curve is a group of class ``series``, each of its marks one of class ``point``."""
    parts = [
        element("title", f"{dots.title}: {dots.subtitle}"),
        element("text", clip(dots.title, 54), x=4, y=16, class_="heading"),
        element("text", clip(dots.subtitle, 78), x=4, y=32, class_="note"),
        *_draw_floor(dots),
    ]
    for value, text in dots.axis.write():
        x = dots.x(value)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=dots.bottom, class_="grid"))
        parts.append(element("text", text, x=x, y=dots.bottom + 15, class_="tick middle"))
    places = {name: TOP + ROW * (index + 0.5) for index, name in enumerate(dots.rows)}
    for name, y in places.items():
        parts.append(element("line", x1=dots.left, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(element("text", element("title", name), clip(name, LONGEST), x=dots.left - 10, y=y + 4,
                             class_="end"))  # fmt: skip
    middle = (dots.left + WIDTH - RIGHT) / 2
    parts.append(element("line", x1=dots.left, x2=WIDTH - RIGHT, y1=dots.bottom, y2=dots.bottom, class_="axis"))
    parts.append(element("text", clip(dots.unit, 64), x=middle, y=dots.bottom + 33, class_="note middle"))
    for number, curve in enumerate(dots.curves):
        marks = [_draw_point(dots, curve, index, places) for index in range(len(curve.points))]
        parts.append(element("g", *marks, class_=f"series {curve.state}", data_series=number))
    label = f"{dots.title}: {dots.subtitle}; values are in the tables"
    return element("svg", *parts, viewBox=f"0 0 {dots.width:g} {dots.height:g}", role="img", aria_label=label,
                   class_="panel dots")  # fmt: skip


def _draw_floor(dots: Dots) -> list[Markup]:
    size = dots.floor
    if size is None or not math.isfinite(size) or size <= 0:
        return []
    left, right = dots.x(0.0), dots.x(size)
    text = f"{dots.floor_label} {write_number(size, dots.digits)}"
    hover = f"{dots.floor_label}: differences below {write_number(size, dots.digits)} are not worth reading"
    band = element("rect", x=left, y=TOP, width=right - left, height=dots.bottom - TOP, class_="floor-band")
    label = element("text", text, x=WIDTH - RIGHT, y=TOP - 3, class_="tick end faint")
    return [element("g", element("title", hover), band, label, class_="floor")]


def _draw_point(dots: Dots, curve: Curve, index: int, places: dict[str, float]) -> Markup:
    point, colour = curve.points[index], tint(curve.colour)
    x, y = dots.x(point.value), places[point.checkpoint]
    parts = [element("title", point.hover)]
    if math.isfinite(point.low) and math.isfinite(point.high):
        bar = element("line", x1=dots.x(point.low), x2=dots.x(point.high), y1=y, y2=y, class_=f"whisker {colour}")
        parts.append(element("g", bar, class_="interval"))
    parts.append(draw_mark(curve.shape, x, y, f"mark {curve.state} {colour}", 4.2))
    return element("g", *parts, class_="point", data_point=index)
