"""Tables as the page shows them: formatted cells with a sort value, a class and a hover text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pretune.analysis.formats import FORMAT_PREFIX
from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.report.curves import records, split_runs
from pretune.report.wording import (
    is_null,
    shorten,
    write_count,
    write_interval,
    write_number,
    write_rate,
    write_text,
)

MOST_OPTIONS = 9
MOST_ROWS = 500
POINT_LEVELS = (2.0, 5.0, 10.0, 20.0)
LOSS_LEVELS = (0.02, 0.1, 0.3, 1.0)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its text, the value it sorts by, its classes, what hovering shows, run ids folded away."""

    text: str
    sort: str = ""
    class_: str = ""
    hover: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class View:
    """A table: its caption (an option of a select when there are several), heads and rows; first cells are heads.

    ``total``: how many rows there are, when not all of them are shown. ``hints``: what hovering a head shows.
    ``aside``: which columns are left out on paper, where there is less room.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int = 0
    hints: tuple[str, ...] = ()
    aside: tuple[bool, ...] = ()

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, and so are set to the right."""
        return tuple(
            any(row[index].class_.startswith("number") for row in self.rows[:50]) for index in range(len(self.heads))
        )


def shade(value: float, *, better: bool, levels: tuple[float, ...] = POINT_LEVELS) -> str:
    """Return the class of a difference: ``up1`` … ``up4`` when it is for the better, ``down1`` … for the worse."""
    level = int(np.searchsorted(levels, abs(value), side="right"))
    return "" if level == 0 else f"{'up' if better else 'down'}{level}"


def say_difference(row: Mapping[str, object], column: str, *, points: bool, higher_is_better: bool) -> Cell:
    """Show a difference with its sign: starred when it is clear, faint when it is within the noise.

    Clear is what differs from zero after correction (``p_holm``), where the row has it; else what has an interval
    without zero. Within the noise is what is smaller than 1.96 × ``noise_sd`` (in the units of the table).
    """
    value = row[column]
    if is_null(value):
        return Cell(text="–", class_="absent")
    number = float(value)  # type: ignore[arg-type]
    digits, unit = (1, "points") if points else (2, label_metric(str(row["metric"])).partition(", ")[2])
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    interval = write_interval(low, high, digits)
    clear = not is_null(low) and not is_null(high) and (float(low) > 0 or float(high) < 0)  # type: ignore[arg-type]
    if not is_null(row.get("p_holm")):
        clear = float(row["p_holm"]) < 0.05  # type: ignore[arg-type]
    noise = _times(row.get("noise_sd"), points_per_unit(str(row["metric"])))
    faint = noise is not None and abs(number) < 1.96 * noise
    scale = points_per_unit(str(row["metric"]))
    before, after = (write_number(_times(row[name], scale), digits) for name in ("base", "tuned"))
    hover = f"{row['train_task']} → {row['eval_task']}, {row['checkpoint']}\n{before} → {after} {unit}".rstrip()
    hover += f"\ndifference {write_number(number, digits, signed=True)}" + (f" (95 %: {interval})" if interval else "")
    classes = shade(number, better=(number > 0) == higher_is_better, levels=POINT_LEVELS if points else LOSS_LEVELS)
    return Cell(
        text=write_number(number, digits, signed=True) + ("*" if clear else ""),
        sort=repr(number),
        class_=" ".join(["number", "diff", *(["clear"] * clear), *(["faint"] * faint), *([classes] * bool(classes))]),
        hover=hover,
        runs=split_runs(row["base_runs"], row["tuned_runs"]),
    )


def _times(value: object, scale: float) -> float | None:
    return None if is_null(value) else float(value) * scale  # type: ignore[arg-type]


