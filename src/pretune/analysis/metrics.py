"""What a metric's numbers mean: direction, scale, name; and which metric is a task's primary one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from pretune.results.schema import BASELINE_SCORER

logger = logging.getLogger(__name__)

Primary = Mapping[str, tuple[str, str]]
"""Evaluation task → (metric, scorer) of its headline."""

LOSSES = frozenset({"loss", "loss_per_byte", "perplexity", "target_loss", "train_loss", "validation_loss"})
SHARES = frozenset({"accuracy", "rouge_l", "exact_match"})
SHARES_OF_PROBES = frozenset({"probe_accuracy", *(
    f"{name}_{kind}" for name in SHARES for kind in ("drop", "spread", "spread_by_chance")
)})  # fmt: skip
"""What probes report on the same scale: shares, drops and spreads of shares."""

TEXT_METRICS = ("loss", "loss_per_byte", "perplexity")
"""Metrics of running text, in order of preference."""

FALLBACKS = (("rouge_l", "generate"), ("accuracy", "sum"), ("loss", "likelihood"))
"""Primary pairs that are tried in this order for a task which declares none."""

LABELS: Mapping[str, str] = {
    "accuracy": "accuracy, %",
    "rouge_l": "ROUGE-L × 100",
    "exact_match": "exact match, %",
    "loss": "loss, nats per token",
    "loss_per_byte": "loss, nats per byte",
    "target_loss": "loss of the right answer, nats per token",
    "perplexity": "perplexity",
    "loss_increase": "rise of the loss, nats per token",
    "perplexity_increase": "rise of the perplexity",
    "accuracy_drop": "fall of the accuracy, points",
    "rouge_l_drop": "fall of ROUGE-L × 100",
    "exact_match_drop": "fall of exact match, points",
    "accuracy_spread": "spread of the accuracy over wordings, points",
    "accuracy_spread_by_chance": "spread by chance alone, points",
    "probe_accuracy": "accuracy of a linear probe, %",
}


class Measure(NamedTuple):
    """One way to put a number on a task."""

    metric: str
    scorer: str


def is_lower_better(metric: str) -> bool:
    """Say whether a smaller value of ``metric`` is the better one (losses, perplexity)."""
    return metric in LOSSES or metric.endswith("_loss")


def points_per_unit(metric: str) -> float:
    """Return the factor from table values to what is shown: 100 for shares (0..1), 1 for anything else."""
    return 100.0 if metric in SHARES or metric in SHARES_OF_PROBES else 1.0


def label_metric(metric: str) -> str:
    """Return the axis label of ``metric`` as it is shown, with its unit."""
    return LABELS.get(metric, metric.replace("_", " "))


def choose_measures(table: pd.DataFrame, primary: Primary) -> dict[str, Measure]:
    """Decide which (metric, scorer) stands for each evaluated task of ``table``.

    ``primary`` wins where the table has that pair for the task. Otherwise the first pair of :data:`FALLBACKS`
    that the table has, otherwise the first pair in alphabetical order. Baseline rows do not count.
    """
    rows = table[(table["kind"] == "evaluate").fillna(False) & (table["scorer"] != BASELINE_SCORER).fillna(True)]
    pairs = rows[["eval_task", "metric", "scorer"]].dropna(subset=["eval_task", "metric"]).drop_duplicates()
    chosen: dict[str, Measure] = {}
    for task, group in pairs.groupby("eval_task", sort=True):
        scorers = group["scorer"].fillna("")
        present = sorted({Measure(str(m), str(s)) for m, s in zip(group["metric"], scorers, strict=True)})
        wanted = [Measure(*primary[str(task)])] if str(task) in primary else []
        candidates = [*wanted, *(Measure(*pair) for pair in FALLBACKS)]
        chosen[str(task)] = next((pair for pair in candidates if pair in present), present[0])
        if wanted and chosen[str(task)] != wanted[0]:
            logger.warning("%s: the table has no %s by %s; %s by %s is used", task, *wanted[0], *chosen[str(task)])
    return chosen


def find_text_tasks(table: pd.DataFrame) -> frozenset[str]:
    """Name the tasks that are pre-training text: of relation ``pretraining``, or with nothing but text metrics."""
    rows = table[(table["kind"] == "evaluate").fillna(False)].dropna(subset=["eval_task", "metric"])
    declared = set(rows.loc[(rows["relation"] == "pretraining").fillna(False), "eval_task"])
    only_text = rows["metric"].isin(TEXT_METRICS).groupby(rows["eval_task"]).all()
    return frozenset(str(task) for task in declared | set(only_text[only_text].index))
