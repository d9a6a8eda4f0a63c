"""The page: which figures and tables it has, and the template that puts them together."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from pretune.analysis.metrics import Measure, label_metric
from pretune.analysis.reading import Margins
from pretune.report.axes import LadderAxis, build_ladder_axis
from pretune.report.figures import Figure, assign_colours, draw_spreads, draw_tasks, draw_text_losses
from pretune.report.overview import draw_overview
from pretune.report.sentences import state_findings
from pretune.report.svg import draw_mark, element, load_text, tint
from pretune.report.views import (
    MOST_ROWS,
    view_changes,
    view_formats,
    view_headline,
    view_plain,
    view_transfer,
)
from pretune.report.wording import shorten


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything the report shows; each table is also a CSV file of its own."""

    headline: pd.DataFrame
    reading: pd.DataFrame
    transfer: pd.DataFrame
    formats: pd.DataFrame
    forgetting: pd.DataFrame
    learning_rates: pd.DataFrame
    missing_cells: pd.DataFrame
    checkpoints: pd.DataFrame
    measures: Mapping[str, Measure]
    cells: Mapping[str, int]
    notes: tuple[str, ...]


def draw_figures(results: Results) -> dict[str, list[Figure]]:
    """Draw all figures, in groups: overview, tasks, twins, spreads, texts. File names are unique."""
    colours = assign_colours(results.headline)
    ladders: dict[str, LadderAxis] = {
        str(family): build_ladder_axis(part) for family, part in results.checkpoints.groupby("family", sort=False)
    }
    headline = results.headline
    own = (headline["train_task"] == headline["eval_task"]).fillna(False) | headline["train_task"].isna()
    apart = headline["relation"].isin(["in_domain", "out_of_domain"]) & ~own
    overview = draw_overview(results.reading, colours)
    groups = {
        "overview": [Figure(name="overview", title="Before and after", drawing=overview)] if overview else [],
        "tasks": draw_tasks(headline[own], ladders, colours, prefix="task"),
        "twins": draw_tasks(headline[apart], ladders, colours, prefix="other-domain"),
        "spreads": draw_spreads(results.formats, ladders, colours),
        "texts": draw_text_losses(results.forgetting, ladders, colours),
    }
    return _name_apart(groups)


def _name_apart(groups: Mapping[str, Sequence[Figure]]) -> dict[str, list[Figure]]:
    """Give figures whose names collide once they are file names (also without case) a number."""
    taken: set[str] = set()
    renamed: dict[str, list[Figure]] = {}
    for group, figures in groups.items():
        renamed[group] = []
        for figure in figures:
            name, number = figure.name, 2
            while name.lower() in taken:
                name, number = f"{figure.name}-{number}", number + 1
            taken.add(name.lower())
            renamed[group].append(Figure(name=name, title=figure.title, drawing=figure.drawing, legend=figure.legend))
    return renamed


def render_page(
    results: Results, figures: Mapping[str, Sequence[Figure]], *, title: str, study: Mapping[str, Any]
) -> str:
    """Render the page. Text is escaped by the template; style and script are allowed by their hash alone."""
    style = load_text("figure.css") + load_text("page.css")
    script = load_text("page.js")
    seeds = results.headline["seeds"].dropna()
    context = {
        "title": title,
        "style": Markup(style),
        "script": Markup(script),
        "policy": "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{hash_source(style)}'; script-src '{hash_source(script)}'",
        "findings": state_findings(results.reading, results.transfer, results.formats, results.forgetting),
        "figures": figures,
        "legend": _draw_legend(),
        "swatch": _draw_swatch,
        "transfer": view_transfer(results.transfer),
        "formats": view_formats(results.formats),
        "changes": view_changes(results.forgetting),
        "headline": view_headline(results.headline),
        "headline_total": len(results.headline),
        "most_rows": MOST_ROWS,
        "rates": view_plain(_varied_rates(results.learning_rates), "Learning rates on validation rows"),
        "missing": view_plain(results.missing_cells, "Missing cells"),
        "missing_total": len(results.missing_cells),
        "cells": results.cells,
        "facts": _state_facts(results, study),
        "notes": results.notes,
        "margins": Margins(),
        "one_seed": bool(len(seeds)) and int(seeds.max()) == 1,
        "several_seeds": bool(len(seeds)) and int(seeds.max()) > 1,
        "not_chosen": bool(results.learning_rates["chosen_by"].astype(str).str.startswith("not chosen").any()),
        "measures": [
            (task, label_metric(measure.metric), measure.scorer) for task, measure in sorted(results.measures.items())
        ],
    }
    return _load_template().render(context)


@functools.cache
def _load_template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pretune.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = allow_breaks
    return environment.get_template("page.html.j2")


def allow_breaks(text: str) -> Markup:
    """Let a long name break after ``/``, ``-`` and ``_`` and nowhere else."""
    return Markup(re.sub(r"([/_-])", r"\1<wbr>", str(escape(text))))


def hash_source(text: str) -> str:
    """Return the content-security-policy source that allows exactly ``text`` inline."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _varied_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Keep what is worth showing: trainings with more than one learning rate."""
    shown = rates[rates["chosen_by"] != "the only one"]
    names = ["family", "checkpoint", "train_task", "train_format", "lr", "evidence", "validation", "seeds", "chosen"]
    return shown[names].reset_index(drop=True)


def _state_facts(results: Results, study: Mapping[str, Any]) -> list[tuple[str, str]]:
    headline = results.headline
    tokens = results.checkpoints["tokens"].dropna()
    facts = [
        ("Models", ", ".join(str(name) for name in results.checkpoints["family"].unique())),
        ("Checkpoints", f"{len(results.checkpoints)}"),
        ("Tasks trained on", f"{headline['train_task'].nunique()}"),
        ("Tasks evaluated", f"{headline['eval_task'].nunique()}"),
        ("Cells", ", ".join(f"{number:,} {kind}" for kind, number in results.cells.items())),
    ]
    if len(tokens) > 1:
        facts.insert(2, ("Pre-training tokens", f"{shorten(tokens.min())} to {shorten(tokens.max())}"))
    return [*facts, *((str(key), _write_fact(value)) for key, value in study.items())]


def _write_fact(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _draw_legend() -> list[tuple[Markup, str]]:
    def sample(*parts: Markup) -> Markup:
        return element("svg", *parts, viewBox="0 0 44 16", width="44", height="16", class_="sample neutral",
                       aria_hidden="true")  # fmt: skip

    def line(class_: str) -> Markup:
        return element("line", x1=2, x2=42, y1=8, y2=8, class_=class_)

    band = element("rect", x=2, y=2, width=40, height=12, class_="band")
    return [
        (sample(line("line base"), draw_mark(0, 22, 8, "mark base")), "base model, before fine-tuning"),
        (sample(line("line tuned"), draw_mark(0, 22, 8, "mark tuned")), "after fine-tuning"),
        (sample(band), "95 % interval"),
        (sample(line("level")), "trivial baseline"),
    ]


def _draw_swatch(colour: int, shape: int, name: str) -> Markup:
    state = "base" if name.startswith("before") or name == "base" else "tuned"
    mark = draw_mark(shape, 14, 8, f"mark {state}")
    line = element("line", x1=1, x2=27, y1=8, y2=8, class_=f"line {state}")
    return element("svg", line, mark, viewBox="0 0 28 16", width="28", height="16", class_=f"sample {tint(colour)}",
                   aria_hidden="true")  # fmt: skip
