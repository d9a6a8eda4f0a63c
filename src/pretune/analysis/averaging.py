"""One value with an interval out of several measurements that differ in their seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from pretune.analysis.metrics import SHARES


def average_seeds(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Average the rows of each group ``by`` (which must include ``metric``).

    Returns the columns ``by`` and ``value, low, high, n, seeds, sd, runs``: the mean; a 95 % interval; the smallest
    number of evaluated rows; how many seeds; their standard deviation (null with one); the run ids, separated by
    spaces.

    Method. All seeds are scored on the same items, so averaging over seeds does not make the sample of items
    larger: the item part of the interval is the root mean square of the distances from value to ``ci_low`` (and to
    ``ci_high``). With k > 1 seeds, t(.975, k−1)·sd/√k is added to it in quadrature. With one seed, the spread of
    training runs is unknown and the interval is that of the items alone. Shares are cut off at 0 and 1.
    """
    by = list(by)
    work = rows[by].copy()
    for name in ("value", "ci_low", "ci_high"):
        work[name] = rows[name].to_numpy(dtype=float, na_value=np.nan)
    work["down"] = (work["value"] - work.pop("ci_low")) ** 2
    work["up"] = (work.pop("ci_high") - work["value"]) ** 2
    work["n"], work["seed"], work["run_id"] = rows["n"], rows["seed"].fillna(-1), rows["run_id"].fillna("")
    groups = work.groupby(by, dropna=False, sort=False)
    result = groups.agg(
        value=("value", "mean"),
        sd=("value", "std"),
        rows=("value", "count"),
        down=("down", "mean"),
        up=("up", "mean"),
        n=("n", "min"),
        seeds=("seed", "nunique"),
        runs=("run_id", "first"),
    ).reset_index()
    several = result["rows"] > 1
    if several.any():
        # Joining text is slow; most groups have one row.
        number = groups.ngroup()
        repeated = number.isin(result.index[several])
        result.loc[several, "runs"] = join_ids(work["run_id"][repeated], number[repeated])
    count = result["rows"].to_numpy(dtype=float)
    quantile = stats.t.ppf(0.975, np.maximum(count - 1, 1))
    spread = np.where(count > 1, (quantile * result["sd"].to_numpy(dtype=float)) ** 2 / count, 0.0)
    for bound, part, sign in (("low", "down", -1.0), ("high", "up", 1.0)):
        items = result[part].to_numpy(dtype=float)
        square = np.where(np.isnan(items), np.where(count > 1, spread, np.nan), items + spread)
        result[bound] = result["value"] + sign * np.sqrt(square)
    share = result["metric"].isin(SHARES)
    result["low"] = result["low"].where(~share, result["low"].clip(lower=0.0))
    result["high"] = result["high"].where(~share, result["high"].clip(upper=1.0))
    return result[[*by, "value", "low", "high", "n", "seeds", "sd", "runs"]]


def join_ids(ids: pd.Series, groups: pd.Series) -> pd.Series:
    """Join the run ids of each group, sorted and separated by spaces; indexed by group."""
    found: dict[object, set[str]] = {}
    for text, group in zip(ids.fillna(""), groups, strict=True):
        found.setdefault(group, set()).update(str(text).split())
    return pd.Series({group: " ".join(sorted(names)) for group, names in found.items()}, dtype="str")


def subtract(frame: pd.DataFrame, left: str, right: str) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return ``left − right`` with a 95 % interval, from columns ``X``, ``X_low`` and ``X_high`` of both.

    Distances are added in quadrature, as if the two were measured on different items. They are measured on the
    same ones, which usually makes the true interval narrower: this one errs on the wide side.
    """
    difference = frame[left] - frame[right]
    below = np.hypot(frame[left] - frame[f"{left}_low"], frame[f"{right}_high"] - frame[right])
    above = np.hypot(frame[f"{left}_high"] - frame[left], frame[right] - frame[f"{right}_low"])
    return difference, difference - below, difference + above
