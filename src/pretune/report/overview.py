"""The figure of the first screen: what pre-training bought and what fine-tuning added, task by task."""

from __future__ import annotations

import math

import pandas as pd
from markupsafe import Markup

from pretune.analysis.reading import BOTH, FINE_TUNING, NEITHER, PRETRAINING, UNDECIDED
from pretune.report.svg import draw_mark, element
from pretune.report.wording import write_number

WIDTH, ROW, TOP, BOTTOM, RIGHT = 470.0, 40.0, 60.0, 42.0, 46.0
MOST_ROWS = 24
ORDER = (PRETRAINING, BOTH, FINE_TUNING, NEITHER, UNDECIDED)


def draw_overview(reading: pd.DataFrame, colours: dict[str, int]) -> Markup | None:
    """Draw one row per task of a reading, alike readings together.

    Upper track, dashed: base model, first → last checkpoint. Lower track, solid: base → tuned at the last one.
    Returns None when there is nothing to draw. Scores are points, 0 to 100.
    """
    rows = reading.dropna(subset=["base_last"])
    rows = rows.sort_values("reading", key=lambda names: names.map(ORDER.index), kind="stable")
    if rows.empty:
        return None
    left_out = len(rows) - MOST_ROWS
    rows = rows.head(MOST_ROWS)
    several = rows["family"].nunique() > 1
    names = [
        str(row["task"])
        + (f" ({row['family']})" if several else "")
        + (f" [{row['setting']}]" if row["setting"] else "")
        for row in rows.to_dict("records")
    ]
    left = min(200.0, 16 + 7.4 * max(len(name) for name in names))
    height = TOP + ROW * len(rows) + BOTTOM
    span = WIDTH - left - RIGHT

    def x(value: float) -> float:
        return left + span * min(max(value, 0.0), 100.0) / 100

    floor = TOP + ROW * len(rows)
    parts = [
        element("title", "Before and after, at the last checkpoint"),
        element("text", "What pre-training moved, what fine-tuning added", x=4, y=16, class_="heading"),
        element("text", "dashed: base model, first → last checkpoint, change in points", x=4, y=33, class_="note"),
        element("text", "solid: last checkpoint, base → tuned · dotted: trivial baseline", x=4, y=48, class_="note"),
    ]
    for value in (0, 25, 50, 75, 100):
        parts.append(element("line", x1=x(value), x2=x(value), y1=TOP, y2=floor, class_="grid"))
        parts.append(element("text", str(value), x=x(value), y=floor + 15, class_="tick middle"))
    parts.append(element("line", x1=left, x2=left + span, y1=floor, y2=floor, class_="axis"))
    parts.append(element("text", "score × 100", x=left + span / 2, y=floor + 32, class_="note middle"))
    for index, (name, row) in enumerate(zip(names, rows.to_dict("records"), strict=True)):
        y = TOP + ROW * (index + 0.5)
        colour = f"c{colours.get(str(row['task']), 0)}"
        parts.append(_draw_row(name, {str(k): _number(v) for k, v in row.items()}, y, colour, x, left))
    if left_out > 0:
        parts.append(element("text", f"… and {left_out} more", x=4, y=floor + 32, class_="note"))
    label = "Scores before and after fine-tuning at the last checkpoint; values are in the tables"
    return element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=label, class_="overview")


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan  # type: ignore[arg-type]


def _draw_row(name: str, row: dict[str, float], y: float, colour: str, x: object, left: float) -> Markup:
    place = x if callable(x) else float
    limit = int((left - 12) / 7.3)
    shown = name if len(name) <= limit else name[: limit - 1] + "…"
    upper, lower = y - 7, y + 7
    parts = [element("text", element("title", name), shown, x=left - 8, y=y + 4, class_="label end")]
    first, last, tuned, level = row["base_first"], row["base_last"], row["tuned_last"], row["baseline"]
    if math.isfinite(level):
        parts.append(element("g", element("title", f"{name}: trivial baseline {write_number(level)}"), element(
            "line", x1=place(level), x2=place(level), y1=y - 17, y2=y + 17, class_="level")))  # fmt: skip
    parts.append(element("line", x1=place(first), x2=place(last), y1=upper, y2=upper, class_=f"line base {colour}"))
    hover = f"{name}, base model: {write_number(first)} at the first checkpoint, {write_number(last)} at the last"
    parts.append(element("g", element("title", hover), draw_mark(0, place(first), upper, f"mark start {colour}", 2.6),
                         draw_mark(0, place(last), upper, f"mark base {colour}", 4.6)))  # fmt: skip
    end = last
    if math.isfinite(tuned) and math.isfinite(row["gain_last"]):
        end = max(last, tuned)
        ends = (place(last), place(tuned))
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=lower, y2=lower, class_=f"line tuned {colour}"))
        hover = f"{name}, tuned: {write_number(tuned)} ({write_number(row['gain_last'], signed=True)} points)"
        mark = draw_mark(0, ends[1], lower, f"mark tuned {colour}", 4.6)
        parts.append(element("g", element("title", hover), mark))
        text = f"{write_number(row['gain_last'], signed=True)}"
        parts.append(element("text", text, x=place(end) + 9, y=lower + 4, class_=f"value halo {colour}"))
    rise = f"{write_number(row['base_rise'], signed=True)}"
    parts.append(element("text", rise, x=place(max(first, last)) + 9, y=upper + 4, class_="tick halo"))
    return element("g", *parts)
