"""The figure of the first screen: what pre-training bought and what fine-tuning added, task by task."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from pretune.report.svg import clip, draw_mark, element
from pretune.report.wording import write_number

WIDTH, ROW, TOP, BOTTOM, RIGHT = 470.0, 40.0, 60.0, 42.0, 46.0


@dataclass(frozen=True, kw_only=True)
class OverviewRow:
    """One task, in points; NaN: unknown.

    ``first`` is the base score at the first checkpoint, ``last`` and ``tuned`` are base and tuned score at the end.
    ``annealed_base`` and ``annealed_tuned`` are those of an annealed checkpoint, which is not of the same curve. The
    floors are the smallest changes worth reading. ``reading`` says what the task owes to what.
    """

    name: str
    colour: int
    reading: str
    first: float
    last: float
    tuned: float
    baseline: float
    rise_floor: float = math.nan
    gain_floor: float = math.nan
    annealed_base: float = math.nan
    annealed_tuned: float = math.nan
    base_runs: tuple[str, ...] = ()
    tuned_runs: tuple[str, ...] = ()

    @property
    def rise(self) -> float:
        """What pre-training moved."""
        return self.last - self.first

    @property
    def gain(self) -> float:
        """What fine-tuning added at the end."""
        return self.tuned - self.last


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Rows, alike readings together; ``left_out`` rows had no room."""

    title: str
    rows: tuple[OverviewRow, ...]
    left_out: int = 0

    @property
    def left(self) -> float:
        """Room for the names."""
        return min(200.0, 16 + 7.4 * max(len(row.name) for row in self.rows))

    @property
    def width(self) -> float:
        """Width of the drawing."""
        return WIDTH

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return TOP + ROW * len(self.rows) + BOTTOM

    def x(self, value: float) -> float:
        """Horizontal place of a score in points."""
        share = min(max(value, 0.0), 100.0) / 100 if math.isfinite(value) else math.nan
        return self.left + (WIDTH - self.left - RIGHT) * share


def draw_overview(overview: Overview) -> Markup:
    """Draw one row per task.

    Upper track, dashed: base model, first checkpoint → end. Lower track, solid: base → tuned at the end. Grey: the
    noise floor to both sides of where each track starts: a change that ends inside it says nothing.
    """
    floor = TOP + ROW * len(overview.rows)
    middle = (overview.x(0) + overview.x(100)) / 2
    parts = [
        element("title", overview.title),
        element("text", clip(overview.title, 54), x=4, y=16, class_="heading"),
        element("text", "dashed: base model, first checkpoint → end of pre-training", x=4, y=33, class_="note"),
        element("text", _explain(overview), x=4, y=48, class_="note"),
    ]
    for value in (0, 25, 50, 75, 100):
        x = overview.x(value)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=floor, class_="grid"))
        parts.append(element("text", str(value), x=x, y=floor + 15, class_="tick middle"))
    parts.append(element("line", x1=overview.x(0), x2=overview.x(100), y1=floor, y2=floor, class_="axis"))
    parts.append(element("text", "score × 100", x=middle, y=floor + 32, class_="note middle"))
    parts += [_draw_row(overview, number) for number in range(len(overview.rows))]
    if overview.left_out > 0:
        parts.append(element("text", f"… and {overview.left_out} more", x=4, y=floor + 32, class_="note"))
    label = "Scores before and after fine-tuning at the last checkpoint; values are in the tables"
    return element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {overview.height:g}", role="img", aria_label=label,
                   class_="panel overview")  # fmt: skip


def _explain(overview: Overview) -> str:
    text = "solid: base → tuned at the end · dotted: trivial baseline"
    if any(math.isfinite(row.annealed_base) for row in overview.rows):
        text += " · ring: annealed"
    return text + (" · grey: noise" if any(math.isfinite(row.rise_floor) for row in overview.rows) else "")


def _draw_row(overview: Overview, number: int) -> Markup:
    row = overview.rows[number]
    y = TOP + ROW * (number + 0.5)
    upper, lower = (y - 7, y + 7) if math.isfinite(row.gain) else (y, y)
    colour, x = f"c{row.colour}", overview.x
    shown = clip(row.name, int((overview.left - 12) / 7.3))
    parts = [element("text", element("title", f"{row.name}: {row.reading}"), shown, x=overview.left - 8, y=y + 4,
                     class_="label end")]  # fmt: skip
    for start, size, track in ((row.first, row.rise_floor, upper), (row.last, row.gain_floor, lower)):
        if math.isfinite(size) and (track == upper or math.isfinite(row.gain)):
            left, right = x(start - size), x(start + size)
            parts.append(element("rect", x=left, y=track - 5, width=right - left, height=10, rx=2,
                                 class_="floor-band floor"))  # fmt: skip
    if math.isfinite(row.baseline):
        hover = f"{row.name}: trivial baseline {write_number(row.baseline)}"
        line = element("line", x1=x(row.baseline), x2=x(row.baseline), y1=y - 17, y2=y + 17, class_="level")
        parts.append(element("g", element("title", hover), line))
    parts.append(element("line", x1=x(row.first), x2=x(row.last), y1=upper, y2=upper, class_=f"line base {colour}"))
    hover = (
        f"{row.name}, base model\n{write_number(row.first)} at the first checkpoint, {write_number(row.last)} at the "
        f"end ({write_number(row.rise, signed=True)} points)"
    )
    parts.append(draw_mark(0, x(row.first), upper, f"mark start {colour}", 2.6))
    mark = draw_mark(0, x(row.last), upper, f"mark base {colour}", 4.6)
    parts.append(element("g", element("title", hover), mark, class_="point", data_point=0))
    rise = write_number(row.rise, signed=True)
    end = _clear_of(x(row.annealed_base), x(max(row.first, row.last)))
    parts.append(element("text", rise, x=end, y=upper + 4, class_="tick halo"))
    if math.isfinite(row.gain):
        parts.append(
            element("line", x1=x(row.last), x2=x(row.tuned), y1=lower, y2=lower, class_=f"line tuned {colour}")
        )
        gain = write_number(row.gain, signed=True)
        hover = (
            f"{row.name}, after fine-tuning at the end\n{write_number(row.last)} → {write_number(row.tuned)} "
            f"({gain} points)"
        )
        mark = draw_mark(0, x(row.tuned), lower, f"mark tuned {colour}", 4.6)
        parts.append(element("g", element("title", hover), mark, class_="point", data_point=1))
        parts.append(
            element(
                "text",
                gain,
                x=_clear_of(x(row.annealed_tuned), x(max(row.last, row.tuned))),
                y=lower + 4,
                class_=f"value halo {colour}",
            )
        )
    for value, track in ((row.annealed_base, upper), (row.annealed_tuned, lower)):
        if math.isfinite(value):
            hover = f"{row.name}: {write_number(value)} at the annealed checkpoint"
            ring = element("circle", cx=x(value), cy=track, r=6.5, class_=f"ring {colour}")
            parts.append(element("g", element("title", hover), ring))
    return element("g", *parts, class_="series", data_series=number)


def _clear_of(ring: float, end: float) -> float:
    """Where a label of a track that ends at ``end`` begins: behind a ring that would be under it."""
    return ring + 11 if end - 9 < ring < end + 58 else end + 9
