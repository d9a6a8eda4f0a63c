"""Transfer and forgetting in summary: what training on one kind of task does to another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from pretune.analysis.metrics import Measure
from pretune.analysis.series import SERIES, build_frame, name_annealing

EXCHANGE: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "relation": "in_domain, out_of_domain or cross_task",
    "trained_on": "kind of the training task: classification, generation or other",
    "evaluated_on": "kind of the evaluated task",
    "setting": SERIES["setting"],
    "checkpoint": "checkpoint; null for all of the ladder together",
    "step": SERIES["step"],
    "tokens": SERIES["tokens"],
    "unit": "unit of the differences: points (hundredths) or the metric's own",
    "cells": "checkpoint × training task × evaluated task cells",
    "pairs": "distinct pairs of training and evaluated task",
    "difference": "mean of tuned − base, each pair counting once",
    "difference_low": "lower end of its 95 % interval over pairs; null with one pair",
    "difference_high": "upper end",
    "worse": "share of cells where fine-tuning made the score worse",
    "ratio": "the study's MRC: mean over cells of (tuned − base) / base, in percent",
    "unstable": "cells whose base score is too near zero for a ratio",
    "ratio_stable": "the ratio over the other cells, in percent",
    "warning": "why the ratio should not be read, where it should not",
}

KINDS = {"accuracy": "classification", "rouge_l": "generation", "exact_match": "generation"}


def name_kind(metric: object) -> str:
    """Return the kind of task that a primary metric belongs to."""
    return KINDS.get(str(metric), "other")


def summarise_transfer(transfer: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.DataFrame:
    """Average :func:`derive_transfer` by relation and kinds of tasks, for each checkpoint and for the whole ladder;
    columns :data:`EXCHANGE`.

    Differences come first: they are means over pairs of tasks (a pair's checkpoints are averaged first, so that none
    counts more for having more cells), with Student's t interval over pairs: the pairs stand for other pairs of such
    tasks. The ratio is the one of Sun & Dredze (arXiv 2408.06663, mean relative change): the plain mean over
    cells. It is beside the point where a base score is near zero, so those cells are counted (``unstable``) and
    left out in ``ratio_stable``.
    """
    if transfer.empty:
        return build_frame([], EXCHANGE)
    rows = transfer.copy()
    rows["annealed"] = name_annealing(rows["annealed"])
    rows["setting"] = rows["setting"].fillna("")
    rows["evaluated_on"] = rows["metric"].map(name_kind)
    rows["trained_on"] = [_find_kind(str(task), measures) for task in rows["train_task"]]
    rows["unit"] = np.where(rows["points"], "points", rows["metric"].astype(str))
    rows["pair"] = rows.groupby(["train_task", "eval_task"], sort=False).ngroup()
    kinds = ["family", "annealed", "relation", "trained_on", "evaluated_on", "setting", "unit"]
    records = []
    for key, group in rows.groupby(kinds, dropna=False, sort=False):
        shared = dict(zip(kinds, key, strict=True))
        records.append(shared | {"checkpoint": None} | _summarise(group))
        for _, part in group.groupby("position", dropna=False):
            place = {name: part[name].iloc[0] for name in ("checkpoint", "step", "tokens")}
            records.append(shared | place | _summarise(part))
    return build_frame(records, EXCHANGE)


def _find_kind(task: str, measures: Mapping[str, Measure]) -> str:
    return name_kind(measures[task].metric) if task in measures else "other"


def _summarise(cells: pd.DataFrame) -> dict[str, object]:
    difference, ratio = (cells[name].to_numpy(dtype=float, na_value=np.nan) for name in ("difference", "ratio"))
    unstable, better = (cells[name].to_numpy(dtype=bool) for name in ("ratio_unstable", "higher_is_better"))
    _, number = np.unique(cells["pair"].to_numpy(), return_inverse=True)
    by_pair = np.bincount(number, weights=difference) / np.bincount(number)
    mean, pairs = float(by_pair.mean()), len(by_pair)
    half = _quantile(pairs - 1) * float(by_pair.std(ddof=1)) / math.sqrt(pairs) if pairs > 1 else math.nan
    count = int(unstable.sum())
    return {
        "cells": len(cells), "pairs": pairs, "difference": mean, "difference_low": mean - half,
        "difference_high": mean + half, "worse": float((np.where(better, difference, -difference) < 0).mean()),
        "ratio": _percent(ratio), "unstable": count, "ratio_stable": _percent(ratio[~unstable]),
        "warning": f"{count} of {len(cells)} base scores are near zero: the ratio says little" if count else "",
    }  # fmt: skip


def _percent(ratio: np.ndarray) -> float:
    known = ratio[np.isfinite(ratio)]
    return 100 * float(known.mean()) if len(known) else math.nan


@lru_cache(maxsize=256)
def _quantile(df: int) -> float:
    return float(stats.t.ppf(0.975, df))
