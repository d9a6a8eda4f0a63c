"""Figures of overtraining: damage, scores with their peak, and best learning rates over pre-training; probes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.disturbed import PROBE
from pretune.analysis.metrics import SHARES, TEXT_METRICS, is_lower_better, label_metric, points_per_unit
from pretune.analysis.sensitivity import is_damage
from pretune.analysis.series import CURVE
from pretune.report.axes import LadderAxis, ValueAxis, build_rate_axis, build_value_axis
from pretune.report.charts import Figure, name_file
from pretune.report.curves import build_curve, collect, find_varied, name_training, records, say_place
from pretune.report.floors import Floors, floor_of_intervals
from pretune.report.palette import place_on_ramp
from pretune.report.panels import Curve, Panel, Point
from pretune.report.wording import is_null, write_number, write_p, write_rate

Ladders = Mapping[str, LadderAxis]
Colours = Mapping[str, int]

MOST_LABELS = 5
"""Curves that are named at their right end; more of them are told apart by the legend."""

WORSENS = "worsens after its peak"


def draw_sensitivity(damages: pd.DataFrame, ladders: Ladders, findings: pd.DataFrame) -> list[Figure]:
    """Draw the damage of each disturbance over pre-training: a panel per probe or training, a curve per size or rate.

    ``findings`` is the table of :func:`pretune.analysis.sensitivity.fit_sensitivity`, whose words name the curves.
    """
    verdicts = {_key(row, _DISTURBANCE): str(row["finding"]) for row in records(findings)}
    figures = []
    several = damages["family"].nunique() > 1
    by = ["family", "eval_task", "metric", "probe", "probe_variant", "state", "train_task", "arm"]
    arms = [", ".join(part for part in str(text).split(", ") if not part.startswith("lr=")) for text in
            damages["setting"].fillna("")]  # fmt: skip
    damages = damages.assign(arm=arms)
    for values, group in damages.groupby(by, dropna=False, sort=False):
        place = dict(zip(by, values, strict=True))
        of_noise = not is_null(place["probe"])
        size, metric = ("magnitude" if of_noise else "lr"), str(place["metric"])
        sizes = _rank(group[size])
        curves = []
        for value, part in group.groupby(size, dropna=False, sort=True):
            text = say_size(str(place["probe"]), value) if of_noise else f"lr {write_rate(value)}"
            finding = verdicts.get(_key(_speak(part), _DISTURBANCE), "")
            curves.append(_curve(
                f"{text}: {finding}" if finding else text, "tuned", part, "damage", metric=metric, runs=["runs"],
                colour=place_on_ramp(sizes.get(value, 0), len(sizes)), shape=sizes.get(value, 0),
                label=text if len(sizes) <= MOST_LABELS else "", signed=True,
            ))  # fmt: skip
        words = " ".join(str(place[name]) for name in ("probe", "probe_variant") if not is_null(place[name]))
        trained = "" if is_null(place["train_task"]) else str(place["train_task"])
        if of_noise:
            title = words + (f" after {trained}" if trained else "")
        else:
            title = f"fine-tuning on {trained}" + (f" [{place['arm']}]" if place["arm"] else "")
        subject = "" if is_null(place["eval_task"]) else f" · on {place['eval_task']}"
        subject = ("" if of_noise else "rise of the ") + label_metric(metric) + subject
        figures.append(_panel(
            name_file("sensitivity", place["family"] if several else "", words or "fine-tuning", trained,
                      place["arm"], place["eval_task"], metric),
            title + (f" ({place['family']})" if several else ""), subject, curves,
            group.drop(columns="arm"), ladders[str(place["family"])],
            axis=build_value_axis(collect(group, ("damage", "damage_low", "damage_high"), metric), from_zero=True),
            floor=floor_of_intervals(group, ("damage",), points_per_unit(metric)), about_zero=True,
        ))  # fmt: skip
    return figures


def draw_inflections(
    curves: pd.DataFrame, ladders: Ladders, colours: Colours, floors: Floors, findings: pd.DataFrame
) -> list[Figure]:
    """Draw base, tuned and disturbed scores over pre-training with the best checkpoint of each and the verdict.

    One panel per task and measure for its own training; for text, one per training; for a probe, one per variant. A
    triangle points at the best checkpoint, filled where the curve is shown to get worse after it; shaded: where it
    turns. ``findings`` is the table of :func:`pretune.analysis.inflections.find_inflections`.
    """
    verdicts = {_key(row, _INFLECTED): row for row in records(findings)}
    work = curves.reset_index(drop=True)
    work["setting"] = work["setting"].fillna("")
    disturbed = work["probe"].notna()
    work = work[~disturbed | work["metric"].isin(SCORES)]
    undisturbed = work[work["probe"].isna()]
    own = (undisturbed["train_task"] == undisturbed["eval_task"]).fillna(False).astype(bool)
    text = (undisturbed["relation"] == "pretraining").fillna(False).astype(bool)
    tuned = undisturbed[(undisturbed["state"] == "tuned") & (own | text)]
    panels: list[tuple[dict[str, Any], pd.DataFrame]] = []
    by = ["family", "eval_task", "metric", "train_task"]
    panels += [(dict(zip(by, key, strict=True)), part) for key, part in tuned.groupby(by, sort=False, dropna=False)]
    base = undisturbed[undisturbed["state"] == "base"]
    covered = {(str(place["family"]), str(place["eval_task"])) for place, _ in panels}
    for key, part in base.groupby(by[:3], sort=False, dropna=False):
        if (str(key[0]), str(key[1])) not in covered:
            panels.append((dict(zip(by[:3], key, strict=True)), part.head(0)))
    by = ["family", "eval_task", "metric", "probe", "probe_variant", "state", "train_task", "lr"]
    noisy = work[work["probe"].notna() & (work["probe"] != "format").fillna(True)]  # wordings disturb no weights
    panels += [(dict(zip(by, key, strict=True)), part) for key, part in noisy.groupby(by, sort=False, dropna=False)]
    several = curves["family"].nunique() > 1
    return [_draw_inflection(place, part, base, ladders, colours, floors, verdicts, several) for place, part in panels]


def _draw_inflection(
    place: Mapping[str, Any], part: pd.DataFrame, base: pd.DataFrame, ladders: Ladders, colours: Colours,
    floors: Floors, verdicts: Mapping[tuple[str, ...], dict[str, Any]], several: bool,
) -> Figure:  # fmt: skip
    family, task, metric = str(place["family"]), str(place["eval_task"]), str(place["metric"])
    probe, training = place.get("probe"), place.get("train_task")
    before = base[(base["family"] == family) & (base["eval_task"] == task) & (base["metric"] == metric)]
    before = before if is_null(training) or is_null(probe) else before.head(0)
    before = before.drop_duplicates("checkpoint")
    of_noise = not is_null(probe)
    if of_noise and (part["magnitude"] == 0).any():
        before = part[(part["magnitude"] == 0).fillna(False).astype(bool)]
        part = part[~part.index.isin(before.index)]
    size = "magnitude" if of_noise else "setting"
    drawn: list[tuple[pd.DataFrame, str, str, int, int]] = []
    turns: list[tuple[str, str, str]] = []
    if len(before):
        drawn.append((before, "before fine-tuning" if not of_noise else "undisturbed", "base", -1, 0))
    if len(part):
        sizes = _rank(part[size]) if of_noise else {v: i for i, v in enumerate(dict.fromkeys(part[size]))}
        for value, rows in part.groupby(size, dropna=False, sort=of_noise):
            rank = sizes.get(value, 0)
            name = say_size(str(probe), value) if of_noise else f"after ({value!s})" if value else "after fine-tuning"
            one = len(sizes) == 1 and not of_noise
            colour = colours.get(str(training), 0) if one else place_on_ramp(rank, len(sizes))
            drawn.append((rows, name, "tuned", colour, rank))
    curves = []
    for rows, name, state, colour, shape in drawn:
        verdict = verdicts.get(_key(_speak(rows), _INFLECTED), {})
        finding = str(verdict.get("finding", "not enough data"))
        p = "" if is_null(verdict.get("p_holm")) else f" (p {write_p(verdict['p_holm'])})"
        curve = _curve(f"{name}: {finding}{p}", state, rows, "value", bounds=("low", "high"), metric=metric,
                       colour=colour, shape=shape, runs=["runs"])  # fmt: skip
        caret = "filled" if finding == WORSENS else "open"
        points = tuple(
            replace(point, caret=caret, hover=f"{point.hover}\nbest checkpoint")
            if point.checkpoint == str(verdict.get("peak")) and len(curve.points) > 1 else point
            for point in curve.points
        )  # fmt: skip
        curves.append(replace(curve, points=points, downwards=is_lower_better(metric)))
        if finding == WORSENS and not is_null(verdict.get("inflection_after")):
            turns.append((name, str(verdict["inflection_after"]), str(verdict["inflection_by"])))
    whole = pd.concat([before, part]) if len(before) and len(part) else part if len(part) else before
    words = " ".join(str(place[name]) for name in ("probe", "probe_variant") if not is_null(place.get(name)))
    about = [words, "" if is_null(training) or training == task else f"trained on {training}",
             "" if is_null(place.get("lr")) else f"lr {write_rate(place['lr'])}"]  # fmt: skip
    floor = floors.largest(
        floors.find(family=family, state=str(row["state"]), task=task, training=row["train_task"],
                    setting=row["setting"])
        for row in records(whole[["state", "train_task", "setting"]].drop_duplicates())
    )  # fmt: skip
    scale = points_per_unit(metric)
    span_label = "turns here" if len(turns) < 2 else f"{turns[-1][0]} turns here"
    return _panel(
        name_file("inflection", family if several else "", task, metric, words,
                  "" if is_null(training) or training == task else training, place.get("lr")),
        f"{task} ({family})" if several else task,
        " · ".join([label_metric(metric), *(text for text in about if text)]), curves, whole, ladders[family],
        axis=build_value_axis(collect(whole, ("value", "low", "high"), metric)),
        floor=floor or floor_of_intervals(whole.rename(columns={"low": "value_low", "high": "value_high"}), ("value",),
                                          scale),
        span=turns[-1][1:] if turns else None, span_label=span_label,
    )  # fmt: skip


SCORES = frozenset({*SHARES, *TEXT_METRICS, "target_loss"})
"""Metrics of probes that are scores of the disturbed model."""


def draw_probes(curves: pd.DataFrame, ladders: Ladders) -> list[Figure]:
    """Draw what probes measure that is neither a damage nor a score: sharpness, representations, errors of weights."""
    rows = curves[curves["probe"].notna()]
    rows = rows[~is_damage(rows["metric"]) & ~rows["metric"].isin(SCORES)]
    several = rows["family"].nunique() > 1
    figures = []
    by = ["family", "probe", "metric", "eval_task", "state", "train_task", "lr"]
    for values, group in rows.groupby(by, dropna=False, sort=False):
        place, metric = dict(zip(by, values, strict=True)), str(values[2])
        kinds = list(group[["probe_variant", "magnitude"]].drop_duplicates().itertuples(index=False, name=None))
        kinds.sort(key=lambda kind: (_natural(kind[0]), -math.inf if is_null(kind[1]) else float(kind[1])))
        drawn = []
        for rank, (variant, magnitude) in enumerate(kinds):
            same = group["probe_variant"].isna() if is_null(variant) else group["probe_variant"] == variant
            equal = group["magnitude"].isna() if is_null(magnitude) else group["magnitude"] == magnitude
            part = group[(same & equal).fillna(False).astype(bool)]
            probe = "" if metric == "critical_noise" else str(place["probe"])  # its size is a rise of the loss
            sized = [say_size(probe, magnitude)] if not is_null(magnitude) else []
            text = ", ".join([*([] if is_null(variant) else [str(variant)]), *sized]) or str(place["probe"])
            drawn.append(_curve(
                text, "base" if place["state"] == "base" else "tuned", part, "value", bounds=("low", "high"),
                metric=metric, runs=["runs"], colour=place_on_ramp(rank, len(kinds)), shape=rank,
                label=text if 1 < len(kinds) <= MOST_LABELS else "",
            ))  # fmt: skip
        trained = "" if is_null(place["train_task"]) else f"after {place['train_task']}"
        rate = "" if is_null(place["lr"]) else f"lr {write_rate(place['lr'])}"
        subject = "" if is_null(place["eval_task"]) else f"on {place['eval_task']}"
        scale = points_per_unit(metric)
        bounds = group.rename(columns={"low": "value_low", "high": "value_high"})
        figures.append(_panel(
            name_file("probe", place["family"] if several else "", *values[1:]),
            label_metric(metric) + (f" ({place['family']})" if several else ""),
            " · ".join(text for text in (str(place["probe"]), subject, trained, rate) if text), drawn, group,
            ladders[str(place["family"])],
            axis=build_value_axis(collect(group, ("value", "low", "high"), metric)),
            floor=floor_of_intervals(bounds, ("value",), scale),
        ))  # fmt: skip
    return figures


def draw_rates(best: pd.DataFrame, ladders: Ladders, colours: Colours, findings: pd.DataFrame) -> list[Figure]:
    """Draw the best learning rate over pre-training, one panel per family and a curve per training.

    Bars reach to the neighbouring rates of the grid; a small mark lies at its edge, where the optimum may lie beyond.
    """
    by = ["family", "annealed", "train_task", *SETTING]
    verdicts = {_key(row, by): str(row["finding"]) for row in records(findings)}
    told = find_varied(best)
    figures = []
    several = best["family"].nunique() > 1
    for family, group in best.groupby("family", sort=False):
        known = pd.concat([group[name].dropna() for name in ("best", "below", "above")]).astype(float)
        at_grid = [
            *group.loc[group["at_edge"].astype(bool), "best"],
            *group["below"].dropna(),
            *group["above"].dropna(),
        ]
        axis = build_rate_axis(float(rate) for rate in at_grid)
        axis = replace(axis, low=min(axis.low, math.log2(known.min())), high=max(axis.high, math.log2(known.max())))
        drawn = []
        trainings = group.groupby(["train_task", *told], sort=False, dropna=False)
        for shape, (values, part) in enumerate(trainings):
            label = name_training(values)
            finding = ", ".join(dict.fromkeys(
                verdicts.get(_key(row, by), "") for row in records(part.drop_duplicates("annealed"))
            ))  # fmt: skip
            points = [_place_rate(row, label) for row in records(part.sort_values("position", kind="stable"))]
            drawn.append(Curve(
                name=f"{label}: {finding}", state="tuned", colour=colours.get(str(values[0]), 0), shape=shape,
                points=tuple(points), label=label if len(trainings) <= MOST_LABELS else "",
            ))  # fmt: skip
        figures.append(_panel(
            name_file("rates", family if several else ""),
            "Best learning rate" + (f" ({family})" if several else ""), "on validation rows, logarithmic", drawn,
            group, ladders[str(family)], axis=axis, bars=True, width=780.0, height=320.0,
        ))  # fmt: skip
    return figures


def _place_rate(row: Mapping[str, Any], label: str) -> Point:
    best = math.log2(row["best"])
    low, high = (best if is_null(row[name]) else math.log2(row[name]) for name in ("below", "above"))
    lines = [
        label,
        say_place(row),
        f"best rate {write_rate(row['best'])} of {int(row['tried'])} tried, by {row['evidence']}",
    ]
    if row["at_edge"]:
        lines.append("at the edge of the grid: the optimum may lie beyond")
    else:
        lines.append(f"between {write_rate(row['below'])} and {write_rate(row['above'])}")
    return Point(checkpoint=str(row["checkpoint"]), value=best, low=low, high=high, hover="\n".join(lines),
                 minor=bool(row["at_edge"]), annealed=row["annealed"] == "annealed")  # fmt: skip


_DISTURBANCE = ("family", "annealed", "state", "train_task", "setting", "lr", "eval_task", *PROBE, "metric")
_INFLECTED = (*CURVE, *PROBE)


def _key(row: Mapping[str, Any] | pd.Series, names: Iterable[str]) -> tuple[str, ...]:
    return tuple("" if is_null(row.get(name)) else str(row[name]) for name in names)


def _speak(rows: pd.DataFrame) -> pd.Series:
    """Return a row of the ladder that speaks for a curve: of annealed and un-annealed checkpoints the more numerous."""
    counts = rows.groupby("annealed", sort=False)["checkpoint"].transform("size")
    first: pd.Series = rows.loc[counts == counts.max()].iloc[0]
    return first


def _rank(values: pd.Series) -> dict[Any, int]:
    return {value: index for index, value in enumerate(sorted(values.dropna().unique()))}


def _natural(text: object) -> tuple[str, float]:
    """Sort key that puts "layer:10" after "layer:2"."""
    name, _, number = ("" if is_null(text) else str(text)).partition(":")
    return name, float(number) if number.replace(".", "", 1).isdigit() else -1.0


def say_size(probe: str, value: object) -> str:
    """Write the size of a disturbance as its probe means it: γ of noise, α of a line, bits."""
    if is_null(value):
        return probe
    sign = {"gaussian": "γ", "interpolate": "α"}.get(probe)
    number = f"{float(value):g}"  # type: ignore[arg-type]
    return f"{sign} {number}" if sign else f"{number} bits" if probe == "quantize" else f"size {number}"


def _curve(name: str, state: str, rows: pd.DataFrame, column: str, **options: Any) -> Curve:
    """Build a curve from rows whose ``annealed`` is in words."""
    return build_curve(name, state, rows.assign(annealed=rows["annealed"] == "annealed"), column, **options)


def _panel(
    name: str, title: str, subtitle: str, curves: Sequence[Curve], data: pd.DataFrame, ladder: LadderAxis, *,
    axis: ValueAxis, **options: Any,
) -> Figure:  # fmt: skip
    """Build a panel with its legend, and room for the labels at its right edge."""
    digits = int(options.pop("digits", 3 if max(abs(axis.low), abs(axis.high)) < 10 else 1))
    ends = [write_number(curve.points[-1].value, digits, signed=True) for curve in curves if curve.points]
    labels = [curve.label for curve in curves if curve.label] or (ends if len(curves) <= 3 else [])
    room = min(max(12 + 7.3 * max(map(len, labels), default=0), 44.0), 200.0)
    panel = Panel(title=title, subtitle=subtitle, curves=tuple(curves), ladder=ladder, axis=axis, right=room,
                  digits=digits, **options)  # fmt: skip
    return Figure(name=name, chart=panel, data=data, legend=True)
