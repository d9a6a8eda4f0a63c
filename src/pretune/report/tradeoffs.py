"""Figures of what learning costs: forgetting at equal loss, the front of the learning rates, arms of mitigation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.report.axes import LadderAxis, build_plane_axis, build_value_axis, share_of
from pretune.report.charts import Figure, name_file
from pretune.report.curves import (
    build_curve,
    collect,
    find_varied,
    name_training,
    records,
    say_place,
    scaled,
    split_runs,
)
from pretune.report.dots import MOST_ROWS, Dots
from pretune.report.floors import floor_of_intervals
from pretune.report.palette import place_on_ramp
from pretune.report.panels import Curve, Panel, Point
from pretune.report.wording import is_null, write_interval, write_number, write_rate

Ladders = Mapping[str, LadderAxis]
Colours = Mapping[str, int]

MOST_FRONTS = 5
"""Checkpoints whose fronts are drawn together: the first, the last, and those evenly between."""


def draw_matched(matched: pd.DataFrame, ladders: Ladders, colours: Colours) -> list[Figure]:
    """Draw forgetting at equal fine-tuning loss over pre-training, one panel per text, a curve per training."""
    read = matched.dropna(subset=["matched_forgetting"])
    figures = []
    several = matched["family"].nunique() > 1
    for (family, text), group in read.groupby(["family", "text"], sort=False):
        metric = str(group["metric"].iloc[0])
        trainings = group.groupby(["train_task", *find_varied(group)], sort=False, dropna=False)
        curves = []
        for shape, (values, part) in enumerate(trainings):
            rows = part.drop_duplicates("checkpoint")
            rows = rows.assign(position=range(len(rows)), annealed=rows["annealed"] == "annealed")
            target = write_number(rows["matched_loss"].iloc[0], 3)
            curves.append(build_curve(
                f"{name_training(values)} at a loss of {target}", "tuned", rows, "matched_forgetting", metric=metric,
                colour=colours.get(str(values[0]), 0), shape=shape, runs=["runs"], signed=True,
                label=str(values[0]) if len(trainings) <= MOST_FRONTS else "",
            ))  # fmt: skip
        panel = Panel(
            title=f"{text} ({family})" if several else str(text),
            subtitle=f"rise of the {label_metric(metric)} · at equal fine-tuning loss",
            curves=tuple(curves), ladder=ladders[str(family)], right=_room(curves), digits=3,
            axis=build_value_axis(collect(group, ("matched_forgetting",), metric), from_zero=True),
        )  # fmt: skip
        name = name_file("matched", family if several else "", text)
        figures.append(Figure(name=name, chart=panel, data=group, legend=True))
    return figures


def draw_fronts(matched: pd.DataFrame) -> list[Figure]:
    """Draw forgetting against fine-tuning loss, one panel per training and text: a curve per checkpoint, in the order
    of its learning rates.

    A small mark is a rate that another one of the checkpoint beats in both. Shaded: the loss τ that every checkpoint
    reaches.
    """
    figures = []
    several = matched["family"].nunique() > 1
    for values, group in matched.groupby(
        ["family", "train_task", *find_varied(matched), "text"], sort=False, dropna=False
    ):
        family, metric = str(values[0]), str(group["metric"].iloc[0])
        names = list(dict.fromkeys(group["checkpoint"].astype(str)))
        shown = [names[i] for i in sorted({round(i) for i in np.linspace(0, len(names) - 1, MOST_FRONTS)})]
        rows = records(group[group["checkpoint"].isin(shown)])
        losses = {f"{row['checkpoint']} {row['lr']}": float(row["fine_tuning_loss"]) for row in rows}
        target = float(group["matched_loss"].iloc[0])
        ladder = build_plane_axis("fine-tuning loss, on validation rows", losses | {"τ": target})
        curves = []
        for rank, name in enumerate(shown):
            own = sorted((row for row in rows if row["checkpoint"] == name), key=lambda row: float(row["lr"]))
            points = tuple(
                Point(checkpoint=f"{name} {row['lr']}", value=float(row["forgetting"]), low=math.nan, high=math.nan,
                      hover=_say_rate(row), runs=split_runs(row["runs"]), minor=row["pareto"] is not True)
                for row in own
            )  # fmt: skip
            curves.append(Curve(name=name, state="tuned", colour=place_on_ramp(rank, len(shown)), shape=rank,
                                points=points, label=name))  # fmt: skip
        trained = name_training(values[1:-1])
        panel = Panel(
            title=f"{trained} against {values[-1]}" + (f" ({family})" if several else ""),
            subtitle=f"rise of the {label_metric(metric)} · τ = {write_number(target, 3)}",
            curves=tuple(curves), ladder=ladder, right=_room(curves), digits=3, span=("τ", "τ"),
            span_label="τ",
            axis=build_value_axis([float(row["forgetting"]) for row in rows], from_zero=True),
        )  # fmt: skip
        name = name_file("front", family if several else "", *values[1:])
        figures.append(Figure(name=name, chart=panel, data=group, legend=True))
    return figures


def _say_rate(row: Mapping[str, Any]) -> str:
    lines = [
        say_place(row), f"lr {write_rate(row['lr'])}", f"fine-tuning loss {write_number(row['fine_tuning_loss'], 3)}",
        f"forgetting {write_number(row['forgetting'], 3, signed=True)}",
    ]  # fmt: skip
    return "\n".join(lines if row["pareto"] is True else [*lines, "another rate is better in both"])


def draw_arms(mitigation: pd.DataFrame, colours: Colours) -> list[Figure]:
    """Draw what each arm costs on the task against what it saves on the text, at the last checkpoint of each training.

    One panel per training and text; the origin is the reference, which a triangle points at. A small mark is an arm
    that another one beats in both.
    """
    rows = mitigation.dropna(subset=["score_change", "forgetting_change"])
    figures = []
    several = rows["family"].nunique() > 1
    for values, every in rows.groupby(["family", "annealed", "train_task", "text"], sort=False):
        order = every["step"].fillna(-1).astype(float)
        group = every[order == order.max()]
        group = group[group["checkpoint"] == group["checkpoint"].iloc[-1]]
        family, _, training, text = map(str, values)
        metric, text_metric = str(group["metric"].iloc[0]), str(group["text_metric"].iloc[0])
        scale = points_per_unit(metric)
        arms = records(group)
        keys = {id(row): f"{index}" for index, row in enumerate(arms)}
        places = {keys[id(row)]: float(row["forgetting_change"]) for row in arms}
        ends = collect(group, ("forgetting_change_low", "forgetting_change_high"), text_metric)
        ladder = build_plane_axis(f"forgetting − that of the reference, {_unit(text_metric)}", places, [0.0, *ends])
        curves = []
        kinds = list(dict.fromkeys(_name_arm(row) for row in arms))
        for shape, kind in enumerate(kinds):
            own = sorted((row for row in arms if _name_arm(row) == kind), key=_order)
            points = tuple(_place_arm(row, keys[id(row)], ladder, scale) for row in own)
            curves.append(Curve(
                name=kind, state="tuned", shape=shape, points=points,
                colour=colours.get(training, 0) if kind == PLAIN else place_on_ramp(shape, len(kinds)),
            ))  # fmt: skip
        values_of = collect(group, ("score_change", "score_change_low", "score_change_high"), metric)
        panel = Panel(
            title=f"{training} against {text}" + (f" ({family})" if several else ""),
            subtitle=f"{label_metric(metric)} − that of the reference, at {group['checkpoint'].iloc[0]}",
            curves=tuple(curves), ladder=ladder, axis=build_value_axis(values_of, from_zero=True),
            digits=1 if scale == 100 else 3, about_zero=True, bars=True, right=20.0,
            floor=floor_of_intervals(group, ("score_change",), scale / math.sqrt(2)),
        )  # fmt: skip
        name = name_file(
            "mitigation", family if several else "", training, text, "" if values[1] == "unknown" else values[1]
        )
        figures.append(Figure(name=name, chart=panel, data=group, legend=True))
    return figures


def draw_arm_scores(mitigation: pd.DataFrame, colours: Colours) -> list[Figure]:
    """Draw what each arm costs on the task where no pre-training text was measured, at the last checkpoint."""
    measured = mitigation.dropna(subset=["score_change"])
    rows = measured[measured["text"].isna()]
    figures = []
    several = rows["family"].nunique() > 1
    for values, every in rows.groupby(["family", "annealed", "train_task"], sort=False):
        family, annealed, training = map(str, values)
        order = every["step"].fillna(-1).astype(float)
        group = every[order == order.max()].drop_duplicates([*SETTING, "lr"]).head(MOST_ROWS)
        metric = str(group["metric"].iloc[0])
        scale, varied = points_per_unit(metric), find_varied(every)
        points = []
        for row in sorted(records(group), key=_order):
            told = [f"lr {write_rate(row['lr'])}", *(str(row[name]) for name in varied if not is_null(row[name]))]
            value, low, high = (scaled(row[f"score_change{end}"], scale) for end in ("", "_low", "_high"))
            hover = f"{', '.join(told)}\n{say_place(row)}\n{write_number(value, signed=True)}"
            points.append(Point(
                checkpoint=", ".join(told), value=value, low=low, high=high, runs=split_runs(row["runs"]),
                hover=f"{hover}\nthe reference" if row["is_reference"] else hover,
            ))  # fmt: skip
        arms = Curve(name=training, state="tuned", colour=colours.get(training, 0), shape=0, points=tuple(points))
        ends = collect(group, ("score_change", "score_change_low", "score_change_high"), metric)
        chart = Dots(
            title=f"Arms of {training}" + (f" ({family})" if several else ""),
            subtitle=f"change against the reference, at {group['checkpoint'].iloc[0]}",
            rows=tuple(dict.fromkeys(point.checkpoint for point in points)),
            curves=(arms,),
            axis=build_value_axis(ends, from_zero=True), unit=label_metric(metric),
            floor=floor_of_intervals(group, ("score_change",), scale / math.sqrt(2)),
        )  # fmt: skip
        name = name_file("arms", family if several else "", training, "" if annealed == "unknown" else annealed)
        figures.append(Figure(name=name, chart=chart, data=group))
    return figures


PLAIN = "no regulariser"


def _name_arm(row: Mapping[str, Any]) -> str:
    kind = "none" if is_null(row["regularizer"]) else str(row["regularizer"])
    return PLAIN if kind == "none" else kind


def _order(row: Mapping[str, Any]) -> tuple[float, float]:
    strength = 0.0 if is_null(row["regularizer_strength"]) else float(row["regularizer_strength"])
    return strength, math.inf if is_null(row["lr"]) else -float(row["lr"])


def _place_arm(row: Mapping[str, Any], key: str, ladder: LadderAxis, scale: float) -> Point:
    value, low, high = (scaled(row[f"score_change{end}"], scale) for end in ("", "_low", "_high"))
    sides = [scaled(row[f"forgetting_change{end}"], 1.0) for end in ("_low", "_high")]
    across = None
    if ladder.scale is not None and all(map(math.isfinite, sides)):
        across = (share_of(ladder.scale, sides[0]), share_of(ladder.scale, sides[1]))
    what = [f"{name.replace('_', ' ')} {row[name]}" for name in SETTING if not is_null(row.get(name))
            and name in ("regularizer", "regularizer_strength", "train_rows", "epochs")]  # fmt: skip
    digits = 1 if scale == 100 else 3
    lines = [
        f"lr {write_rate(row['lr'])}", ", ".join(what), say_place(row),
        f"score {write_number(value, digits, signed=True)} (95 %: {write_interval(low, high, digits) or 'unknown'})",
        f"forgetting {write_number(row['forgetting_change'], 3, signed=True)} "
        f"(95 %: {write_interval(sides[0], sides[1], 3) or 'unknown'})",
    ]  # fmt: skip
    if row["is_reference"]:
        lines.append("the reference")
    elif row["pareto"] is not True:
        lines.append("another arm is better in both")
    return Point(
        checkpoint=key, value=value, low=low, high=high, across=across, hover="\n".join(lines),
        runs=split_runs(row["runs"]), minor=row["pareto"] is not True, caret="open" if row["is_reference"] else "",
    )  # fmt: skip


def _unit(metric: str) -> str:
    return label_metric(metric).partition(", ")[2] or label_metric(metric)


def _room(curves: list[Curve]) -> float:
    return min(max(12 + 7.3 * max((len(curve.label) for curve in curves), default=0), 44.0), 150.0)
