"""Curves over pre-training: the long form of a headline that trends, plateaus, noise and peaks are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.metrics import SHARES, is_lower_better
from pretune.results.schema import METRIC_COLUMNS, TEXT

CURVE = [
    "family", "annealed", "state", "eval_task", "train_task", "relation", "setting", "metric", "scorer",
    "eval_format", "shots",
]  # fmt: skip
"""What tells one curve from another. Annealed and un-annealed checkpoints are never points of one curve."""

SERIES: Mapping[str, str] = {
    "family": "ladder of checkpoints",
    "annealed": "'annealed', 'not annealed' or 'unknown'",
    "state": "base or tuned",
    "eval_task": "evaluated task",
    "train_task": "training task; null for base models",
    "relation": "relation of the evaluated task to the training task; null for base models",
    "setting": "what else varies between trainings of the task; empty when nothing does",
    "metric": "metric of the value",
    "scorer": "scorer of the value",
    "eval_format": "prompt format of the evaluation",
    "shots": "shots of the evaluation",
    "checkpoint": "checkpoint",
    "step": "pre-training step",
    "tokens": "pre-training tokens",
    "position": "place in the ladder, from 0",
    "axis": "what x is: 'log2 tokens', 'log2 step' or 'position'",
    "x": "place on the axis; step 0 stands one doubling before the first later checkpoint",
    "value": "mean over seeds, in the units of the table",
    "low": "lower end of its 95 % interval",
    "high": "upper end",
    "good": "the value with its sign turned for losses: more is better",
    "item_se": "standard error from the sample of evaluated rows alone; null when unknown",
    "seed_sd": "standard deviation over training seeds; null with fewer than two",
    "seeds": "training seeds",
    "baseline": "trivial baseline on the evaluated rows",
    "runs": "run ids behind the value",
}

_TYPES = {**METRIC_COLUMNS, "annealed": TEXT, "setting": TEXT, "value": "float64"}

_KEPT = ["family", "checkpoint", "step", "tokens", "position", "eval_task", "metric", "scorer", "eval_format", "shots",
         "baseline"]  # fmt: skip


def build_frame(records: Sequence[Mapping[str, object]] | pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Build a table with exactly ``columns`` in their order; those that the results table has too keep their type."""
    frame = pd.DataFrame(records, columns=list(columns))
    return frame.astype({name: _TYPES[name] for name in columns if name in _TYPES})


def build_series(headline: pd.DataFrame) -> pd.DataFrame:
    """Turn a headline (one row per checkpoint and training, base beside tuned) into curves; columns :data:`SERIES`.

    Base scores stand once per evaluated task, whatever was trained beside them. ``item_se`` is the half-width of the
    95 % interval, without the part that seeds added, over 1.96; where a share has no interval, or one of width zero,
    √(p(1−p)/n) with p = (k + ½)/(n + 1). Rows without a value are left out.
    """
    base = headline.dropna(subset=["base"])
    base = base.drop_duplicates(["family", "checkpoint", "eval_task", "metric", "scorer", "eval_format", "shots"])
    tuned = headline.dropna(subset=["tuned"])
    parts = []
    for state, rows in (("base", base), ("tuned", tuned)):
        part = rows[_KEPT].copy()
        part["annealed"] = name_annealing(rows["annealed"])
        part["state"] = state
        part["train_task"] = rows["train_task"] if state == "tuned" else None
        part["relation"] = rows["relation"] if state == "tuned" else None
        part["setting"] = rows["setting"].fillna("") if state == "tuned" else ""
        part["value"] = rows[state].astype(float)
        part["low"], part["high"] = rows[f"{state}_low"].astype(float), rows[f"{state}_high"].astype(float)
        part["seed_sd"] = rows["tuned_sd"].astype(float) if state == "tuned" else np.nan
        part["seeds"] = rows["seeds"].astype(float) if state == "tuned" else np.nan
        part["item_se"] = _find_item_errors(rows, state)
        part["runs"] = rows[f"{state}_runs"]
        parts.append(part)
    series = pd.concat(parts, ignore_index=True)
    lower = series["metric"].map(lambda name: is_lower_better(str(name))).astype(bool)
    series["good"] = series["value"].where(~lower, -series["value"])
    series = place_on_axis(series)
    order = [*CURVE, "position"]
    return build_frame(series.sort_values(order, kind="stable", ignore_index=True), SERIES)


def name_annealing(annealed: pd.Series) -> pd.Series:
    """Return 'annealed', 'not annealed' or 'unknown' for a nullable truth value."""
    names = annealed.astype("boolean").map({True: "annealed", False: "not annealed"})
    return names.astype("string").fillna("unknown")


def place_on_axis(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``axis`` and ``x``: log2 of tokens where a family has them everywhere, else of steps, else the position."""
    result = rows.copy()
    result["axis"], result["x"] = "position", result["position"].astype(float)
    for _, group in rows.groupby("family", dropna=False, sort=False):
        for name in ("tokens", "step"):
            known = group[name].to_numpy(dtype=float, na_value=np.nan)
            positive = known[known > 0]
            if len(known) and np.isfinite(known).all() and len(positive):
                floor = positive.min() / 2
                result.loc[group.index, "x"] = np.log2(np.maximum(known, floor))
                result.loc[group.index, "axis"] = f"log2 {name}"
                break
    return result


def _find_item_errors(rows: pd.DataFrame, state: str) -> pd.Series:
    """Standard errors of the item sample, with the part that seeds added to the interval taken out again."""
    from scipy import stats

    value, low, high = (rows[f"{state}{end}"].to_numpy(dtype=float, na_value=np.nan) for end in ("", "_low", "_high"))
    half = np.fmax(high - value, value - low)  # the wider side: the other may be cut off at 0 or 1
    if state == "tuned":
        sd = rows["tuned_sd"].to_numpy(dtype=float, na_value=np.nan)
        seeds = rows["seeds"].to_numpy(dtype=float, na_value=1.0)
        added = stats.t.ppf(0.975, np.maximum(seeds - 1, 1)) ** 2 * sd**2 / np.maximum(seeds, 1)
        half = np.sqrt(np.maximum(half**2 - np.nan_to_num(added), 0.0))
    error = half / 1.96
    n = rows[f"{state}_n"].to_numpy(dtype=float, na_value=np.nan)
    share = rows["metric"].isin(SHARES - {"rouge_l"}).to_numpy()
    p = (value * n + 0.5) / (n + 1)
    with np.errstate(invalid="ignore"):
        binomial = np.sqrt(np.clip(p * (1 - p), 0.0, None) / n)
    error = np.where(share & ~(error > 0), binomial, error)
    return pd.Series(error, index=rows.index)


def split_own(series: pd.DataFrame) -> pd.Series:
    """Mark the curves of a task itself: base models, and models trained on the evaluated task."""
    return (series["state"] == "base") | (series["train_task"] == series["eval_task"]).fillna(False).astype(bool)


def list_pairs(headline: pd.DataFrame) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
    """Group a headline into (family, annealed, evaluated task, setting) of tasks' own trainings, or of none.

    Each group is sorted by position and has an ``annealed`` column in words.
    """
    own = (headline["train_task"] == headline["eval_task"]).fillna(False) | headline["train_task"].isna()
    rows = headline[own.astype(bool)].copy()
    rows["annealed"] = name_annealing(rows["annealed"])
    rows["setting"] = rows["setting"].fillna("")
    keys = ["family", "annealed", "eval_task", "setting", *SETTING]
    groups = rows.groupby(keys, dropna=False, sort=False)
    return [(tuple(key[:4]), group.sort_values("position", kind="stable")) for key, group in groups]
