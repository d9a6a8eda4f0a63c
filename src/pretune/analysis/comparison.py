"""The join that everything else is cut from: what a checkpoint scores before and after each fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pretune.analysis.averaging import average_seeds, subtract
from pretune.analysis.choosing import NOT_CHOSEN, SETTING, validate_rates
from pretune.analysis.cleaning import clean
from pretune.analysis.ladders import CHECKPOINT, order_checkpoints
from pretune.analysis.metrics import Measure, Primary, choose_measures, find_text_tasks, is_lower_better
from pretune.results.schema import BASELINE_SCORER

EVALUATION = ["eval_task", "eval_split", "eval_format", "shots", "metric", "scorer"]
"""What was measured: base and tuned rows are joined on these, within a checkpoint."""

PAIR = ["family", "train_task", *SETTING, "relation", *EVALUATION]
"""One curve over the checkpoints of a ladder, when the learning rate has been chosen."""

RATE = "_lr"
"""Column for the learning rate of curves that stand side by side because none was chosen."""

COMPARISON = [
    "family", "checkpoint", "step", "tokens", "annealed", "position",
    "train_task", "eval_task", "relation", *SETTING, "setting", "lr", "lr_chosen_by", "seeds",
    "eval_split", "eval_format", "shots", "metric", "scorer",
    "base", "base_low", "base_high", "base_n", "tuned", "tuned_low", "tuned_high", "tuned_n", "tuned_sd",
    "gain", "gain_low", "gain_high", "baseline", "base_runs", "tuned_runs",
]  # fmt: skip


def compare(
    table: pd.DataFrame,
    primary: Primary,
    *,
    every_rate: bool = False,
    text_metric: str | None = None,
) -> pd.DataFrame:
    """Join base and tuned scores of a results table; columns :data:`COMPARISON`, all formats and shots.

    One row per (checkpoint, training without its seed, evaluation): ``base`` and ``tuned`` are means over seeds with
    95 % intervals (see :func:`average_seeds`), ``tuned_sd`` is the standard deviation over seeds, ``gain`` is
    tuned − base with its sign turned for losses, so that more is better; all are in the units of the table.
    ``baseline`` is the trivial baseline on the evaluated rows.

    * The metric is each task's primary one; for text tasks it is ``text_metric`` when given.
    * Validation rows only choose the learning rate (:func:`validate_rates`); ``every_rate`` keeps all rates.
    * A checkpoint that has a base score but was not tuned (or failed) has a row without ``tuned``, and the other way
      round: gaps stay visible. A task that no training evaluates has rows with a null ``train_task``.
    * ``setting`` names the settings of training that vary for a training task of a family, and the learning rate
      where several stand side by side; it is empty when nothing varies. One value of it is one curve.
    """
    rows = clean(table).table
    measures = choose_measures(rows, primary)
    if text_metric is not None:
        measures = {**measures, **_text_measures(rows, text_metric)}
    evaluated = rows[(rows["kind"] == "evaluate").fillna(False)]
    evaluated = drop_validation(evaluated)
    measured = _keep_measures(evaluated, measures)

    base = average_seeds(measured[measured["state"] == "base"], [*CHECKPOINT, *EVALUATION])
    base = base.rename(
        columns={"value": "base", "low": "base_low", "high": "base_high", "n": "base_n", "runs": "base_runs"}
    ).drop(columns=["seeds", "sd"])
    tuned = _tuned_scores(rows, measured, measures, every_rate=every_rate)

    joined = pd.concat(
        [tuned.merge(base, on=[*CHECKPOINT, *EVALUATION], how="left"), _untuned(tuned, base), _base_only(tuned, base)],
        ignore_index=True,
    )
    joined["setting"] = name_settings(joined)
    joined["baseline"] = _find_baselines(evaluated, joined)
    gain, low, high = subtract(joined, "tuned", "base")
    turn = joined["metric"].map(lambda name: is_lower_better(str(name))).astype(bool)
    joined["gain"] = gain.where(~turn, -gain)
    joined["gain_low"], joined["gain_high"] = low.where(~turn, -high), high.where(~turn, -low)
    ordered = order_checkpoints(rows).drop(columns="label")
    joined = joined.merge(ordered, on=CHECKPOINT, how="left")
    keys = ["family", "eval_task", "train_task", *SETTING, "eval_format", "shots", "position", "lr"]
    return joined.sort_values(keys, kind="stable", ignore_index=True)[COMPARISON]


def drop_validation(evaluated: pd.DataFrame) -> pd.DataFrame:
    """Drop rows of relation ``validation``, and base and baseline rows on splits that serve nothing else.

    Base rows have no relation: theirs are those on a (task, split) that tuned rows know as validation only, and,
    of a task that is on several splits, those on rows held out from training ("… [held out]").
    """
    place = ["eval_task", "eval_split"]
    is_validation = (evaluated["relation"] == "validation").fillna(False)
    kept = evaluated[~is_validation]
    used = pd.MultiIndex.from_frame(kept.loc[kept["relation"].notna(), place].drop_duplicates())
    chosen_on = pd.MultiIndex.from_frame(evaluated.loc[is_validation, place].drop_duplicates())
    here = pd.MultiIndex.from_frame(kept[place])
    only_validation = here.isin(chosen_on) & ~here.isin(used)
    kept = kept[~(kept["relation"].isna() & only_validation)]
    held_out = kept["eval_split"].str.endswith("[held out]").fillna(False)
    others = (~held_out).groupby(kept["eval_task"], dropna=False).transform("any")
    return kept[~(kept["relation"].isna() & held_out & others)]


def _text_measures(rows: pd.DataFrame, metric: str) -> dict[str, Measure]:
    """For each text task that has ``metric``: that metric with its scorer."""
    has = rows[(rows["metric"] == metric).fillna(False) & (rows["scorer"] != BASELINE_SCORER).fillna(True)]
    has = has[has["eval_task"].isin(find_text_tasks(rows))]
    pairs = has[["eval_task", "scorer"]].drop_duplicates("eval_task")
    return {
        str(task): Measure(metric, "" if pd.isna(scorer) else str(scorer))
        for task, scorer in zip(pairs["eval_task"], pairs["scorer"], strict=True)
    }


def _keep_measures(rows: pd.DataFrame, measures: dict[str, Measure]) -> pd.DataFrame:
    wanted = pd.DataFrame(
        [(task, *measure) for task, measure in measures.items()], columns=["eval_task", "metric", "_scorer"]
    ).astype("string")
    return rows.assign(_scorer=rows["scorer"].fillna("")).merge(wanted, on=list(wanted.columns)).drop(columns="_scorer")


def _tuned_scores(
    rows: pd.DataFrame, measured: pd.DataFrame, measures: dict[str, Measure], *, every_rate: bool
) -> pd.DataFrame:
    """Average tuned rows over seeds, at the chosen learning rate of each training."""
    training = [*CHECKPOINT, "train_task", *SETTING, "lr"]
    tuned = measured[(measured["state"] == "tuned").fillna(False) & measured["train_task"].notna()]
    rates = validate_rates(rows, measures)
    if not every_rate:
        rates = rates[rates["chosen"].astype(bool)]
    tuned = tuned.merge(rates[[*training, "chosen_by"]].rename(columns={"chosen_by": "lr_chosen_by"}), on=training)
    scores = average_seeds(tuned, [*training, "lr_chosen_by", "relation", *EVALUATION])
    aside = every_rate | (scores["lr_chosen_by"] == NOT_CHOSEN)
    scores[RATE] = scores["lr"].where(aside.astype(bool))
    names = {"value": "tuned", "low": "tuned_low", "high": "tuned_high", "n": "tuned_n", "sd": "tuned_sd",
             "runs": "tuned_runs"}  # fmt: skip
    return scores.rename(columns=names)


def _untuned(tuned: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Base scores at the checkpoints where a curve of ``tuned`` has a gap."""
    curve = [*PAIR, RATE]
    full = tuned[curve].drop_duplicates().merge(base, on=["family", *EVALUATION])
    present = tuned[[*curve, "checkpoint"]].drop_duplicates().assign(_present=True)
    marked = full.merge(present, on=[*curve, "checkpoint"], how="left")
    return marked[marked["_present"].isna()].drop(columns="_present")


