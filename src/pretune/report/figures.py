"""From the tables of the analyses to the figures of the page."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.report.axes import LadderAxis, build_value_axis
from pretune.report.panels import Curve, Panel, Point, draw_panel
from pretune.report.wording import is_null, shorten, write_interval, write_number, write_rate

COLOURS = 8


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with the name of its file; ``legend`` is (curve, colour, shape) where curves are not told apart."""

    name: str
    title: str
    drawing: Markup
    legend: tuple[tuple[str, int, int], ...] = ()


def assign_colours(headline: pd.DataFrame) -> dict[str, int]:
    """Give each task a colour: trained ones first, by name; a task that belongs to one training shares its colour."""
    trained = sorted({str(task) for task in headline["train_task"].dropna()})
    colours = {task: index % COLOURS for index, task in enumerate(trained)}
    twins = headline[(headline["relation"] == "out_of_domain").fillna(False)]
    for task, trainings in twins.groupby("eval_task")["train_task"]:
        if str(task) not in colours and trainings.nunique() == 1:
            colours[str(task)] = colours[str(trainings.iloc[0])]
    used = len(trained)
    for task in sorted({str(task) for task in headline["eval_task"].dropna()}):
        if task not in colours:
            colours[task] = used % COLOURS
            used += 1
    return colours


def name_file(*parts: object) -> str:
    """Return a file name without an ending: letters, digits, dots, hyphens; other characters become hyphens."""
    joined = "-".join(str(part) for part in parts if not is_null(part) and str(part))
    return re.sub(r"[^A-Za-z0-9.]+", "-", joined).strip("-.")[:100] or "figure"


def draw_tasks(
    rows: pd.DataFrame, ladders: Mapping[str, LadderAxis], colours: Mapping[str, int], *, prefix: str
) -> list[Figure]:
    """Draw one panel per (family, evaluated task, training task) of some rows of a headline: base and tuned.

    The vertical axis is 0 to 100 for accuracy and exact match; panels of any other metric share one axis.
    """
    figures = []
    limits = {
        metric: build_value_axis(
            _collect(group, str(metric)), share=metric in ("accuracy", "exact_match"), from_zero=metric == "rouge_l"
        )
        for metric, group in rows.groupby("metric", sort=False)
    }
    several = rows["family"].nunique() > 1
    panels = rows.groupby(["family", "eval_task", "train_task"], dropna=False, sort=False)
    for (family, task, training), group in panels:
        metric = str(group["metric"].iloc[0])
        colour = colours.get(str(task), 0)
        subtitle = label_metric(metric)
        trained = None if is_null(training) else str(training)
        if trained is None:
            subtitle += " · not fine-tuned on"
        elif trained != task:
            subtitle += f" · trained on {trained}"
        scale = points_per_unit(metric)
        level = group["baseline"].dropna().astype(float)
        figures.append(_figure(Panel(
            name=name_file(prefix, family if several else "", task, "" if trained == task else trained),
            title=f"{task} ({family})" if several else str(task),
            subtitle=subtitle,
            curves=_base_and_tuned(group, metric, colour),
            ladder=ladders[str(family)],
            axis=limits[metric],
            level=float(level.mean()) * scale if len(level) else None,
        )))  # fmt: skip
    return figures


def draw_text_losses(
    forgetting: pd.DataFrame, ladders: Mapping[str, LadderAxis], colours: Mapping[str, int]
) -> list[Figure]:
    """Draw the loss on each pre-training text: the base model, and one curve per training."""
    figures = []
    several = forgetting["family"].nunique() > 1
    for (family, text), group in forgetting.groupby(["family", "eval_task"], sort=False):
        metric = str(group["metric"].iloc[0])
        base = group.dropna(subset=["base"]).drop_duplicates("checkpoint").sort_values("position")
        curves = [_curve("before", "base", -1, 0, base, "base", metric)] if len(base) else []
        tuned = group.dropna(subset=["tuned", "train_task"])
        for number, (labels, part) in enumerate(tuned.groupby(["train_task", "setting"], sort=False)):
            name = "after " + ", ".join(str(label) for label in labels if label)
            colour = colours.get(str(labels[0]), number % COLOURS)
            curves.append(_curve(name, "tuned", colour, number, part.sort_values("position"), "tuned", metric))
        values = _collect(group, metric)
        figures.append(_figure(Panel(
            name=name_file("loss", family if several else "", text),
            title=f"{text} ({family})" if several else str(text),
            subtitle=label_metric(metric) + ", before and after fine-tuning",
            curves=tuple(curves), ladder=ladders[str(family)], axis=build_value_axis(values), digits=2,
        ), legend=True))  # fmt: skip
    return figures


