"""Progressive sensitivity: whether the same disturbance does more damage the longer a model was pre-trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pretune.analysis.correction import correct
from pretune.analysis.disturbed import PROBE
from pretune.analysis.kendall import mann_kendall
from pretune.analysis.metrics import is_lower_better
from pretune.analysis.regression import fit_line, name_direction
from pretune.analysis.series import SERIES, build_frame, name_annealing, place_on_axis

DISTURBANCE = [
    "family", "annealed", "disturbance", "state", "train_task", "setting", "lr", "eval_task", *PROBE, "metric",
]  # fmt: skip
"""What tells one curve of damages from another."""

SENSITIVITY: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "disturbance": "in words: the probe with its size, or fine-tuning with its learning rate",
    "state": "base or tuned: which weights were disturbed (fine-tuning disturbs base weights)",
    "train_task": "training task of tuned weights, or of the fine-tuning that is the disturbance",
    "setting": SERIES["setting"],
    "lr": "learning rate of that training",
    "eval_task": "what was measured on",
    "probe": "the probe; null for fine-tuning",
    "probe_variant": "its variant",
    "magnitude": "its size",
    "metric": "measure of the damage: positive is worse",
    "checkpoints": "points of the curve",
    "axis": SERIES["axis"],
    "first": "damage at the first checkpoint",
    "last": "damage at the last checkpoint",
    "slope": "change of the damage per unit of the axis (a doubling on a log2 axis)",
    "slope_low": "lower end of its 95 % interval",
    "slope_high": "upper end of its 95 % interval",
    "p": "two-sided p-value of no slope",
    "p_holm": "the same, corrected by Holm over the ladder's rows of one kind (probe, or fine-tuning)",
    "tau": "Kendall's tau-b between order and damage",
    "finding": "'more sensitive', 'less sensitive', 'undecided' or 'not enough data'",
}

DAMAGE: Mapping[str, str] = {
    **{name: SENSITIVITY[name] for name in DISTURBANCE},
    **{name: SERIES[name] for name in ("checkpoint", "step", "tokens", "position", "axis", "x")},
    "damage": "mean over seeds: positive is worse",
    "damage_low": "lower end of its 95 % interval: evaluated rows and seeds; null when neither is known",
    "damage_high": "upper end",
    "runs": "run ids behind it",
}

DAMAGES = ("increase", "drop", "degradation")


def build_damages(probes: pd.DataFrame, forgetting: pd.DataFrame) -> pd.DataFrame:
    """Collect the damages that disturbances do, one row per checkpoint and curve; columns :data:`DAMAGE`.

    ``probes`` is :func:`build_probes`' table: its metrics that are differences to the undisturbed model (names with
    ``increase``, ``drop`` or ``degradation``) are damages, one curve per size γ. ``forgetting`` is
    :func:`build_forgetting` with ``every_rate``: the change of the loss on pre-training text, one curve per learning
    rate (a fixed rate is a disturbance of a fixed size; Springer et al., section 3.4.1).
    """
    parts = [part for part in (_from_probes(probes), _from_forgetting(forgetting)) if len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(DAMAGE))
    return build_frame(rows.sort_values([*DISTURBANCE, "position"], kind="stable", ignore_index=True), DAMAGE)


def fit_sensitivity(damages: pd.DataFrame) -> pd.DataFrame:
    """Fit the damage of each disturbance (:func:`build_damages`) against pre-training; columns :data:`SENSITIVITY`.

    Least squares on the logarithmic axis with Student's t, and Kendall's tau, which does not ask for a straight line.
    Assumes independent errors of equal size.
    """
    records = []
    for key, curve in damages.groupby(DISTURBANCE, dropna=False, sort=False):
        damage = curve["damage"].to_numpy(dtype=float)
        line = fit_line(curve["x"], damage)
        records.append(dict(zip(DISTURBANCE, key, strict=True)) | {
            "checkpoints": len(curve), "axis": curve["axis"].iloc[0], "first": damage[0], "last": damage[-1],
            "slope": line.slope, "slope_low": line.low, "slope_high": line.high, "p": line.p,
            "tau": mann_kendall(damage).tau,
        })  # fmt: skip
    table = build_frame(records, SENSITIVITY)
    table["p_holm"] = correct(table["p"], [table["family"], table["annealed"], table["probe"]])
    table["finding"] = [
        name_direction(slope, p, up="more sensitive", down="less sensitive")
        for slope, p in zip(table["slope"].astype(float), table["p_holm"], strict=True)
    ]
    return table


def is_damage(metrics: pd.Series) -> pd.Series:
    """Mark the metrics of probes that are differences to the undisturbed model, signed so that more is worse."""
    return metrics.astype("string").str.contains("|".join(DAMAGES)).fillna(False).astype(bool)


def _from_probes(probes: pd.DataFrame) -> pd.DataFrame:
    rows = probes[is_damage(probes["metric"])].copy()
    rows["disturbance"] = [
        " ".join(str(part) for part in parts if not pd.isna(part))
        for parts in zip(rows["probe"], rows["probe_variant"], rows["magnitude"], strict=True)
    ]
    return rows.rename(columns={"value": "damage", "low": "damage_low", "high": "damage_high"}).reindex(
        columns=list(DAMAGE)
    )


def _from_forgetting(forgetting: pd.DataFrame) -> pd.DataFrame:
    rows = forgetting.dropna(subset=["change", "train_task"])
    if rows.empty:
        return pd.DataFrame(columns=list(DAMAGE))
    rows = place_on_axis(rows)
    rows["annealed"] = name_annealing(rows["annealed"])
    rows["setting"] = rows["setting"].fillna("")
    rows["state"] = "base"
    less = rows["metric"].map(lambda name: is_lower_better(str(name))).to_numpy(dtype=bool)
    change, low, high = (rows[f"change{end}"].to_numpy(dtype=float) for end in ("", "_low", "_high"))
    rows["damage"] = np.where(less, change, -change)
    rows["damage_low"], rows["damage_high"] = np.where(less, low, -high), np.where(less, high, -low)
    rows["disturbance"] = [f"fine-tuning, lr {lr:g}" if pd.notna(lr) else "fine-tuning" for lr in rows["lr"]]
    for name in PROBE:
        rows[name] = pd.NA
    return rows.rename(columns={"tuned_runs": "runs"})[list(DAMAGE)]
