"""One small chart: curves over a ladder of checkpoints, with intervals and the noise floor."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from markupsafe import Markup

from pretune.report.axes import LadderAxis, ValueAxis
from pretune.report.svg import clip, draw_mark, element, path_through, tint
from pretune.report.wording import write_number

LEFT, TOP, BOTTOM = 38.0, 46.0, 50.0
LABEL_STEP = 12.0
"""Least distance between direct labels at the right edge, in units of the drawing."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at a checkpoint (name), its interval (NaN where unknown), what hovering shows, the cells behind it.

    Annealed checkpoints are ringed, and no line joins them to the others: they are not of one curve. ``across`` is an
    interval along the horizontal axis, in shares of it. A ``minor`` point has a small mark. ``caret``: a triangle
    points at it, "open" or "filled".
    """

    checkpoint: str
    value: float
    low: float
    high: float
    hover: str
    runs: tuple[str, ...] = ()
    annealed: bool = False
    across: tuple[float, float] | None = None
    minor: bool = False
    caret: str = ""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points in the order of the ladder.

    ``state`` sets line and mark (base: dashed, open; tuned: solid, filled; published: dotted, a cross), ``shape`` the
    mark of one of several curves of a state. ``label`` is written at the right end; empty: the last value. Less is
    better on a ``downwards`` curve: carets point from below. Points that are not ``joined`` have no line.
    """

    name: str
    state: str
    colour: int
    shape: int
    points: tuple[Point, ...]
    label: str = ""
    downwards: bool = False
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Panel:
    """All that one chart shows.

    ``level`` is a thin horizontal line with its label. ``floor`` is the smallest difference worth reading, in units of
    the vertical axis: a scale bar, or a band about zero when ``about_zero``. With ``bars``, intervals are bars even
    where there are few curves. ``span`` names the two checkpoints
    between which something happens that ``span_label`` says.
    """

    title: str
    subtitle: str
    curves: tuple[Curve, ...]
    ladder: LadderAxis
    axis: ValueAxis
    level: float | None = None
    level_label: str = "trivial baseline"
    digits: int = 1
    floor: float | None = None
    floor_label: str = "noise floor"
    about_zero: bool = False
    bars: bool = False
    span: tuple[str, str] | None = None
    span_label: str = ""
    width: float = 380.0
    height: float = 268.0
    right: float = 44.0

    def x(self, checkpoint: str) -> float:
        """Horizontal place of a checkpoint."""
        return self.at(self.ladder.places[checkpoint])

    def at(self, share: float) -> float:
        """Horizontal place of a share of the ladder's axis."""
        return LEFT + 8 + share * (self.width - LEFT - self.right - 16)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        share = (value - self.axis.low) / (self.axis.high - self.axis.low)
        return self.bottom - share * (self.bottom - TOP)

    @property
    def bottom(self) -> float:
        """Vertical place of the horizontal axis."""
        return self.height - BOTTOM

    @property
    def top(self) -> float:
        """Vertical place of the top of the plot."""
        return TOP

    @property
    def end(self) -> float:
        """Right edge of the plot."""
        return self.width - self.right


def draw_panel(panel: Panel) -> Markup:
    """Draw ``panel`` as an ``<svg>`` of its width × height whose colours come from the style sheet.

    Each curve is a group of class ``series`` with ``data-series``, each point one of class ``point`` with
    ``data-point``: their numbers, by which the page's script finds them.
    """
    inner = [
        element("title", f"{panel.title}: {panel.subtitle}"),
        element("text", clip(panel.title, int(panel.width / 8.6)), x=4, y=16, class_="heading"),
        element("text", clip(panel.subtitle, int(panel.width / 5.9)), x=4, y=32, class_="note"),
        _draw_span(panel),
        _draw_frame(panel),
        _draw_floor(panel),
        _draw_level(panel),
    ]
    labels = place_labels(panel)
    inner += [_draw_series(panel, number, labels.get(number)) for number in range(len(panel.curves))]
    label = f"{panel.title}: {panel.subtitle}; values are in the tables"
    return element("svg", *inner, viewBox=f"0 0 {panel.width:g} {panel.height:g}", role="img", aria_label=label,
                   class_="panel")  # fmt: skip