def draw_spreads(formats: pd.DataFrame, ladders: Mapping[str, LadderAxis], colours: Mapping[str, int]) -> list[Figure]:
    """Draw the spread over formats of each fine-tuned task, before and after."""
    rows = formats.dropna(subset=["spread"])
    tuned_tasks = set(rows.loc[rows["state"] == "tuned", "eval_task"])
    rows = rows[rows["eval_task"].isin(tuned_tasks)]
    if rows.empty:
        return []
    rows = rows.assign(low=np.nan, high=np.nan)
    axis = build_value_axis([float(v) * 100 for v in rows["spread"]], from_zero=True)
    several = rows["family"].nunique() > 1
    figures = []
    for (family, task), group in rows.groupby(["family", "eval_task"], sort=False):
        metric = str(group["metric"].iloc[0])
        if points_per_unit(metric) != 100:
            continue
        colour = colours.get(str(task), 0)
        curves = [
            _curve(str(state), str(state), colour, max(number - 1, 0), part.sort_values("position"), "spread", metric)
            for number, ((state, _, _), part) in enumerate(
                group.groupby(["state", "train_format", "setting"], dropna=False, sort=False)
            )
        ]
        figures.append(_figure(Panel(
            name=name_file("formats", family if several else "", task),
            title=f"{task} ({family})" if several else str(task),
            subtitle=f"best − worst of {int(group['formats'].max())} formats, points",
            curves=tuple(curves), ladder=ladders[str(family)], axis=axis,
        )))  # fmt: skip
    return figures


def _figure(panel: Panel, *, legend: bool = False) -> Figure:
    told = tuple((curve.name, curve.colour, curve.shape) for curve in panel.curves)
    needed = legend or len([curve for curve in panel.curves if curve.state == "tuned"]) > 1
    return Figure(name=panel.name, title=panel.title, drawing=draw_panel(panel), legend=told if needed else ())


def _base_and_tuned(group: pd.DataFrame, metric: str, colour: int) -> tuple[Curve, ...]:
    base = group.dropna(subset=["base"]).drop_duplicates("checkpoint").sort_values("position")
    curves = [_curve("before fine-tuning", "base", colour, 0, base, "base", metric)] if len(base) else []
    tuned = group.dropna(subset=["tuned"])
    for number, (setting, part) in enumerate(tuned.groupby("setting", sort=False)):
        name = f"after fine-tuning ({setting!s})" if setting else "after fine-tuning"
        curves.append(_curve(name, "tuned", colour, number, part.sort_values("position"), "tuned", metric))
    return tuple(curves)


def _curve(name: str, state: str, colour: int, shape: int, rows: pd.DataFrame, column: str, metric: str) -> Curve:
    scale = points_per_unit(metric)
    low, high = (f"{column}_low", f"{column}_high") if f"{column}_low" in rows else ("low", "high")
    digits = 1 if scale == 100 else 3
    points = []
    for row in rows.to_dict("records"):
        value, below, above = (_scaled(row[key], scale) for key in (column, low, high))
        lines = [f"{_place(row)} – {name}", write_number(value, digits)]
        interval = write_interval(below, above, digits)
        lines[-1] += f" (95 %: {interval})" if interval else ""
        if state == "tuned" and not is_null(row.get("lr")):
            lines.append(f"lr {write_rate(row['lr'])}, seeds: {shorten(row.get('seeds', 1))}")
        if column == "spread":
            lines.append(f"best: {row['best']}, worst: {row['worst']}")
        points.append(Point(checkpoint=str(row["checkpoint"]), value=value, low=below, high=above,
                            hover="\n".join(lines)))  # fmt: skip
    return Curve(name=name, state=state, colour=colour, shape=shape, points=tuple(points))


def _scaled(value: object, scale: float) -> float:
    return float("nan") if is_null(value) else float(value) * scale  # type: ignore[arg-type]


def _place(row: Mapping[Hashable, object]) -> str:
    text = str(row["checkpoint"])
    if not is_null(row.get("tokens")):
        text += f" ({shorten(row['tokens'])} tokens)"
    if row.get("annealed") is True:
        text += ", annealed"
    return text


def _collect(rows: pd.DataFrame, metric: str) -> list[float]:
    columns: Sequence[str] = [name for name in ("base", "base_low", "base_high", "tuned", "tuned_low", "tuned_high",
                                                "baseline") if name in rows]  # fmt: skip
    return [float(value) * points_per_unit(metric) for name in columns for value in rows[name].dropna()]
