"""From the tables of the analyses to the figures of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.analysis.reading import BOTH, FINE_TUNING, NEITHER, PRETRAINING, UNDECIDED
from pretune.report.axes import LadderAxis, build_value_axis
from pretune.report.charts import Figure, name_file
from pretune.report.curves import build_curve, collect, records, scaled, split_runs
from pretune.report.floors import TWO_SCORES, Floors, floor_of_intervals
from pretune.report.matrix import Matrix, MatrixCell
from pretune.report.overlays import name_source
from pretune.report.overview import Overview, OverviewRow
from pretune.report.palette import COLOURS
from pretune.report.panels import Curve, Panel
from pretune.report.views import say_difference
from pretune.report.wording import is_null

Ladders = Mapping[str, LadderAxis]
Colours = Mapping[str, int]

MOST_OVERVIEW = 24
MOST_MATRIX = 24
ORDER = (PRETRAINING, BOTH, FINE_TUNING, NEITHER, UNDECIDED)

TASK_DATA = [
    "family", "checkpoint", "step", "tokens", "annealed", "train_task", "eval_task", "setting", "metric", "lr", "seeds",
    "base", "base_low", "base_high", "tuned", "tuned_low", "tuned_high", "gain", "gain_low", "gain_high", "baseline",
    "base_runs", "tuned_runs",
]  # fmt: skip
SPANNED = ("base", "base_low", "base_high", "tuned", "tuned_low", "tuned_high", "baseline")


def draw_overview(dichotomy: pd.DataFrame, colours: Colours) -> list[Figure]:
    """Draw what pre-training moved and what fine-tuning added, one row per task of a dichotomy, alike classes together.

    A task that has annealed and un-annealed checkpoints is one row: the ladder with more checkpoints gives it, the
    other one is a ring.
    """
    known = dichotomy.dropna(subset=["base_end"])
    if known.empty:
        return []
    keys = ["family", "eval_task", "setting"]
    ordered = known.sort_values("checkpoints", ascending=False, kind="stable")
    rows = ordered.drop_duplicates(keys)
    aside = {tuple(row[key] for key in keys): row for row in records(ordered[ordered["annealed"] == "annealed"])}
    rows = rows.sort_values(["family", "eval_task"], kind="stable")
    rows = rows.sort_values("class", key=lambda names: names.map(ORDER.index), kind="stable")
    several = rows["family"].nunique() > 1
    drawn = []
    for row in records(rows.head(MOST_OVERVIEW)):
        annealed = aside.get(tuple(row[key] for key in keys))
        annealed = None if annealed is None or row["annealed"] == "annealed" else annealed
        base_noise, tuned_noise = (scaled(row[f"{state}_noise_sd"], 100) for state in ("base", "tuned"))
        drawn.append(OverviewRow(
            name=str(row["eval_task"]) + (f" ({row['family']})" if several else "")
            + (f" [{row['setting']}]" if row["setting"] else ""),
            colour=colours.get(str(row["eval_task"]), 0), reading=f"{row['class']} – {row['because']}",
            first=scaled(row["base_first"], 100), last=scaled(row["base_end"], 100),
            tuned=scaled(row["tuned_end"], 100), baseline=scaled(row["baseline"], 100),
            rise_floor=TWO_SCORES * base_noise, gain_floor=1.96 * math.hypot(base_noise, tuned_noise),
            annealed_base=scaled(annealed["base_end"], 100) if annealed else math.nan,
            annealed_tuned=scaled(annealed["tuned_end"], 100) if annealed else math.nan,
            base_runs=split_runs(row["base_runs"]), tuned_runs=split_runs(row["tuned_runs"]),
        ))  # fmt: skip
    chart = Overview(title="What pre-training moved, what fine-tuning added", rows=tuple(drawn),
                     left_out=max(len(rows) - MOST_OVERVIEW, 0))  # fmt: skip
    return [Figure(name="overview", chart=chart, data=known)]


def draw_tasks(
    rows: pd.DataFrame,
    ladders: Ladders,
    colours: Colours,
    floors: Floors,
    trends: pd.DataFrame,
    overlays: Mapping[str, tuple[str, ...]],
    *,
    prefix: str,
) -> list[Figure]:
    """Draw one panel per (family, evaluated task, training task) of some rows of a headline: base and tuned.

    The vertical axis is 0 to 100 for accuracy and exact match; panels of any other metric share one axis. Shaded: the
    interval in which the plateau of the tuned curve begins, or of the base curve of a task that was not trained on.
    ``overlays`` names, for a family, the published ones that are drawn with it (dotted, crosses).
    """
    figures = []
    limits = {
        metric: build_value_axis(
            collect(group, SPANNED, str(metric)),
            share=metric in ("accuracy", "exact_match"),
            from_zero=metric == "rouge_l",
        )
        for metric, group in rows.groupby("metric", sort=False)
    }
    several = rows["family"].nunique() > 1
    panels = rows.groupby(["family", "eval_task", "train_task"], dropna=False, sort=False)
    for (family, task, training), group in panels:
        metric = str(group["metric"].iloc[0])
        trained = None if is_null(training) else str(training)
        subtitle = label_metric(metric)
        if trained is None:
            subtitle += " · not fine-tuned on"
        elif trained != task:
            subtitle += f" · trained on {trained}"
        level = group["baseline"].dropna().astype(float)
        panel = Panel(
            title=f"{task} ({family})" if several else str(task),
            subtitle=subtitle,
            curves=(
                *_base_and_tuned(group, metric, colours.get(str(task), 0)),
                *_published(rows, overlays.get(str(family), ()), str(task), trained, metric, colours.get(str(task), 0)),
            ),
            ladder=ladders[str(family)],
            axis=limits[metric],
            level=float(level.mean()) * points_per_unit(metric) if len(level) else None,
            digits=1 if points_per_unit(metric) == 100 else 3,
            floor=_largest_floor(group, floors),
            span=_find_onset(trends, str(family), str(task), trained),
            span_label="levels off",
        )
        name = name_file(prefix, family if several else "", task, "" if trained == task else trained)
        tuned = [curve for curve in panel.curves if curve.state == "tuned"]
        figures.append(
            Figure(name=name, chart=panel, data=group[TASK_DATA], legend=len(panel.curves) > 2 or len(tuned) > 1)
        )
    return figures


def _published(
    rows: pd.DataFrame, families: tuple[str, ...], task: str, training: str | None, metric: str, colour: int
) -> list[Curve]:
    """Build the curves of published results of the same model, task and metric."""
    curves = []
    for family in families:
        own = rows[(rows["family"] == family) & (rows["eval_task"] == task) & (rows["metric"] == metric)]
        own = own[own["train_task"].isna()] if training is None else own[(own["train_task"] == training).fillna(False)]
        for state, words, shape in (("base", "before", -2), ("tuned", "after", -1)):
            known = own.dropna(subset=[state]).drop_duplicates("checkpoint")
            if len(known):
                name = f"published ({name_source(family)}), {words} fine-tuning"
                curves.append(build_curve(name, "published", known, state, metric=metric, colour=colour, shape=shape,
                                          runs=[f"{state}_runs"]))  # fmt: skip
    return curves


def _largest_floor(group: pd.DataFrame, floors: Floors) -> float | None:
    """Return the larger one of the noise floors of the base and the tuned curves of a panel."""
    curves = group[["family", "eval_task", "train_task", "setting"]].drop_duplicates()
    return floors.largest(
        floors.find(family=row["family"], state=state, task=row["eval_task"], training=row["train_task"],
                    setting=row["setting"])
        for row in records(curves) for state in ("base", "tuned")
    )  # fmt: skip


def _find_onset(trends: pd.DataFrame, family: str, task: str, training: str | None) -> tuple[str, str] | None:
    """Return the checkpoints between which the plateau of a curve begins, if exactly one curve has one."""
    own = trends[(trends["family"] == family) & (trends["eval_task"] == task) & (trends["shape"] == "plateau")]
    own = own[own["train_task"].isna()] if training is None else own[(own["train_task"] == training).fillna(False)]
    own = own.dropna(subset=["onset_after", "onset_by"])
    return (str(own["onset_after"].iloc[0]), str(own["onset_by"].iloc[0])) if len(own) == 1 else None


def _base_and_tuned(group: pd.DataFrame, metric: str, colour: int) -> tuple[Curve, ...]:
    base = group.dropna(subset=["base"]).drop_duplicates("checkpoint")
    curves = []
    if len(base):
        curves.append(build_curve("before fine-tuning", "base", base, "base", metric=metric, colour=colour,
                                  runs=["base_runs"]))  # fmt: skip
    tuned = group.dropna(subset=["tuned"])
    for number, (setting, part) in enumerate(tuned.groupby("setting", sort=False)):
        name = f"after fine-tuning ({setting!s})" if setting else "after fine-tuning"
        curves.append(build_curve(name, "tuned", part, "tuned", metric=metric, colour=colour, shape=number,
                                  runs=["tuned_runs"]))  # fmt: skip
    return tuple(curves)


def draw_gains(rows: pd.DataFrame, ladders: Ladders, colours: Colours, gains: pd.DataFrame) -> list[Figure]:
    """Draw, per family, what fine-tuning adds at each checkpoint: one curve per task trained on, in points.

    The band about zero is the noise floor of the median task of ``gains``.
    """
    shares = rows["metric"].map(lambda name: points_per_unit(str(name)) == 100).astype(bool)
    known = rows[shares & rows["gain"].notna()]
    figures = []
    several = known["family"].nunique() > 1
    for family, group in known.groupby("family", sort=False):
        curves = []
        for number, ((task, setting), part) in enumerate(group.groupby(["eval_task", "setting"], sort=True)):
            label = str(task) + (f" [{setting}]" if setting else "")
            curves.append(build_curve(
                f"gain on {label}", "tuned", part, "gain", metric="accuracy", colour=colours.get(str(task), 0),
                shape=number, runs=["base_runs", "tuned_runs"], label=label, signed=True,
            ))  # fmt: skip
        values = collect(group, ("gain", "gain_low", "gain_high"), "accuracy")
        noise = gains.loc[(gains["family"] == family) & (gains["relation"] == "in_domain"), "noise_sd"]
        noise = noise.dropna().astype(float)
        floor = float(noise.median()) * 196 if len(noise) else floor_of_intervals(group, ("gain",), 100 / math.sqrt(2))
        panel = Panel(
            title="What fine-tuning adds" + (f" ({family})" if several else ""),
            subtitle="tuned − base, points (for every metric from 0 to 100)",
            curves=tuple(curves), ladder=ladders[str(family)], axis=build_value_axis(values, from_zero=True),
            floor=floor,
            floor_label="noise floor of the median task",
            about_zero=True, width=780, height=340, right=_label_room(curves),
        )  # fmt: skip
        figures.append(Figure(name=name_file("gain", family if several else ""), chart=panel, data=group[TASK_DATA],
                              legend=True))  # fmt: skip
    return figures


def _label_room(curves: list[Curve]) -> float:
    return min(max(14 + 6.6 * max((len(curve.label) for curve in curves), default=0), 44.0), 240.0)


def draw_matrix(transfer: pd.DataFrame) -> list[Figure]:
    """Draw, per family, training task × evaluated task at the last checkpoint: tuned − base.

    ``transfer`` has ``p_holm`` and ``noise_sd`` beside each difference.
    """
    figures = []
    several = transfer["family"].nunique() > 1
    for family, own in transfer.groupby("family", sort=False):
        last = own[own["position"] == own["position"].max()]
        last = last[last["setting"] == last["setting"].iloc[0]]
        trained = sorted(str(name) for name in last["train_task"].unique())[:MOST_MATRIX]
        evaluated = sorted(str(name) for name in last["eval_task"].unique())[:MOST_MATRIX]
        cells = {(str(row["train_task"]), str(row["eval_task"])): _matrix_cell(row) for row in records(last)}
        setting = str(last["setting"].iloc[0])
        chart = Matrix(
            title=f"Transfer at {last['checkpoint'].iloc[0]}" + (f" ({family})" if several else ""),
            subtitle="tuned − base, points; rows: trained on, columns: evaluated on"
            + (f" · {setting}" if setting else ""),
            rows=tuple(trained), columns=tuple(evaluated),
            cells=tuple(tuple(cells.get((row, column)) for column in evaluated) for row in trained),
            note="* differs from zero (5 %, Holm) · grey: within the noise · outlined: the task trained on, its twins",
        )  # fmt: skip
        figures.append(Figure(name=name_file("transfer", family if several else ""), chart=chart, data=last))
    return figures


def _matrix_cell(row: Mapping[str, object]) -> MatrixCell:
    told = say_difference(row, "difference", points=points_per_unit(str(row["metric"])) == 100,
                          higher_is_better=bool(row["higher_is_better"]))  # fmt: skip
    shade = next((name for name in told.class_.split() if name.startswith(("up", "down"))), "")
    return MatrixCell(
        text=told.text, shade=shade, hover=told.hover, runs=told.runs, faint="faint" in told.class_.split(),
        outlined=row["relation"] in ("in_domain", "out_of_domain"),
    )  # fmt: skip


def draw_text_losses(forgetting: pd.DataFrame, ladders: Ladders, colours: Colours) -> list[Figure]:
    """Draw the loss on each pre-training text: the base model, and one curve per training."""
    figures = []
    several = forgetting["family"].nunique() > 1
    for (family, text), group in forgetting.groupby(["family", "eval_task"], sort=False):
        metric = str(group["metric"].iloc[0])
        base = group.dropna(subset=["base"]).drop_duplicates("checkpoint")
        curves = []
        if len(base):
            curves.append(build_curve("before", "base", base, "base", metric=metric, colour=-1, runs=["base_runs"]))
        tuned = group.dropna(subset=["tuned", "train_task"])
        for number, (labels, part) in enumerate(tuned.groupby(["train_task", "setting"], sort=False)):
            name = "after " + ", ".join(str(label) for label in labels if label)
            colour = colours.get(str(labels[0]), number % COLOURS)
            curves.append(build_curve(name, "tuned", part, "tuned", metric=metric, colour=colour, shape=number,
                                      runs=["tuned_runs"]))  # fmt: skip
        panel = Panel(
            title=f"{text} ({family})" if several else str(text),
            subtitle=label_metric(metric) + ", before and after fine-tuning",
            curves=tuple(curves), ladder=ladders[str(family)],
            axis=build_value_axis(collect(group, SPANNED, metric)), digits=2,
            floor=floor_of_intervals(group, ("base", "tuned")),
        )  # fmt: skip
        name = name_file("loss", family if several else "", text)
        figures.append(Figure(name=name, chart=panel, data=group, legend=True))
    return figures


def draw_spreads(formats: pd.DataFrame, ladders: Ladders, colours: Colours, floors: Floors) -> list[Figure]:
    """Draw the spread over formats of each fine-tuned task, before and after."""
    rows = formats.dropna(subset=["spread"])
    tuned_tasks = set(rows.loc[rows["state"] == "tuned", "eval_task"])
    rows = rows[rows["eval_task"].isin(tuned_tasks)]
    rows = rows[rows["metric"].map(lambda name: points_per_unit(str(name)) == 100).astype(bool)]
    if rows.empty:
        return []
    axis = build_value_axis([float(v) * 100 for v in rows["spread"]], from_zero=True)
    several = rows["family"].nunique() > 1
    figures = []
    for (family, task), group in rows.groupby(["family", "eval_task"], sort=False):
        metric = str(group["metric"].iloc[0])
        colour = colours.get(str(task), 0)
        curves = [
            build_curve(_name_state(str(state), setting), str(state), part, "spread", metric=metric, colour=colour,
                        shape=max(number - 1, 0))
            for number, ((state, _, setting), part) in enumerate(
                group.groupby(["state", "train_format", "setting"], dropna=False, sort=False)
            )
        ]  # fmt: skip
        panel = Panel(
            title=f"{task} ({family})" if several else str(task),
            subtitle=f"best − worst of {int(group['formats'].max())} formats, points",
            curves=tuple(curves), ladder=ladders[str(family)], axis=axis,
            floor=floors.largest(
                floors.find(family=family, state=state, task=task, training=task, setting=setting)
                for state in ("base", "tuned") for setting in group["setting"].unique()
            ),
        )  # fmt: skip
        name = name_file("formats", family if several else "", task)
        figures.append(Figure(name=name, chart=panel, data=group, legend=len(curves) > 2))
    return figures


def _name_state(state: str, setting: object) -> str:
    name = "before fine-tuning" if state == "base" else "after fine-tuning"
    return f"{name} ({setting})" if setting else name