def _base_only(tuned: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Base scores of tasks that no training is evaluated on as its own or as its out-of-domain task."""
    own = tuned["relation"].isin(["in_domain", "out_of_domain", "pretraining"])
    own |= (tuned["train_task"] == tuned["eval_task"]).fillna(False)
    covered = tuned.loc[own, ["family", "eval_task"]].drop_duplicates().assign(_covered=True)
    marked = base.merge(covered, on=["family", "eval_task"], how="left")
    return marked[marked["_covered"].isna()].drop(columns="_covered")


def name_settings(joined: pd.DataFrame) -> pd.Series:
    """Say in words what distinguishes the rows of one training task of a family: "train_rows=100, lr=0.001"."""
    label = pd.Series("", index=joined.index, dtype="string")
    trained = joined["train_task"].notna()
    for name in [*SETTING, RATE]:
        kinds = joined.groupby(["family", "train_task"], dropna=False)[name].transform("nunique")
        shown = trained & joined[name].notna() & ((kinds > 1) | (name == RATE))
        text = joined[name].map(lambda value, name=name: f"{name.strip('_')}={_plain(value)}", na_action="ignore")
        text = text.astype("string").where(shown, "")
        label = label + np.where((label != "") & (text != ""), ", ", "") + text
    return label


def _plain(value: object) -> str:
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _find_baselines(evaluated: pd.DataFrame, joined: pd.DataFrame) -> pd.Series:
    """Mean baseline on the same evaluation; failing that on the same split; failing that on the task at all."""
    rows = evaluated[(evaluated["scorer"] == BASELINE_SCORER).fillna(False)]
    result = pd.Series(np.nan, index=joined.index)
    levels: Sequence[list[str]] = (
        ["eval_task", "metric", "eval_split", "eval_format", "shots"],
        ["eval_task", "metric", "eval_split"],
        ["eval_task", "metric"],
    )
    for keys in levels:
        means = rows.groupby(keys, dropna=False)["value"].mean().astype(float).rename("_baseline").reset_index()
        found = joined[keys].merge(means, on=keys, how="left")["_baseline"]
        result = result.fillna(pd.Series(found.to_numpy(dtype=float), index=joined.index))
    return result
