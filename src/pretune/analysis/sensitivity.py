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

DAMAGES = ("increase", "drop", "degradation")
_KEYS = ["family", "annealed", "disturbance", "state", "train_task", "setting", "lr", "eval_task", *PROBE, "metric"]


def fit_sensitivity(probes: pd.DataFrame, forgetting: pd.DataFrame) -> pd.DataFrame:
    """Fit the damage of each disturbance against pre-training; columns :data:`SENSITIVITY`.

    ``probes`` is :func:`build_probes`' table: its metrics that are differences to the undisturbed model (names with
    ``increase``, ``drop`` or ``degradation``) are damages, one curve per size γ. ``forgetting`` is
    :func:`build_forgetting` with ``every_rate``: the change of the loss on pre-training text, one curve per learning
    rate (a fixed rate is a disturbance of a fixed size; Springer et al., section 3.4.1). Least squares on the
    logarithmic axis with Student's t, and Kendall's tau, which does not ask for a straight line. Assumes
    independent errors of equal size.
    """
    parts = [_from_probes(probes), _from_forgetting(forgetting)]
    rows = pd.concat([part for part in parts if len(part)], ignore_index=True) if any(map(len, parts)) else parts[0]
    records = []
    for key, group in rows.groupby(_KEYS, dropna=False, sort=False) if len(rows) else ():
        curve = group.sort_values("position", kind="stable")
        damage = curve["damage"].to_numpy(dtype=float)
        line = fit_line(curve["x"], damage)
        records.append(dict(zip(_KEYS, key, strict=True)) | {
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


def _from_probes(probes: pd.DataFrame) -> pd.DataFrame:
    is_damage = probes["metric"].astype("string").str.contains("|".join(DAMAGES)).fillna(False).astype(bool)
    rows = probes[is_damage].copy()
    rows["damage"] = rows["value"]
    rows["disturbance"] = [
        " ".join(str(part) for part in parts if not pd.isna(part))
        for parts in zip(rows["probe"], rows["probe_variant"], rows["magnitude"], strict=True)
    ]
    return rows[[*_KEYS, "position", "axis", "x", "damage"]]


def _from_forgetting(forgetting: pd.DataFrame) -> pd.DataFrame:
    rows = forgetting.dropna(subset=["change", "train_task"])
    if rows.empty:
        return pd.DataFrame(columns=[*_KEYS, "position", "axis", "x", "damage"])
    rows = place_on_axis(rows)
    rows["annealed"] = name_annealing(rows["annealed"])
    rows["setting"] = rows["setting"].fillna("")
    rows["state"] = "base"
    sign = np.where(rows["metric"].map(lambda name: is_lower_better(str(name))).astype(bool), 1.0, -1.0)
    rows["damage"] = rows["change"].astype(float) * sign
    rows["disturbance"] = [f"fine-tuning, lr {lr:g}" if pd.notna(lr) else "fine-tuning" for lr in rows["lr"]]
    for name in PROBE:
        rows[name] = pd.NA
    return rows[[*_KEYS, "position", "axis", "x", "damage"]]