def _draw_frame(panel: Panel) -> Markup:
    floor = panel.bottom
    parts = []
    for value, text in panel.axis.write(signed=panel.about_zero):
        y = panel.y(value)
        kind = "grid zero" if panel.about_zero and value == 0 else "grid"
        parts.append(element("line", x1=LEFT, x2=panel.end, y1=y, y2=y, class_=kind))
        parts.append(element("text", text, x=LEFT - 6, y=y + 3.5, class_="tick end"))
    parts.append(element("line", x1=LEFT, x2=panel.end, y1=floor, y2=floor, class_="axis"))
    for tick in panel.ladder.ticks:
        x = panel.at(tick.at)
        parts.append(element("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis"))
        parts.append(element("text", tick.label, x=x, y=floor + 15, class_="tick middle"))
        if tick.below:
            parts.append(element("text", tick.below, x=x, y=floor + 27, class_="tick middle faint"))
    if panel.ladder.cut is not None:
        x = panel.at(panel.ladder.cut)
        parts.append(element("rect", x=x - 2.5, y=floor - 3, width=5, height=6, class_="ground"))
        for shift in (-2.5, 2.5):
            parts.append(element("line", x1=x + shift - 1.5, x2=x + shift + 1.5, y1=floor + 4, y2=floor - 4,
                                 class_="axis"))  # fmt: skip
    middle = LEFT + (panel.end - LEFT) / 2
    parts.append(element("text", panel.ladder.title, x=middle, y=panel.height - 7, class_="note middle"))
    return element("g", *parts)


def _draw_level(panel: Panel) -> Markup:
    if panel.level is None or not math.isfinite(panel.level):
        return Markup("")
    y = panel.y(min(max(panel.level, panel.axis.low), panel.axis.high))
    hover = f"{panel.level_label}: {write_number(panel.level, panel.digits)}"
    return element(
        "g",
        element("title", hover),
        element("line", x1=LEFT, x2=panel.end, y1=y, y2=y, class_="level"),
        element("line", x1=LEFT, x2=panel.end, y1=y, y2=y, class_="hit"),
    )


def _draw_span(panel: Panel) -> Markup:
    if panel.span is None:
        return Markup("")
    left, right = sorted(panel.x(name) for name in panel.span)
    width = max(right - left, 3.0)
    return element(
        "g",
        element("title", panel.span_label),
        element("rect", x=left, y=TOP, width=width, height=panel.bottom - TOP, class_="span"),
        element(
            "text", panel.span_label, x=min(left + width / 2, panel.end - 40), y=TOP - 3, class_="tick middle faint"
        ),
        class_="onset",
    )


def _draw_floor(panel: Panel) -> Markup:
    """Draw the noise floor: a band about zero, or a scale bar in the emptiest corner of the plot."""
    size = panel.floor
    if size is None or not math.isfinite(size) or size <= 0:
        return Markup("")
    hover = f"{panel.floor_label}: differences below {write_number(size, panel.digits)} are not worth reading"
    text = f"{panel.floor_label} {write_number(size, panel.digits)}"
    if panel.about_zero:
        top, bottom = (panel.y(min(max(v, panel.axis.low), panel.axis.high)) for v in (size, -size))
        band = element("rect", x=LEFT, y=top, width=panel.end - LEFT, height=bottom - top, class_="floor-band")
        x, y = _find_place(
            panel, 5.0 * len(text), [(x, y) for y in (top - 11, bottom + 2, TOP + 2, TOP + 16) for x in (0.0, 1.0)]
        )
        label = element("text", text, x=x, y=y + 9, class_="tick faint halo")
        return element("g", element("title", hover), band, label, class_="floor")
    height = min(abs(panel.y(size) - panel.y(0.0)), panel.bottom - TOP - 4)
    highest, lowest = TOP + 4, panel.bottom - max(height, 12.0) - 6
    places = [(x, y) for y in (highest, lowest, (highest + lowest) / 2) for x in (0.0, 1.0)]
    x, y = _find_place(panel, 5.4 * len(text) + 14, places, max(height, 12.0))
    bar = [
        element("line", x1=x, x2=x, y1=y, y2=y + height, class_="floor-bar"),
        *(element("line", x1=x - 3, x2=x + 3, y1=end, y2=end, class_="floor-bar") for end in (y, y + height)),
    ]
    label = element("text", text, x=x + 7, y=y + height / 2 + 3.5, class_="tick faint halo")
    return element("g", element("title", hover), *bar, label, class_="floor")


def _find_place(
    panel: Panel, width: float, places: list[tuple[float, float]], height: float = 12.0
) -> tuple[float, float]:
    """Return the upper left end of the box of ``width`` × ``height`` that has the fewest points about it.

    ``places`` are (0: at the left end of the plot, 1: at its right end; upper end).
    """
    taken = [
        (panel.x(point.checkpoint), panel.y(end))
        for curve in panel.curves
        for point in curve.points
        for end in (point.value, point.low, point.high)
        if math.isfinite(end)
    ]
    boxes = [
        (LEFT + 8 if side == 0 else panel.end - width, y)
        for side, y in places if TOP <= y <= panel.bottom - height
    ]  # fmt: skip

    def crowd(box: tuple[float, float]) -> int:
        x, y = box
        return sum(x - 12 <= a <= x + width + 12 and y - 12 <= b <= y + height + 12 for a, b in taken)

    return min(boxes, key=crowd) if boxes else (LEFT + 8, TOP + 4)


