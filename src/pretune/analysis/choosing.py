"""Which learning rate stands for a training task at a checkpoint: chosen on validation rows only."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pretune.analysis.ladders import CHECKPOINT
from pretune.analysis.metrics import Measure, is_lower_better

SETTING = ["stage", "train_format", "train_rows", "epochs", "optimizer", "regularizer", "regularizer_strength"]
"""What else, besides checkpoint, task, learning rate and seed, distinguishes one training from another."""

TRAINING = [*CHECKPOINT, "train_task", *SETTING]
ONLY_ONE, NOT_CHOSEN = "the only one", "not chosen: no validation rows"


def validate_rates(table: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
    """Score every learning rate of every training of a cleaned table on validation rows, and mark the best.

    Columns: ``family, checkpoint, train_task``, the columns of :data:`SETTING`, ``lr, evidence, validation, seeds,
    chosen, chosen_by``.

    Method. ``validation`` is the mean over seeds of the task's primary metric on rows of relation ``validation``, in
    the training format where there is one, at the fewest shots. Without such rows it is the mean ``validation_loss``
    of the training cells. The best value is chosen, the smaller rate on a tie. Evaluated rows are never looked
    at. A rate without a validation value cannot be chosen while others have one; when none has one and there are
    several, none is chosen (``chosen`` is true for all of them, ``chosen_by`` says so).
    """
    trained = table[table["train_task"].notna()]
    rates = trained[(trained["state"] == "tuned").fillna(False) & (trained["kind"] == "evaluate").fillna(False)]
    rates = rates[[*TRAINING, "lr"]].drop_duplicates(ignore_index=True)
    scored = _score_validation(trained, measures)
    if len(scored):
        rates = rates.merge(scored, on=[*TRAINING, "lr"], how="left")
    else:
        rates = rates.assign(evidence=None, validation=np.nan, seeds=0, lower=False)
    number = rates.groupby(TRAINING, dropna=False, sort=False).ngroup()
    usable = rates["validation"].notna()
    first = rates["evidence"].where(usable).groupby(number).transform("first")
    eligible = usable & (rates["evidence"] == first).fillna(False).astype(bool)
    several = number.groupby(number).transform("size") > 1
    signed = rates["validation"] * np.where(rates["lower"].astype("boolean").fillna(False), 1.0, -1.0)
    order = pd.DataFrame({"number": number, "score": signed, "lr": rates["lr"].astype(float)})[eligible]
    winners = order.sort_values(["number", "score", "lr"], kind="stable").drop_duplicates("number").index
    rates["chosen"] = ~several | first.isna() | rates.index.isin(winners)
    rates["chosen_by"] = first.fillna(NOT_CHOSEN).where(several, ONLY_ONE).astype(str)
    return rates.drop(columns="lower")


def _score_validation(trained: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
    """Mean validation score per training and rate, by the task's primary metric where every rate has it."""
    parts = [part for part in (_score_by_metric(trained, measures), average_validation_loss(trained)) if len(part)]
    if not parts:
        return pd.DataFrame()
    scored = pd.concat(parts, ignore_index=True)
    return scored.drop_duplicates([*TRAINING, "lr"], keep="first", ignore_index=True)


def _score_by_metric(trained: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
    rows = trained[
        (trained["kind"] == "evaluate").fillna(False)
        & (trained["relation"] == "validation").fillna(False)
        & (trained["state"] == "tuned").fillna(False)
        & (trained["eval_task"] == trained["train_task"]).fillna(False)
    ]
    wanted = [
        measures.get(str(task)) == (metric, "" if pd.isna(scorer) else scorer)
        for task, metric, scorer in zip(rows["eval_task"], rows["metric"], rows["scorer"], strict=True)
    ]
    rows = rows[np.array(wanted, dtype=bool)]
    if rows.empty:
        return pd.DataFrame()
    own = (rows["eval_format"] == rows["train_format"]).fillna(False)
    has_own = own.groupby([rows[name] for name in TRAINING], dropna=False).transform("any")
    rows = rows[own | ~has_own]
    fewest = rows["shots"].fillna(0)
    rows = rows[fewest == fewest.groupby([rows[name] for name in TRAINING], dropna=False).transform("min")]
    return _mean(rows, "validation rows, " + rows["metric"].astype("string"))


def average_validation_loss(trained: pd.DataFrame) -> pd.DataFrame:
    """Average the ``validation_loss`` of training cells over seeds: a row per :data:`TRAINING` and ``lr``.

    Columns beside those: ``evidence, validation`` (the mean), ``seeds, lower``. Empty without such rows.
    """
    is_loss = (trained["kind"] == "train").fillna(False) & (trained["metric"] == "validation_loss").fillna(False)
    rows = trained[is_loss]
    return _mean(rows, pd.Series("validation loss", index=rows.index)) if len(rows) else pd.DataFrame()


def _mean(rows: pd.DataFrame, evidence: pd.Series) -> pd.DataFrame:
    work = rows.assign(evidence=evidence, lower=rows["metric"].map(lambda name: is_lower_better(str(name))))
    grouped = work.groupby([*TRAINING, "lr"], dropna=False, sort=False)
    result = grouped.agg(
        evidence=("evidence", "first"),
        validation=("value", "mean"),
        seeds=("seed", "nunique"),
        lower=("lower", "first"),
    ).reset_index()
    result["validation"] = result["validation"].astype(float)
    return result
