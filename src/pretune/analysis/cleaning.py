"""From a results table as it was found to one that every analysis can rely on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pretune.errors import DataError
from pretune.results.schema import METRIC_COLUMNS

MEASURED = ("run_id", "value", "ci_low", "ci_high", "n")
"""Columns that are the outcome of a measurement; all others say what was measured."""

REQUIRED = ("kind", "family", "checkpoint", "state", "eval_task", "metric", "value")


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A table in the contract's columns and types, and what had to be done to it."""

    table: pd.DataFrame
    notes: tuple[str, ...]


def clean(table: pd.DataFrame) -> Cleaned:
    """Return ``table`` with each measurement once, finite, and under one name per ladder of checkpoints.

    * Columns take the contract's types; a column that is absent becomes null.
    * Rows without a finite value are dropped (the measurement then counts as missing).
    * Rows that are equal in every column are kept once. Rows that measure the same thing and disagree (two runs,
      other evaluated rows …): those with the largest ``n`` are averaged, their run ids are listed together.
    * ``family`` gets the phase or the pre-training seed appended where the table has several of a family, so that
      one value of ``family`` is one ladder of checkpoints.

    Idempotent. Raises :class:`DataError` when columns are missing without which nothing can be said.
    """
    absent = [name for name in REQUIRED if name not in table.columns]
    if absent:
        raise DataError(f"the results table lacks the columns {absent}; it has {list(table.columns)}")
    notes: list[str] = []
    typed = _take_types(table)
    finite = np.isfinite(typed["value"].to_numpy(dtype=float, na_value=np.nan))
    if not finite.all():
        notes.append(f"{_count(int((~finite).sum()), 'row')} without a finite value: counted as missing.")
    typed = typed[finite].reset_index(drop=True)
    typed["checkpoint"] = typed["checkpoint"].fillna("(unnamed checkpoint)")
    typed["family"] = _name_ladders(typed)

    unique = typed.drop_duplicates(ignore_index=True)
    if len(unique) < len(typed):
        notes.append(f"{_count(len(typed) - len(unique), 'row')} equal to another one in every column: dropped.")
    merged, conflicts = _merge_conflicts(unique)
    if conflicts:
        notes.append(
            f"{_count(conflicts, 'measurement')} found more than once with different outcomes: those with the most "
            "evaluated rows were averaged; the run ids of all that were averaged are listed."
        )
    return Cleaned(table=merged, notes=tuple(notes))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _take_types(table: pd.DataFrame) -> pd.DataFrame:
    """Cast to the contract's columns and types."""
    columns: dict[str, pd.Series] = {}
    for name, dtype in METRIC_COLUMNS.items():
        if name not in table.columns:
            columns[name] = pd.Series(pd.NA, index=table.index, dtype=dtype)
            continue
        try:
            columns[name] = pd.Series(pd.array(table[name], dtype=dtype), index=table.index)  # type: ignore[call-overload]
        except (TypeError, ValueError) as error:
            raise DataError(f"column '{name}' of the results table is not of type {dtype}: {error}") from None
    return pd.DataFrame(columns, index=table.index)


def _name_ladders(table: pd.DataFrame) -> pd.Series:
    """Return ``family``, with phase and pre-training seed where a family has several of them."""
    name = table["family"].fillna("(unnamed family)")
    for column, wording in (("phase", ", {}"), ("pretrain_seed", ", pre-training seed {}")):
        several = table.groupby("family", dropna=False)[column].transform("nunique") > 1
        suffix = table[column].map(lambda value, wording=wording: wording.format(value), na_action="ignore")
        name = name.where(~several, name + suffix.astype("string").fillna(""))
    return name


def _merge_conflicts(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Merge rows that differ in nothing but the outcome; return the table and how many measurements were merged."""
    keys = [name for name in table.columns if name not in MEASURED]
    repeated = table.duplicated(keys, keep=False)
    if not repeated.any():
        return table, 0
    rows = []
    groups = table[repeated].groupby(keys, dropna=False, sort=False)
    for _, group in groups:
        size = group["n"].fillna(0)
        best = group[size == size.max()]
        row = best.iloc[0].copy()
        row["run_id"] = " ".join(sorted(set(best["run_id"].dropna()))) or pd.NA
        for name in ("value", "ci_low", "ci_high"):
            row[name] = best[name].mean()
        rows.append(row)
    merged = pd.DataFrame(rows).astype(dict(METRIC_COLUMNS))
    return pd.concat([table[~repeated], merged]).sort_index().reset_index(drop=True), len(rows)