def _draw_series(panel: Panel, number: int, label: tuple[float, str] | None) -> Markup:
    curve = panel.curves[number]
    parts = [_draw_band(panel, curve), *_draw_curve(panel, curve)]
    if label is not None:
        y, text = label
        parts.append(element("text", text, x=panel.end + 3, y=y, class_=f"value {tint(curve.colour)}"))
    return element("g", *parts, class_=f"series {curve.state}", data_series=number)


def _draw_band(panel: Panel, curve: Curve) -> Markup:
    known = [p for p in curve.points if math.isfinite(p.low) and math.isfinite(p.high)]
    if not known:
        return Markup("")

    def inside(value: float) -> float:
        return min(max(value, panel.axis.low), panel.axis.high)

    colour = tint(curve.colour)
    if len(known) == 1 or len(panel.curves) > 3 or panel.bars:
        whiskers = []
        shift = 2.4 * (panel.curves.index(curve) - (len(panel.curves) - 1) / 2) if len(panel.curves) > 3 else 0.0
        for point in known:
            if point.across is not None:
                left, right = (panel.at(min(max(share, 0.0), 1.0)) for share in point.across)
                y = panel.y(inside(point.value))
                whiskers.append(element("line", x1=left, x2=right, y1=y, y2=y, class_=f"whisker {colour}"))
            x = panel.x(point.checkpoint) + min(max(shift, -7.0), 7.0)  # side by side, so that they can be told apart
            whiskers.append(element("line", x1=x, x2=x, y1=panel.y(inside(point.low)), y2=panel.y(inside(point.high)),
                                    class_=f"whisker {colour}"))  # fmt: skip
        return element("g", *whiskers, class_="interval")
    outlines = []
    for _, points in itertools.groupby(known, lambda point: point.annealed):
        stretch = list(points)
        upper = [(panel.x(p.checkpoint), panel.y(inside(p.high))) for p in stretch]
        lower = [(panel.x(p.checkpoint), panel.y(inside(p.low))) for p in reversed(stretch)]
        if len(stretch) == 1:  # a sliver that can be seen
            upper, lower = [(x + shift, y) for x, y in upper for shift in (-2, 2)], [
                (x + shift, y) for x, y in lower for shift in (2, -2)]  # fmt: skip
        outlines.append(path_through(upper + lower) + " Z")
    return element("path", d=" ".join(outlines), class_=f"band interval {curve.state} {colour}")


def _draw_curve(panel: Panel, curve: Curve) -> list[Markup]:
    colour = tint(curve.colour)
    places = [(panel.x(p.checkpoint), panel.y(p.value)) for p in curve.points]
    parts = []
    for annealed, stretch in itertools.groupby(zip(curve.points, places, strict=True), lambda pair: pair[0].annealed):
        joined = [place for _, place in stretch]
        if len(joined) > 1 and curve.joined:
            kind = f"line {curve.state} {colour}" + (" annealed" if annealed else "")
            parts.append(element("path", d=path_through(joined), class_=kind))
    for index, (point, (x, y)) in enumerate(zip(curve.points, places, strict=True)):
        marks = [draw_mark(curve.shape, x, y, f"mark {curve.state} {colour}", 2.3 if point.minor else 4.0)]
        if point.caret:
            marks.append(draw_caret(x, y, f"caret {point.caret} {colour}", below=curve.downwards))
        if point.annealed:
            marks.append(element("circle", cx=x, cy=y, r=7, class_=f"ring {colour}"))
        parts.append(element("g", element("title", point.hover), *marks, class_="point", data_point=index))
    return parts


def draw_caret(x: float, y: float, class_: str, *, below: bool) -> Markup:
    """Draw a triangle that points at (x, y) from above, or from below."""
    way = 1 if below else -1
    corners = [(x, y + way * 7), (x + 4.6, y + way * 15), (x - 4.6, y + way * 15)]
    return element("path", d=path_through(corners) + " Z", class_=class_)


def place_labels(panel: Panel) -> dict[int, tuple[float, str]]:
    """Find a height for the label at the end of each curve, at least :data:`LABEL_STEP` apart, inside the plot.

    Curves over checkpoints that have no label of their own are labelled by their last value while there are at most
    three.
    """
    ends = []
    for number, curve in enumerate(panel.curves):
        if curve.points and (curve.label or (len(panel.curves) <= 3 and panel.ladder.scale is None)):
            text = curve.label or write_number(curve.points[-1].value, panel.digits, signed=panel.about_zero)
            ends.append((panel.y(curve.points[-1].value) + 3.5, number, text))
    ends.sort()
    heights = [end[0] for end in ends]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + LABEL_STEP)
    limit = panel.bottom + 3.5
    for index in range(len(heights) - 1, -1, -1):
        heights[index] = min(heights[index], limit)
        limit = heights[index] - LABEL_STEP
    return {number: (y, text) for y, (_, number, text) in zip(heights, ends, strict=True)}