def _options(rows: pd.DataFrame, keys: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """Split into at most :data:`MOST_OPTIONS` captioned parts in the order of pre-training, the last one kept."""
    several = rows["family"].nunique() > 1
    parts = []
    for values, part in rows.groupby(keys, dropna=False, sort=False):
        first = part.iloc[0]
        caption = str(first["checkpoint"])
        if not is_null(first["tokens"]):
            caption += f" ({shorten(first['tokens'])} tokens)"
        named = dict(zip(keys, values, strict=True))
        prefix = [str(first["family"])] if several else []
        suffix = [str(named["setting"])] if named.get("setting") else []
        order = (str(first["family"]), str(named.get("setting", "")), int(first["position"]))
        parts.append((order, ", ".join([*prefix, caption, *suffix]), part))
    parts.sort(key=lambda item: item[0])
    if len(parts) > MOST_OPTIONS:
        places = sorted({round(index) for index in np.linspace(0, len(parts) - 1, MOST_OPTIONS)})
        parts = [parts[index] for index in places]
    return [(caption, part) for _, caption, part in parts]


def view_transfer(transfer: pd.DataFrame) -> list[View]:
    """Lay out train_task × eval_task for each checkpoint and setting; own and out-of-domain tasks are outlined."""
    views = []
    for caption, part in _options(transfer, ["family", "checkpoint", "setting"]):
        evaluated = sorted(part["eval_task"].unique())
        rows = []
        for training, group in part.groupby("train_task", sort=True):
            cells = {str(row["eval_task"]): row for row in records(group)}
            line = [Cell(text=str(training))]
            for task in evaluated:
                if task not in cells:
                    line.append(Cell(text="–", class_="absent"))
                    continue
                row = cells[task]
                cell = say_difference(row, "difference", points=points_per_unit(str(row["metric"])) == 100,
                                   higher_is_better=bool(row["higher_is_better"]))  # fmt: skip
                own = " own" if row["relation"] in ("in_domain", "out_of_domain") else ""
                line.append(replace(cell, class_=cell.class_ + own))
            rows.append(tuple(line))
        heads = ("trained on ↓ evaluated on →", *(str(task) for task in evaluated))
        views.append(View(caption=caption, heads=heads, rows=tuple(rows)))
    return views


def view_changes(forgetting: pd.DataFrame) -> list[View]:
    """Lay out the change of the loss as training × checkpoint, one table per family and text."""
    rows = forgetting.dropna(subset=["train_task"])
    rows = rows[rows["change"].notna()]
    several = rows["family"].nunique() > 1
    views = []
    for (family, text), group in rows.groupby(["family", "eval_task"], sort=False):
        places = group.drop_duplicates("checkpoint").sort_values("position")["checkpoint"].tolist()
        keys = ["train_task", "setting"]
        lines = []
        for labels, part in group.groupby(keys, sort=True, dropna=False):
            cells = {str(row["checkpoint"]): row for row in records(part)}
            head = ", ".join(str(label) for label in labels if label)
            lines.append((Cell(text=head), *(
                say_difference(cells[place], "change", points=False, higher_is_better=False)
                if place in cells else Cell(text="–", class_="absent")
                for place in places
            )))  # fmt: skip
        caption = f"{text} ({family})" if several else str(text)
        unit = label_metric(str(group["metric"].iloc[0]))
        heads = ("trained on", *map(str, places))
        views.append(View(caption=f"{caption}: change of {unit}", heads=heads, rows=tuple(lines)))
    return views


def view_formats(formats: pd.DataFrame) -> list[View]:
    """Lay out, for each checkpoint, task and state × format, with the spread; the best format is marked."""
    names = [str(name) for name in formats.columns if str(name).startswith(FORMAT_PREFIX)]
    if len(names) < 2:
        return []
    views = []
    for caption, part in _options(formats, ["family", "checkpoint"]):
        lines = []
        for row in records(part):
            scale = points_per_unit(str(row["metric"]))
            digits = 1 if scale == 100 else 3
            state = str(row["state"]) if row["state"] == "base" else f"tuned in {write_text(row['train_format'])}"
            state += f", {row['setting']}" if row["setting"] else ""
            line = [Cell(text=str(row["eval_task"])), Cell(text=state)]
            for name in names:
                best = " best" if FORMAT_PREFIX + str(row["best"]) == name and row["formats"] != 1 else ""
                value = _times(row[name], scale)
                line.append(_number_cell(value, digits, class_=best))
            line.append(_number_cell(_times(row["spread"], scale), digits, class_=" strong"))
            lines.append(tuple(line))
        heads = ("task", "state", *(name.removeprefix(FORMAT_PREFIX) for name in names), "best − worst")
        views.append(View(caption=caption, heads=heads, rows=tuple(lines)))
    return views


def _number_cell(value: float | None, digits: int, *, class_: str = "", hover: str = "") -> Cell:
    return Cell(text=write_number(value, digits), sort=_sort(value), class_=f"number{class_}", hover=hover)


def view_headline(headline: pd.DataFrame) -> View:
    """Show the headline, rows of trained tasks first, at most :data:`MOST_ROWS` of them."""
    own = (headline["train_task"] == headline["eval_task"]).fillna(False) | headline["train_task"].isna()
    rows = pd.concat([headline[own], headline[~own]])
    several, settings = rows["family"].nunique() > 1, bool((rows["setting"] != "").any())
    heads = (
        *(["family"] if several else []), "checkpoint", "tokens", "trained on", "evaluated on", "relation",
        *(["setting"] if settings else []), "format", "shots", "metric", "lr", "seeds",
        "base", "base 95 %", "tuned", "tuned 95 %", "gain", "baseline", "cells",
    )  # fmt: skip
    lines = []
    for row in records(rows.head(MOST_ROWS)):
        scale = points_per_unit(str(row["metric"]))
        digits = 1 if scale == 100 else 3
        runs = split_runs(row["base_runs"], row["tuned_runs"])
        gain, lr = _times(row["gain"], scale), _times(row["lr"], 1)
        tokens = row["tokens"]
        lines.append((
            *([Cell(text=str(row["family"]))] if several else []),
            Cell(text=str(row["checkpoint"]), sort=str(row["position"])),
            Cell(text=shorten(tokens), sort="" if is_null(tokens) else str(tokens), class_="number"),
            Cell(text=write_text(row["train_task"])),
            Cell(text=str(row["eval_task"])),
            Cell(text=write_text(row["relation"]).replace("_", " ")),
            *([Cell(text=str(row["setting"]))] if settings else []),
            Cell(text=write_text(row["eval_format"])),
            Cell(text=write_count(row["shots"]), sort=write_text(row["shots"]), class_="number"),
            Cell(text=label_metric(str(row["metric"])), hover=f"scorer: {write_text(row['scorer'])}"),
            Cell(text=write_rate(lr), sort=_sort(lr), class_="number",
                 hover="" if is_null(row["lr_chosen_by"]) else f"chosen by: {row['lr_chosen_by']}"),
            Cell(text=write_count(row["seeds"]), sort=write_text(row["seeds"]), class_="number"),
            *_value_and_interval(row, "base", scale, digits),
            *_value_and_interval(row, "tuned", scale, digits),
            Cell(text=write_number(gain, digits, signed=True), sort=_sort(gain), class_="number"),
            _number_cell(_times(row["baseline"], scale), digits),
            Cell(text=str(len(runs)), sort=str(len(runs)), runs=runs),
        ))  # fmt: skip
    return set_aside(View(caption="All numbers", heads=heads, rows=tuple(lines), total=len(rows)),
                     tuple(head in ("format", "shots", "seeds", "relation", "cells") for head in heads))  # fmt: skip


def set_aside(view: View, aside: tuple[bool, ...]) -> View:
    """Return ``view`` with some columns left out on paper."""
    rows = tuple(
        tuple(replace(cell, class_=f"{cell.class_} aside".strip()) if out else cell
              for cell, out in zip(row, aside, strict=True))
        for row in view.rows
    )  # fmt: skip
    return replace(view, rows=rows, aside=aside)


def _value_and_interval(row: Mapping[str, object], name: str, scale: float, digits: int) -> tuple[Cell, Cell]:
    low, high = _times(row[f"{name}_low"], scale), _times(row[f"{name}_high"], scale)
    hover = f"evaluated rows: {write_count(row[f'{name}_n'])}"
    value = _number_cell(_times(row[name], scale), digits, class_=" strong", hover=hover)
    return value, Cell(text=write_interval(low, high, digits), sort=_sort(low), class_="range")


def _sort(value: float | None) -> str:
    return "" if value is None else repr(value)


def view_plain(frame: pd.DataFrame, caption: str, *, most: int = 200) -> View:
    """Show any table as it is, without the columns that are null throughout; the first ``most`` rows."""
    total = len(frame)
    frame = frame.dropna(axis="columns", how="all").head(most)
    lines = [
        tuple(
            Cell(text=write_rate(value) if name == "lr" else write_text(value) if not isinstance(value, float)
                 else f"{value:g}", sort=write_text(value))
            for name, value in row.items()
        )
        for row in records(frame)
    ]  # fmt: skip
    heads = tuple(str(name).replace("_", " ") for name in frame.columns)
    return View(caption=caption, heads=heads, rows=tuple(lines), total=total)
