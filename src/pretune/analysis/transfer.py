"""What training on one task does to every other: differences per checkpoint."""

from __future__ import annotations

import pandas as pd

from pretune.analysis.averaging import subtract
from pretune.analysis.headline import build_headline
from pretune.analysis.metrics import Primary, is_lower_better, points_per_unit

TRANSFER = [
    "family", "checkpoint", "step", "tokens", "annealed", "position", "train_task", "eval_task", "relation",
    "setting", "lr", "seeds", "eval_format", "shots", "metric", "scorer", "base", "tuned",
    "difference", "difference_low", "difference_high", "points", "higher_is_better",
    "ratio", "ratio_unstable", "base_runs", "tuned_runs",
]  # fmt: skip

LEAST_BASE, LEAST_ERRORS = 0.05, 5.0
"""A base score below these – of a share, in standard errors – is too near zero to divide by."""


def build_transfer(
    table: pd.DataFrame, primary: Primary, *, eval_format: str | None = None, shots: int | None = None
) -> pd.DataFrame:
    """Return tuned − base for every (checkpoint, training, evaluated task) that has both; columns :data:`TRANSFER`.

    ``difference`` is absolute: points (hundredths) for accuracy, ROUGE-L and exact match, the metric's own unit for
    losses (``points`` says which); its sign is that of tuned − base, and ``higher_is_better`` says how to read it.
    ``base`` and ``tuned`` are in the units of the table. ``ratio`` is (tuned − base) / base; ``ratio_unstable`` marks
    where it explodes, the base score being near zero: less than :data:`LEAST_BASE` of a share, or less than
    :data:`LEAST_ERRORS` times its own standard error. The 95 % interval treats the two scores as independent (see
    :func:`subtract`), so it errs on the wide side; the differences of a table are many, and none is corrected for that.
    """
    return derive_transfer(build_headline(table, primary, eval_format=eval_format, shots=shots))


def derive_transfer(headline: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`build_transfer`'s table from a headline that is already there."""
    has_both = headline["train_task"].notna() & headline["base"].notna() & headline["tuned"].notna()
    rows = headline[has_both].reset_index(drop=True)
    scale = rows["metric"].map(lambda name: points_per_unit(str(name))).astype(float)
    for name, values in zip(("", "_low", "_high"), subtract(rows, "tuned", "base"), strict=True):
        rows[f"difference{name}"] = values * scale
    rows["points"] = scale == 100.0
    base = rows["base"].astype(float)
    rows["ratio"] = (rows["tuned"].astype(float) - base) / base.where(base != 0)
    error = (rows["base_high"] - rows["base_low"]).astype(float) / 2 / 1.96
    rows["ratio_unstable"] = (rows["points"] & (base.abs() < LEAST_BASE)) | (base.abs() < LEAST_ERRORS * error)
    rows["higher_is_better"] = ~rows["metric"].map(lambda name: is_lower_better(str(name))).astype(bool)
    return rows[TRANSFER]


def pivot_transfer(transfer: pd.DataFrame) -> pd.DataFrame:
    """Lay one checkpoint and setting of :func:`build_transfer` out as train_task × eval_task of ``difference``."""
    return transfer.pivot_table(index="train_task", columns="eval_task", values="difference", aggfunc="mean")
