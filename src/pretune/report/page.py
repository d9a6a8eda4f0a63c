"""The page: the answer, the sections, and the template that puts them together."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from pretune.analysis.metrics import label_metric
from pretune.report.charts import Figure
from pretune.report.dots import Dots
from pretune.report.panels import Curve, Panel, draw_caret
from pretune.report.results import Results
from pretune.report.sections import Section
from pretune.report.sentences import state_findings
from pretune.report.svg import draw_mark, element, load_text, tint
from pretune.report.tracing import RunIndex, embed_json
from pretune.report.views import view_plain
from pretune.report.wording import shorten

LONGEST_FACT = 80
"""Longer facts about the study stand among the notes."""

STYLES = ("figure.css", "page.css", "print.css")
SCRIPTS = ("cells.js", "tables.js", "figures.js", "page.js")


def render_page(
    results: Results,
    overview: Sequence[Figure],
    sections: Sequence[Section],
    *,
    title: str,
    study: Mapping[str, Any],
    runs_path: str | None = None,
) -> str:
    """Render the page. Text is escaped by the template; style and script are allowed by their hash alone.

    ``runs_path`` is the folder of the cells as seen from the page; their configurations are linked when it is given.
    """
    style = "".join(load_text(name) for name in STYLES)
    script = '"use strict";\n' + "".join(load_text(name) for name in SCRIPTS)
    seeds = results.headline["seeds"].dropna()
    index = RunIndex(results.runs)
    context = {
        "title": title,
        "style": Markup(style),
        "script": Markup(script),
        "policy": "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{hash_source(style)}'; script-src '{hash_source(script)}'",
        "findings": [
            (family, list(told))
            for family, told in itertools.groupby(state_findings(results), lambda finding: finding.family)
        ],
        "overview": overview,
        "sections": sections,
        "tables": list(results.tables),
        "key": _draw_key(sections),
        "key_at": next((section.id for section in sections if section.figures), ""),
        "swatch": _draw_swatch,
        "runs": index,
        "missing": view_plain(results.missing_cells, "Missing cells"),
        "missing_total": len(results.missing_cells),
        "facts": _state_facts(results, study),
        "notes": _list_notes(results, study),
        "unsound": len(results.find("soundness")) if "soundness" in results.outcomes else 0,
        "evaluated": bool(results.measures),
        "several_seeds": bool(len(seeds)) and int(seeds.max()) > 1,
        "not_chosen": bool(results.learning_rates["chosen_by"].astype(str).str.startswith("not chosen").any()),
        "measures": [
            (task, label_metric(measure.metric), measure.scorer) for task, measure in sorted(results.measures.items())
        ],
    }
    body = _load_template().render(context)
    figures = [*overview, *(figure for section in sections for figure in section.figures)]
    data = index.describe({figure.name: figure.runs for figure in figures}) | {"path": runs_path}
    return body.replace(_DATA_PLACE, f'<script type="application/json" id="data">{embed_json(data)}</script>')


_DATA_PLACE = "<!-- data -->"
"""Where the page's data block goes: it lists the runs that the rest of the page refers to, so it is made last."""


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


def _state_facts(results: Results, study: Mapping[str, Any]) -> list[tuple[str, str]]:
    headline = results.headline
    tokens = results.checkpoints["tokens"].dropna()
    facts = [
        ("Models", ", ".join(str(name) for name in results.checkpoints["family"].unique())),
        ("Checkpoints", f"{len(results.checkpoints)}"),
        *_count_tasks(headline, results.curves),
        ("Cells", ", ".join(f"{number:,} {kind}" for kind, number in results.cells.items())),
    ]
    if len(tokens) > 1:
        facts.insert(2, ("Pre-training tokens", f"{shorten(tokens.min())} to {shorten(tokens.max())}"))
    told = [(str(key), _write_fact(value)) for key, value in study.items()]
    return [*facts, *(fact for fact in told if len(fact[1]) <= LONGEST_FACT)]


def _count_tasks(headline: pd.DataFrame, curves: pd.DataFrame) -> list[tuple[str, str]]:
    """Count what was trained on, evaluated and probed, as far as there is any."""
    counts = {
        "Tasks trained on": headline["train_task"].nunique(),
        "Tasks evaluated": headline["eval_task"].nunique(),
        "Probes": curves["probe"].nunique(),
    }
    return [(name, f"{number}") for name, number in counts.items() if number]


def _list_notes(results: Results, study: Mapping[str, Any]) -> list[str]:
    """Return the notes on the table, and the facts about the study that are too long for its box, item by item."""
    long = {key: value for key, value in study.items() if len(_write_fact(value)) > LONGEST_FACT}
    told = [
        f"{str(key)[0].upper()}{str(key)[1:]}: {item}"
        for key, value in long.items()
        for item in (value if isinstance(value, list | tuple) else [value])
    ]
    return [*results.notes, *told]


def _write_fact(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _draw_sample(*parts: Markup, colour: str = "neutral") -> Markup:
    return element("svg", *parts, viewBox="0 0 34 16", width="34", height="16", class_=f"sample {colour}",
                   aria_hidden="true")  # fmt: skip


def _draw_key(sections: Sequence[Section]) -> list[tuple[Markup, str, str]]:
    """Return what the marks mean as (sample, words, class of what the key shows and hides); only what occurs."""
    charts = [f.chart for section in sections for f in section.figures if isinstance(f.chart, Panel | Dots)]
    panels = [chart for chart in charts if isinstance(chart, Panel)]
    states = {curve.state for panel in panels for curve in panel.curves}
    points = [point for panel in panels for curve in panel.curves for point in curve.points]

    def line(class_: str) -> Markup:
        return element("line", x1=1, x2=33, y1=8, y2=8, class_=class_)

    key = []
    for state, words, shape in (
        ("base", "base model, before fine-tuning", 0),
        ("tuned", "after fine-tuning", 0),
        ("published", "published by others", -1),
    ):
        if state in states:
            sample = _draw_sample(line(f"line {state}"), draw_mark(shape, 17, 8, f"mark {state}"))
            key.append((sample, words, state))
    key.append(
        (_draw_sample(element("rect", x=1, y=2, width=32, height=12, class_="band")), "95 % interval", "interval")
    )
    if any(panel.level is not None for panel in panels):
        key.append((_draw_sample(line("level")), "trivial baseline", "level"))
    if any(chart.floor is not None for chart in charts):
        bar = [element("line", x1=17, x2=17, y1=2, y2=14, class_="floor-bar")]
        bar += [element("line", x1=13, x2=21, y1=y, y2=y, class_="floor-bar") for y in (2, 14)]
        key.append((_draw_sample(*bar), "noise floor: smallest difference worth reading", "floor"))
    if any(point.annealed for point in points):
        marks = draw_mark(0, 17, 8, "mark tuned"), element("circle", cx=17, cy=8, r=7, class_="ring")
        key.append((_draw_sample(*marks), "annealed checkpoint", "ring"))
    if any(point.caret for point in points):
        marks = draw_mark(0, 17, 13, "mark tuned", 2.6), draw_caret(17, 15, "caret filled", below=False)
        key.append((_draw_sample(*marks), "the point that a section is about", "caret"))
    return key


def _draw_swatch(curve: Curve) -> Markup:
    mark = draw_mark(curve.shape, 17, 8, f"mark {curve.state}")
    line = element("line", x1=1, x2=33, y1=8, y2=8, class_=f"line {curve.state}")
    return _draw_sample(line, mark, colour=tint(curve.colour))
