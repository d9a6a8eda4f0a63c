"""The order of checkpoints within a ladder, and where each stands on an axis."""

from __future__ import annotations

import pandas as pd

CHECKPOINT = ["family", "checkpoint"]
FACTS = ["step", "tokens", "annealed"]
"""Columns that say where a checkpoint stands in pre-training."""


def order_checkpoints(table: pd.DataFrame) -> pd.DataFrame:
    """List the checkpoints of a cleaned table in the order of pre-training.

    Columns: ``family, checkpoint, step, tokens, annealed, position, label``. ``position`` counts from 0 within a
    family: by step; checkpoints without a step follow in the order of their first appearance. ``label`` is
    "step 1,024" where the step is known, else the checkpoint's name.
    """
    known = table.dropna(subset=["checkpoint"])
    first = known.groupby(CHECKPOINT, sort=False, dropna=False)[FACTS].first().reset_index()
    first["_seen"] = range(len(first))
    ordered = first.sort_values(["family", "step", "_seen"], na_position="last", kind="stable", ignore_index=True)
    ordered["position"] = ordered.groupby("family", dropna=False).cumcount()
    ordered["label"] = [
        str(name) if pd.isna(step) else f"step {int(step):,}"
        for name, step in zip(ordered["checkpoint"], ordered["step"], strict=True)
    ]
    return ordered.drop(columns="_seen")


def has_steps(ordered: pd.DataFrame) -> bool:
    """Say whether every checkpoint has a step, so that steps can be an axis; else positions must serve."""
    return bool(len(ordered)) and bool(ordered["step"].notna().all())
