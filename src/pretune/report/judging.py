"""Figures of rows: predictors against their baselines, flagged scores against what is expected, noise floors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from pretune.analysis.metrics import points_per_unit
from pretune.analysis.prediction import BETTER, TOO_LITTLE
from pretune.report.axes import build_value_axis
from pretune.report.charts import Figure, name_file
from pretune.report.curves import records, scaled, split_runs
from pretune.report.dots import MOST_ROWS, Dots
from pretune.report.panels import Curve, Point
from pretune.report.wording import is_null, write_number

BASELINES = (("latest", "latest checkpoint", -1), ("perplexity", "lowest perplexity", 2), ("mean", "mean", -2))
"""Ending of the column, name, mark."""

Colours = Mapping[str, int]


def draw_prediction(prediction: pd.DataFrame, floor: float | None) -> list[Figure]:
    """Draw regret and error of each predictor beside those of the baselines that learn from the same rows.

    One pair of figures per ladder and source of learning; the best predictors first. ``floor`` (points) is the noise
    floor of the median tuned score.
    """
    figures = []
    several = prediction["family"].nunique() > 1
    known = prediction.dropna(subset=["regret", "error"])
    known = known[known["verdict"] != TOO_LITTLE]
    annealings = known.groupby("family")["annealed"].nunique()
    for values, group in known.groupby(["family", "annealed", "learns_from"], sort=False):
        family, annealed, source = map(str, values)
        apart = f", {annealed}" if annealings[family] > 1 else ""
        for measure, words in (
            ("regret", "points lost by stopping where it says"),
            ("error", "mean absolute error, points"),
        ):
            rows = records(group.sort_values([measure, "predictor"], kind="stable").head(MOST_ROWS))
            names = tuple(_name(row) for row in rows)
            curves = [Curve(name=_name_kind(better=better), state="tuned", colour=0 if better else -1, shape=0,
                            points=tuple(_place(row, measure) for row in rows if (row["verdict"] == BETTER) == better))
                      for better in (True, False)]  # fmt: skip
            for ending, name, shape in BASELINES:
                points = tuple(
                    _place(row, measure, ending, name) for row in rows if not is_null(row[f"{measure}_{ending}"])
                )
                curves.append(Curve(name=f"baseline: {name}", state="base", colour=-1, shape=shape, points=points))
            curves = [curve for curve in curves if curve.points]
            drawn = [point.value for curve in curves for point in curve.points]
            left_out = len(group) - len(rows)
            of = f" ({family}{apart})" if several or apart else ""
            chart = Dots(
                title=f"{measure.capitalize()} when learning from {source}{of}",
                subtitle=f"mean over {max(int(row['tasks']) for row in rows)} tasks"
                + (f"; {left_out} further predictors are in the table" if left_out else ""),
                rows=names, curves=tuple(curves), axis=build_value_axis(drawn, from_zero=True), unit=words,
                floor=floor,
            )  # fmt: skip
            name = name_file("prediction", measure, source.partition(" ")[0], family if several else "", apart)
            figures.append(Figure(name=name, chart=chart, data=group, legend=True))
    return figures


def _name_kind(*, better: bool) -> str:
    return "predictor, better than every baseline" if better else "predictor, not shown to be better"


def _name(row: Mapping[str, Any]) -> str:
    return str(row["predictor"]).replace("_", " ")


def _place(row: Mapping[str, Any], measure: str, ending: str = "", name: str = "") -> Point:
    value = scaled(row[f"{measure}_{ending}" if ending else measure], 100)
    what = f"{name}, on the same rows" if ending else str(row["verdict"])
    hover = f"{_name(row)}\n{what}\n{measure} {write_number(value)} points"
    return Point(checkpoint=_name(row), value=value, low=math.nan, high=math.nan, hover=hover)


def draw_soundness(flags: pd.DataFrame, colours: Colours) -> list[Figure]:
    """Draw each flagged score against what it was held against: the first :data:`MOST_ROWS`, unsound ones first."""
    if flags.empty:
        return []
    ordered = flags.sort_values("severity", key=lambda names: names != "unsound", kind="stable")
    several = flags["family"].nunique() > 1
    found, expected = [], []
    names: list[str] = []
    for row in records(ordered.head(MOST_ROWS)):
        told = [str(row["eval_task"]), str(row["state"]), str(row["family"]) if several else ""]
        name = ", ".join(text for text in told if text)
        name = name if name not in names else f"{name} ({sum(other.startswith(name) for other in names) + 1})"
        names.append(name)
        scale = points_per_unit(str(row["metric"]))
        hover = f"{name}\n{row['flag']} ({row['severity']})\n{row['evidence']}\nat {_shorten(str(row['checkpoints']))}"
        value, level = scaled(row["value"], scale), scaled(row["expected"], scale)
        found.append((row["severity"], Point(checkpoint=name, value=value, low=math.nan, high=math.nan,
                      hover=f"{hover}\n{write_number(value)}", runs=split_runs(row["runs"]))))  # fmt: skip
        if math.isfinite(level):
            expected.append(Point(checkpoint=name, value=level, low=math.nan, high=math.nan,
                                  hover=f"{hover}\nheld against {write_number(level)}"))  # fmt: skip
    curves = [
        Curve(name=f"score, {severity}", state="tuned", colour=1 if severity == "unsound" else 4, shape=shape,
              points=tuple(point for kind, point in found if kind == severity))
        for shape, severity in enumerate(("unsound", "doubtful"))
    ]  # fmt: skip
    curves.append(Curve(name="what it was held against", state="base", colour=-1, shape=2, points=tuple(expected)))
    left_out = len(flags) - len(names)
    chart = Dots(
        title="Scores that should not be believed",
        subtitle="hover for the reason" + (f"; {left_out} further flags are in the table" if left_out else ""),
        rows=tuple(names), curves=tuple(curve for curve in curves if curve.points),
        axis=build_value_axis([], share=True), unit="accuracy, %",
    )  # fmt: skip
    return [Figure(name="soundness", chart=chart, data=ordered, legend=True)]


def _shorten(names: str) -> str:
    parts = names.split(", ")
    return names if len(parts) <= 4 else f"{', '.join(parts[:3])} and {len(parts) - 3} more"


def draw_noise(noise: pd.DataFrame, colours: Colours) -> list[Figure]:
    """Draw the noise floor of each task's own curves, per family: base and tuned, largest first."""
    known = noise.dropna(subset=["smallest_difference"])
    known = known[known["metric"].map(lambda name: points_per_unit(str(name)) == 100).astype(bool)]
    own = (known["state"] == "base") | (known["train_task"] == known["eval_task"]).fillna(False).astype(bool)
    known = known[own].sort_values("checkpoints", ascending=False, kind="stable")
    several = noise["family"].nunique() > 1
    figures = []
    for family, group in known.groupby("family", sort=True):
        largest = group.groupby("eval_task")["smallest_difference"].max().sort_values(ascending=False, kind="stable")
        names = [str(name) for name in largest.index[:MOST_ROWS]]
        curves = []
        for state, words in (("base", "before fine-tuning"), ("tuned", "after fine-tuning")):
            part = group[(group["state"] == state) & group["eval_task"].isin(names)].drop_duplicates("eval_task")
            points = [
                Point(checkpoint=str(row["eval_task"]), value=float(row["smallest_difference"]) * 100, low=math.nan,
                      high=math.nan, hover=f"{row['eval_task']}, {words}\n"
                      f"{write_number(float(row['smallest_difference']) * 100)} points\nruns: {row['run_basis']}")
                for row in records(part)
            ]  # fmt: skip
            curves.append(Curve(name=words, state=state, colour=0, shape=0, points=tuple(points)))
        values = [point.value for curve in curves for point in curve.points]
        left_out = len(largest) - len(names)
        chart = Dots(
            title="Noise floors" + (f" ({family})" if several else ""),
            subtitle="the smallest difference that noise alone exceeds only 1 time in 20"
            + (f"; {left_out} further tasks are in the table" if left_out else ""),
            rows=tuple(names), curves=tuple(curve for curve in curves if curve.points),
            axis=build_value_axis(values, from_zero=True), unit="points",
        )  # fmt: skip
        name = name_file("noise", family if several else "")
        figures.append(Figure(name=name, chart=chart, data=group, legend=True))
    return figures
