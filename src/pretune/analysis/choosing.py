"""Which learning rate stands for a training task at a checkpoint: chosen on validation rows only."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pretune.analysis.ladders import CHECKPOINT
from pretune.analysis.metrics import Measure, is_lower_better
from pretune.results.rates import VALIDATION_LOSS, Trial, choose_rate

SETTING = ["stage", "train_format", "train_rows", "epochs", "optimizer", "regularizer", "regularizer_strength"]
"""What else, besides checkpoint, task, learning rate and seed, distinguishes one training from another."""

TRAINING = [*CHECKPOINT, "train_task", *SETTING]
ONLY_ONE, NOT_CHOSEN = "the only one", "not chosen: no validation rows"


def validate_rates(table: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
    """Score every learning rate of every training of a cleaned table on validation rows, and mark the best.

    Columns: ``family, checkpoint, train_task``, the columns of :data:`SETTING`, ``lr, evidence, validation, seeds,
    chosen, chosen_by``.

    Method. A trial is the task's primary metric on rows of relation ``validation``, in the training format where
    there is one, at the fewest shots; without such rows it is the ``validation_loss`` of the training cell. The rule
    is that of :mod:`pretune.results.rates`; ``validation`` is the mean over the ``seeds`` that were compared. Evaluated
    rows are never looked at. A rate without the kind of evidence that others have cannot be chosen; when none has any
    and there are several, none is chosen (``chosen`` is true for all of them, ``chosen_by`` says so).
    """
    trained = table[table["train_task"].notna()]
    rates = trained[(trained["state"] == "tuned").fillna(False) & (trained["kind"] == "evaluate").fillna(False)]
    rates = rates[[*TRAINING, "lr"]].drop_duplicates(ignore_index=True)
    number = rates.groupby(TRAINING, dropna=False, sort=False).ngroup()
    several = number.groupby(number).transform("size") > 1
    rates = rates.assign(evidence=None, validation=np.nan, seeds=0, chosen=True)
    rates["chosen_by"] = np.where(several, NOT_CHOSEN, ONLY_ONE)
    trials = find_trials(trained, measures)
    if trials.empty:
        return rates
    trials = rates[[*TRAINING, "lr"]].assign(row=rates.index, number=number).merge(trials, on=[*TRAINING, "lr"])
    found: list[dict[str, object]] = []
    for _, group in trials.groupby("number", sort=False):
        names = ("row", "seed", "cost", "evidence")
        # A row of ``rates`` is one rate of one training: its number stands for the rate, in the order of the rates.
        group = group.sort_values("lr", kind="stable")
        order = {row: place for place, row in enumerate(group["row"].unique())}
        choice = choose_rate(
            Trial(lr=order[row], seed=seed, cost=cost, evidence=evidence)
            for row, seed, cost, evidence in zip(*(group[name].tolist() for name in names), strict=True)
        )
        if choice is None:
            continue
        lower = bool(group.loc[group["evidence"] == choice.evidence, "lower"].iloc[0])
        for row, place in order.items():
            if place in choice.costs:
                found.append({
                    "row": row, "number": group["number"].iloc[0], "evidence": choice.evidence,
                    "validation": choice.costs[place] * (1 if lower else -1), "seeds": choice.seeds[place],
                    "chosen": place == choice.lr,
                })  # fmt: skip
    if not found:
        return rates
    outcome = pd.DataFrame(found).set_index("row")
    for name in ("evidence", "validation", "seeds"):
        rates.loc[outcome.index, name] = outcome[name]
    judged = several & number.isin(outcome["number"])
    rates.loc[judged, "chosen"] = rates.index[judged].isin(outcome.index[outcome["chosen"]])
    rates.loc[judged, "chosen_by"] = number[judged].map(outcome.groupby("number")["evidence"].first())
    return rates


def find_trials(trained: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
    """Return what validation rows say of each training: :data:`TRAINING`, ``lr, seed, evidence, cost, lower``."""
    parts = [part for part in (_find_metrics(trained, measures), _find_losses(trained)) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _find_metrics(trained: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
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
    return _average(rows, "validation rows, " + rows["metric"].astype("string"))


def _find_losses(trained: pd.DataFrame) -> pd.DataFrame:
    is_loss = (trained["kind"] == "train").fillna(False) & (trained["metric"] == "validation_loss").fillna(False)
    rows = trained[is_loss]
    return _average(rows, pd.Series(VALIDATION_LOSS, index=rows.index)) if len(rows) else pd.DataFrame()


def _average(rows: pd.DataFrame, evidence: pd.Series) -> pd.DataFrame:
    """One value per training, rate and seed."""
    lower = rows["metric"].map(lambda name: is_lower_better(str(name))).astype(bool)
    work = rows.assign(evidence=evidence.astype(str), lower=lower, seed=rows["seed"].fillna(-1).astype(int))
    keys = [*TRAINING, "lr", "seed", "evidence"]
    found = work.groupby(keys, dropna=False, sort=False).agg(value=("value", "mean"), lower=("lower", "first"))
    found = found.reset_index()
    values = found.pop("value").to_numpy(dtype=float, na_value=np.nan)
    return found.assign(cost=np.where(found["lower"], values, -values))


def average_validation_loss(trained: pd.DataFrame) -> pd.DataFrame:
    """Average the ``validation_loss`` of training cells over seeds: :data:`TRAINING`, ``lr``, ``validation``."""
    losses = _find_losses(trained)
    if losses.empty:
        return losses
    means = losses.groupby([*TRAINING, "lr"], dropna=False, sort=False)["cost"].mean()
    return means.rename("validation").reset_index()
