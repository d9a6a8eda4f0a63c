"""How much a score depends on the wording of the prompt.

Every task is measured on the same rows in several wordings w: the shipped formats, and paraphrases of the prompt
(:mod:`pretune.data.paraphrasing`). With s_w the score in wording w, the spread is

    max_w s_w − min_w s_w        (Sclar et al., arXiv 2310.11324, section 2: "performance spread"),

with a bootstrap interval over rows, all wordings resampled together. The spread of k noisy scores is positive even when
the wording does not matter: ``<metric>_spread_by_chance`` is its mean (with the 2.5 and 97.5 % points) when each row's
results are dealt out to the wordings at random. A spread above that interval is more than chance. ``probe_variant`` is
``all``, ``format`` or ``paraphrase`` for the spread over both kinds or one, and the kind for a score; ``eval_format``
names the wording of a score. Base and tuned weights (``run=…``) have rows of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pretune.errors import UsageError
from pretune.probes.gaussian import describe
from pretune.probes.subject import Findings, Subject

RESAMPLES = 2000
TAILS = (2.5, 97.5)
FORMAT, PARAPHRASE = "format", "paraphrase"

Reals = npt.NDArray[np.float64]


def probe_format(subject: Subject) -> Findings:
    """Measure every task in every wording."""
    rows: list[dict[str, Any]] = []
    items: dict[str, dict[str, Reals]] = {}
    metrics: dict[str, str] = {}
    worded = [pair for pair in zip(subject.meters, subject.wordings, strict=True) if not pair[0].less_is_better]
    for number, (meter, wording) in enumerate(worded, start=1):
        reading = meter.read(subject.model)
        where = {"probe_variant": kind_of(wording, subject.probe.formats), "eval_format": wording}
        rows.append({**describe(meter, reading, where), **where})
        items.setdefault(meter.task.name, {})[wording] = reading.totals / reading.weights
        metrics[meter.task.name] = meter.metric
        subject.on_step(number, len(worded))
    for task, values in items.items():
        if len(values) < 2:
            raise UsageError(
                f"tasks={task}: has one wording only ({', '.join(values)}), so there is no spread; "
                "name more probe.formats, or give its family probe.wordings"
            )
        rows += describe_spreads(task, metrics[task], values, subject.probe.formats)
    return Findings(rows=rows, facts={"wordings": {task: list(values) for task, values in items.items()}})


def kind_of(wording: str, formats: tuple[str, ...]) -> str:
    """Whether a wording is a shipped format or a paraphrase."""
    return FORMAT if wording in formats else PARAPHRASE


def describe_spreads(
    task: str, metric: str, values: Mapping[str, Reals], formats: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Rows with the spread of a task over all wordings, over the formats and over the paraphrases."""
    rows: list[dict[str, Any]] = []
    for kind in ("all", FORMAT, PARAPHRASE):
        chosen = [scores for wording, scores in values.items() if kind in ("all", kind_of(wording, formats))]
        if len(chosen) < 2:
            continue
        table = np.stack(chosen)
        where = {"eval_task": task, "probe_variant": kind, "n": table.shape[1], "eval_format": None}
        value, low, high = measure_spread(table)
        rows.append({**where, "metric": f"{metric}_spread", "value": value, "ci_low": low, "ci_high": high})
        value, low, high = spread_by_chance(table)
        rows.append({**where, "metric": f"{metric}_spread_by_chance", "value": value, "ci_low": low, "ci_high": high})
    return rows


def measure_spread(table: Reals) -> tuple[float, float, float]:
    """Spread of the means of a (wordings, rows) table, with a percentile bootstrap interval over rows."""
    rng, count = np.random.default_rng(0), table.shape[1]
    resampled = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        means = table[:, rng.integers(0, count, count)].mean(axis=1)
        resampled[number] = means.max() - means.min()
    means = table.mean(axis=1)
    low, high = np.percentile(resampled, TAILS)
    value = float(means.max() - means.min())
    # The bootstrap adds noise to every mean, so its spreads are too large: the interval must still hold the value.
    return value, min(float(low), value), max(float(high), value)


def spread_by_chance(table: Reals) -> tuple[float, float, float]:
    """Mean and tails of the spread when every row's results are dealt out to the wordings at random."""
    rng = np.random.default_rng(0)
    spreads = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        means = rng.permuted(table, axis=0).mean(axis=1)
        spreads[number] = means.max() - means.min()
    low, high = np.percentile(spreads, TAILS)
    return float(spreads.mean()), float(low), float(high)
