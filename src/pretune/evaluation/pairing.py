"""Two models on the items that both of them answered: the join, and the table of comparisons.

Tables in, tables out: the items are those of ``items.parquet`` (see :mod:`pretune.results.store`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pretune.config.science import LIKELIHOOD
from pretune.errors import DataError
from pretune.evaluation.significance import (
    Difference,
    detectable_difference,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_ratio_bootstrap,
)

logger = logging.getLogger(__name__)

EVALUATION = ["eval_task", "eval_format", "shots", "scorer"]
"""What one comparison is about; with the item it identifies a row of ``items.parquet``."""

COMPARISON = [
    *EVALUATION, "n", "unpaired", "first", "second", "difference", "low", "high",
    "only_first", "only_second", "test", "p_value", "p_holm", "detectable",
]  # fmt: skip


def pair_items(first: pd.DataFrame, second: pd.DataFrame, *, across: Sequence[str] = ()) -> pd.DataFrame:
    """Join the items of two runs by (eval_task, eval_format, shots, scorer, item).

    Columns: these keys, ``gold``, and ``value``, ``scores`` and ``prediction`` of both with ``_first`` and
    ``_second``. Items of one side only are left out. Columns named in ``across`` (``eval_format``, ``shots``) may
    differ: then those of ``first`` are kept.

    Raises :class:`~pretune.errors.DataError` when an item occurs twice in a run, or when the two runs disagree about
    its gold answer: then they did not see the same data.
    """
    keys = [*(name for name in EVALUATION if name not in across), "item"]
    for items in (first, second):
        twice = items.duplicated(keys, keep=False)
        if twice.any():
            raise DataError(f"{_where(items[twice].iloc[0])} occurs {int(twice.sum())} times in one run")
    carried = ["gold", "value", "scores", "prediction"]
    joined = first.merge(second[[*keys, *carried]], on=keys, suffixes=("_first", "_second"))
    golds = joined["gold_first"].fillna(""), joined["gold_second"].fillna("")
    other = golds[0] != golds[1]
    if other.any():
        row = joined[other].iloc[0]
        raise DataError(
            f"{int(other.sum())} of {len(joined)} common items have different gold answers: the runs did not see the "
            f"same data. The first: {_where(row)}: {row['gold_first']!r} and {row['gold_second']!r}"
        )
    names = [*EVALUATION, "item", "gold_first"]
    names += [f"{name}_{side}" for side in ("first", "second") for name in ("value", "scores", "prediction")]
    return joined[names].rename(columns={"gold_first": "gold"})


def compare_items(
    first: pd.DataFrame, second: pd.DataFrame, *, across: Sequence[str] = (), confidence: float = 0.95
) -> pd.DataFrame:
    """Compare two runs on their common items; one row per evaluation, columns :data:`COMPARISON`.

    ``difference`` is first − second with its BCa interval; ``unpaired`` counts items that only one of them has.
    ``test`` and ``p_value``: McNemar's exact test where all values are 0 or 1, else the paired bootstrap. ``p_holm``
    is adjusted for all rows of the table. ``detectable`` is the smallest true difference that so many items would
    show with probability 0.8 in a single test. Losses are compared as ratios of totals.
    """
    pairs = pair_items(first, second, across=across)
    sizes = [items.groupby(EVALUATION, dropna=False)["item"].count() for items in (first, second)]
    rows = []
    for key, group in pairs.groupby(EVALUATION, dropna=False, sort=True):
        named = dict(zip(EVALUATION, key, strict=True))
        alone = sum(_size_of(size, named, across) for size in sizes) - 2 * len(group)
        rows.append({**named, **_compare_values(group, str(named["scorer"]), confidence), "unpaired": alone})
    table = pd.DataFrame(rows, columns=COMPARISON)
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=float))
    table["shots"] = table["shots"].astype("Int64")
    return table


def _compare_values(group: pd.DataFrame, scorer: str, confidence: float) -> dict[str, object]:
    """Everything about one evaluation."""
    values = [group[f"value_{side}"].to_numpy(dtype=float) for side in ("first", "second")]
    row: dict[str, object] = {}
    if scorer == LIKELIHOOD:
        totals = [_totals(group, side) for side in ("first", "second")]
        kept = np.logical_and(*(tokens > 0 for _, tokens in totals))
        if not kept.any():
            raise DataError(f"{_where(group.iloc[0])}: no common item has tokens")
        one, two = ((nats[kept], tokens[kept]) for nats, tokens in totals)
        found: Difference = paired_ratio_bootstrap(one, two, confidence=confidence)
        row |= {"first": one[0].sum() / one[1].sum(), "second": two[0].sum() / two[1].sum()}
    else:
        found = paired_bootstrap(*values, confidence=confidence)
        row |= {"first": values[0].mean(), "second": values[1].mean()}
    row |= {"n": found.n, "difference": found.value, "low": found.low, "high": found.high}
    row |= {"test": "bootstrap", "p_value": found.p_value, "only_first": None, "only_second": None}
    if scorer != LIKELIHOOD and np.isin(np.concatenate(values), (0.0, 1.0)).all():
        exact = mcnemar(*values)
        row |= {"only_first": exact.only_first, "only_second": exact.only_second}
        row |= {"test": "McNemar", "p_value": exact.p_value}
    row["detectable"] = detectable_difference(found.spread, found.n, alpha=1 - confidence)
    return row


def _totals(group: pd.DataFrame, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Nats and tokens of each document: an item holds its log-likelihood and its loss per token."""
    nats = np.array([-scores[0] if len(scores) else 0.0 for scores in group[f"scores_{side}"]], dtype=float)
    value = group[f"value_{side}"].to_numpy(dtype=float)
    tokens = np.round(np.divide(nats, value, out=np.zeros_like(nats), where=value != 0))
    return nats, tokens


def _size_of(sizes: pd.Series, named: dict[str, object], across: Sequence[str]) -> int:
    """Number of items of the evaluation ``named`` in a run, whatever its values of the columns ``across``."""
    frame = sizes.rename("count").reset_index()
    for name in EVALUATION:
        if name not in across:
            frame = frame[frame[name].isna() if pd.isna(named[name]) else frame[name] == named[name]]  # type: ignore[call-overload]
    return int(frame["count"].sum())


def _where(row: pd.Series) -> str:
    return f"item {row['item']} of {row['eval_task']} ({row['scorer']})"
