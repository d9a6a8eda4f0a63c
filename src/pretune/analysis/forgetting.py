"""What fine-tuning does to the loss on pre-training text."""

from __future__ import annotations

import pandas as pd

from pretune.analysis.averaging import subtract
from pretune.analysis.choosing import SETTING
from pretune.analysis.comparison import compare
from pretune.analysis.metrics import TEXT_METRICS, Primary, find_text_tasks

FORGETTING = [
    "family", "checkpoint", "step", "tokens", "annealed", "position", "train_task", "eval_task", *SETTING,
    "setting", "lr",
    "lr_chosen_by", "seeds", "metric", "scorer", "base", "base_low", "base_high", "tuned", "tuned_low", "tuned_high",
    "change", "change_low", "change_high", "base_runs", "tuned_runs",
]  # fmt: skip


def build_forgetting(table: pd.DataFrame, primary: Primary, *, every_rate: bool = False) -> pd.DataFrame:
    """Return the loss on pre-training text before and after each fine-tuning; columns :data:`FORGETTING`.

    ``change`` is tuned − base in the metric's unit: positive means that text the model was pre-trained on has
    become less likely. The metric is ``loss``, else ``loss_per_byte``, else ``perplexity``: the first that the table
    has for text tasks. Text that was only measured on base models has a null ``train_task``; text that a model was
    fine-tuned on is left out, for it is not forgotten. Learning rates are
    the chosen ones, or all of them with ``every_rate``.
    """
    metric = choose_text_metric(table)
    rows = compare(table, primary, every_rate=every_rate, text_metric=metric)
    return derive_forgetting(keep_texts(rows, find_text_tasks(table), metric))


def derive_forgetting(rows: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`build_forgetting`'s table from the rows of a comparison that are about text."""
    rows = rows[(rows["train_task"] != rows["eval_task"]).fillna(True)].copy()
    for name, values in zip(("", "_low", "_high"), subtract(rows, "tuned", "base"), strict=True):
        rows[f"change{name}"] = values
    keys = ["family", "checkpoint", "train_task", "eval_task", "setting", "lr"]
    return rows.drop_duplicates(keys)[FORGETTING].reset_index(drop=True)


def choose_text_metric(table: pd.DataFrame) -> str | None:
    """Name the first of :data:`TEXT_METRICS` that the table has for pre-training text."""
    present = set(table.loc[table["eval_task"].isin(find_text_tasks(table)), "metric"].dropna())
    return next((name for name in TEXT_METRICS if name in present), None)


def keep_texts(rows: pd.DataFrame, texts: frozenset[str], metric: str | None) -> pd.DataFrame:
    """Keep the rows of a comparison that measure pre-training text by ``metric``."""
    return rows[rows["eval_task"].isin(texts) & (rows["metric"] == metric)].reset_index(drop=True)
