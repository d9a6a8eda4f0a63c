"""Curves over pre-training of disturbed models: probes, and text after fine-tuning at a fixed learning rate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pretune.analysis.averaging import average_seeds
from pretune.analysis.ladders import CHECKPOINT, order_checkpoints
from pretune.analysis.metrics import is_lower_better
from pretune.analysis.series import SERIES, build_frame, name_annealing, place_on_axis

PROBE = ["probe", "probe_variant", "magnitude"]
WEIGHTS = ["family", "annealed", "state", "train_task", "eval_task", "lr"]

PROBES: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "state": "base or tuned: which weights were disturbed",
    "train_task": "training task of tuned weights",
    "lr": "learning rate of tuned weights",
    "setting": "that rate in words; empty for base weights",
    "eval_task": "what the disturbed model was measured on; null when the probe says nothing about it",
    "probe": "the probe",
    "probe_variant": "its variant, with the wording of the prompt where it scored several",
    "magnitude": "its size: γ of the noise, bits of a quantisation …",
    "metric": "what was measured",
    "checkpoint": SERIES["checkpoint"],
    "step": SERIES["step"],
    "tokens": SERIES["tokens"],
    "position": SERIES["position"],
    "axis": SERIES["axis"],
    "x": SERIES["x"],
    "value": "mean over probe seeds and training seeds",
    "low": "lower end of its 95 % interval: evaluated rows and seeds; null when neither is known",
    "high": "upper end",
    "good": "the value with its sign turned where less is better",
    "seed_sd": "standard deviation over probe seeds and training seeds",
    "seeds": "values that were averaged",
    "runs": "run ids behind the value",
}

LESS_IS_BETTER = ("increase", "sharpness", "curvature", "error", "degradation", "trace", "eigenvalue", "drop")
"""Parts of names of probe metrics of which less is better, besides losses."""


def build_probes(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the probe rows of a cleaned table over seeds, one row per checkpoint; columns :data:`PROBES`.

    Intervals as in :func:`average_seeds`: all seeds disturb the same rows.
    """
    probes = rows[(rows["kind"] == "probe").fillna(False)].copy()
    if probes.empty:
        return build_frame([], PROBES)
    probes["annealed"] = name_annealing(probes["annealed"])
    probes["state"] = probes["state"].fillna("base")
    probes["probe_variant"] = _name_wordings(probes)
    by = [*WEIGHTS, *PROBE, "metric", "checkpoint"]
    table = average_seeds(probes.assign(seed=range(len(probes))), by).rename(columns={"sd": "seed_sd"})
    places = order_checkpoints(rows).drop(columns=["label", "annealed"])
    table = place_on_axis(table.merge(places, on=CHECKPOINT, how="left"))
    table["setting"] = [f"lr={lr:g}" if pd.notna(lr) else "" for lr in table["lr"]]
    less = table["metric"].map(prefers_less).astype(bool)
    table["good"] = np.where(less, -table["value"], table["value"])
    return build_frame(table.sort_values([*by[:-1], "position"], kind="stable", ignore_index=True), PROBES)


def _name_wordings(probes: pd.DataFrame) -> pd.Series:
    """Return the variant, with the wording of the prompt where one probe scored several: they are no seeds."""
    keys = [*WEIGHTS, *PROBE, "metric", "checkpoint"]
    several = probes.groupby(keys, dropna=False)["eval_format"].transform("nunique") > 1
    named = probes["probe_variant"].fillna("").astype("string") + ": " + probes["eval_format"].astype("string")
    return probes["probe_variant"].where(~several, named.str.removeprefix(": "))


def prefers_less(metric: object) -> bool:
    """Say whether a smaller value of a probe's metric is the better one."""
    name = str(metric)
    return is_lower_better(name) or any(part in name for part in LESS_IS_BETTER)
