"""A cautious first reading of the headline: what each task seems to owe to pre-training and to fine-tuning.

This is description by fixed, stated margins, not a test; trends, plateaus and classes with error rates are further
analyses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.metrics import is_lower_better, points_per_unit

PRETRAINING = "learnt in pre-training"
FINE_TUNING = "needs fine-tuning"
BOTH = "both help"
NEITHER = "learnt by neither"
UNDECIDED = "undecided"

READING = [
    "family", "task", "setting", "metric", "reading", "checkpoints", "first", "last", "baseline",
    "base_first", "base_last", "base_rise", "base_above_baseline", "flat_from", "flat_range",
    "tuned_first", "tuned_last", "tuned_rise", "gain_last", "gain_clear",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Sizes, in points, below or above which a difference is read as none or as one."""

    near_baseline: float = 8.0
    rise: float = 10.0
    gain: float = 10.0
    no_gain: float = 5.0
    flat: float = 3.0


def read_tasks(headline: pd.DataFrame, margins: Margins | None = None) -> pd.DataFrame:
    """Describe each task's own curves of a headline by a few numbers and a word; columns :data:`READING`.

    Only tasks on a 0..1 scale with the task's own training (``train_task == eval_task``) or without any are read.
    All numbers are points (hundredths). ``first`` and ``last`` name the first and last checkpoint with a base score;
    ``tuned_first`` and ``tuned_last`` are at the first and last tuned checkpoint of non-zero step, if there are two.

    ``flat_from`` is the earliest checkpoint (of at least three left) from which on the base score stays within a
    range of ``margins.flat``; ``flat_range`` is that range. A reading:

    * *learnt in pre-training*: the base score rises by ``rise`` or more, its interval at the end excludes its start,
      and fine-tuning the last checkpoint adds less than ``no_gain`` (or was never done);
    * *needs fine-tuning*: the base score is never more than ``near_baseline`` above the trivial baseline, and
      fine-tuning adds ``gain`` or more at the last checkpoint with an interval above zero;
    * *both help*: it rises, and fine-tuning adds; *learnt by neither*: near the baseline, and less than ``no_gain``;
    * *undecided* otherwise, with fewer than two checkpoints (but see *needs fine-tuning*), or without a baseline
      where one is needed.
    """
    margins = margins or Margins()
    own = (headline["train_task"] == headline["eval_task"]).fillna(False) | headline["train_task"].isna()
    shares = headline["metric"].map(lambda name: points_per_unit(str(name)) == 100.0 and not is_lower_better(str(name)))
    rows = headline[own & shares.astype(bool)]
    keys = ["family", "eval_task", *SETTING, "setting"]
    described = [
        _describe(group.sort_values("position", kind="stable"), margins)
        for _, group in rows.groupby(keys, dropna=False, sort=False)
    ]
    return pd.DataFrame(described, columns=READING)


def _describe(curve: pd.DataFrame, margins: Margins) -> dict[str, object]:
    numbers = ["base", "base_low", "base_high", "tuned", "gain", "gain_low", "baseline"]
    points = curve[numbers].astype(float) * 100.0
    based = points[points["base"].notna()]
    tuned = points[points["tuned"].notna() & (curve["step"].fillna(1) != 0).astype(bool)]
    both = points[points["gain"].notna()]
    baseline = float(points["baseline"].mean())
    facts: dict[str, object] = {
        "family": curve["family"].iloc[0],
        "task": curve["eval_task"].iloc[0],
        "setting": curve["setting"].iloc[0],
        "metric": curve["metric"].iloc[0],
        "checkpoints": len(based),
        "baseline": baseline,
    }
    if len(based):
        base = based["base"]
        rise = float(base.iloc[-1] - base.iloc[0])
        name = curve["checkpoint"]
        facts |= {
            "first": name[base.index[0]],
            "last": name[base.index[-1]],
            "base_first": float(base.iloc[0]),
            "base_last": float(base.iloc[-1]),
            "base_rise": rise,
            "base_above_baseline": float(base.max() - baseline),
        }
        facts |= _find_flat(base, name, margins)
    if len(tuned):
        facts["tuned_last"] = float(tuned["tuned"].iloc[-1])
        if len(tuned) > 1:
            facts["tuned_first"] = float(tuned["tuned"].iloc[0])
            facts["tuned_rise"] = float(tuned["tuned"].iloc[-1] - tuned["tuned"].iloc[0])
    if len(both) and len(based) and both.index[-1] == based.index[-1]:
        facts["gain_last"] = float(both["gain"].iloc[-1])
        facts["gain_clear"] = bool(both["gain_low"].iloc[-1] > 0)
    facts["reading"] = _classify(facts, based, tuned_anywhere=bool(len(tuned)), margins=margins)
    return facts


def _find_flat(base: pd.Series, names: pd.Series, margins: Margins) -> dict[str, object]:
    for start in range(len(base) - 2):
        spread = float(base.iloc[start:].max() - base.iloc[start:].min())
        if spread <= margins.flat:
            return {"flat_from": names[base.index[start]], "flat_range": spread}
    return {}


def _classify(facts: dict[str, object], based: pd.DataFrame, *, tuned_anywhere: bool, margins: Margins) -> str:
    if based.empty:
        return UNDECIDED
    gain = facts.get("gain_last")
    adds = isinstance(gain, float) and gain >= margins.gain and facts.get("gain_clear") is True
    adds_nothing = isinstance(gain, float) and gain < margins.no_gain
    last = based.iloc[-1]
    first = float(based["base"].iloc[0])
    low = last["base"] if np.isnan(last["base_low"]) else last["base_low"]
    rises = len(based) > 1 and float(last["base"]) - first >= margins.rise and float(low) > first
    above = facts.get("base_above_baseline")
    near = isinstance(above, float) and above <= margins.near_baseline
    if near and adds:
        return FINE_TUNING
    if near and adds_nothing:
        return NEITHER
    if rises and adds:
        return BOTH
    if rises and (adds_nothing or not tuned_anywhere):
        return PRETRAINING
    return UNDECIDED
