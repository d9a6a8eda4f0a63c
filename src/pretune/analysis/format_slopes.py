"""Whether more pre-training makes a model less sensitive to the wording of the prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import integrate, stats

from pretune.analysis.correction import correct
from pretune.analysis.formats import FORMAT_PREFIX
from pretune.analysis.ladders import CHECKPOINT
from pretune.analysis.regression import fit_line, name_direction
from pretune.analysis.series import SERIES, build_frame, name_annealing, place_on_axis

FORMAT_SLOPES: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "eval_task": SERIES["eval_task"],
    "state": SERIES["state"],
    "train_format": "format the model was trained in; null for base models",
    "setting": SERIES["setting"],
    "metric": SERIES["metric"],
    "shots": SERIES["shots"],
    "formats": "formats that were compared, the same at every checkpoint used",
    "checkpoints": "checkpoints with all of them",
    "axis": SERIES["axis"],
    "spread_first": "best − worst format at the first checkpoint",
    "spread_last": "best − worst format at the last checkpoint",
    "noise_spread": "spread that noise alone would give between equally good formats; null without noise",
    "slope": "change of the spread per unit of the axis (a doubling on a log2 axis)",
    "slope_low": "lower end of its 95 % interval",
    "slope_high": "upper end of its 95 % interval",
    "p": "two-sided p-value of no slope",
    "p_holm": "the same, corrected by Holm over the rows of the ladder and state",
    "finding": "'less sensitive', 'more sensitive', 'undecided' or 'not enough data'",
}


def fit_format_slopes(formats: pd.DataFrame, checkpoints: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Fit the spread over prompt formats against pre-training; columns :data:`FORMAT_SLOPES`.

    ``formats`` is :func:`build_formats`' table, ``checkpoints`` that of :func:`order_checkpoints`. Only formats that
    most checkpoints have, and checkpoints that have all of these, are compared: a spread grows with their number.
    Least squares on the logarithmic axis, Student's t (:func:`fit_line`). ``noise_spread`` is noise_sd times the
    expected range of that many standard normal values. Assumes independent errors of equal size; a spread is never
    negative, so near zero it is neither, and a slope there is flattened.
    """
    if formats.empty:
        return build_frame([], FORMAT_SLOPES)
    facts = checkpoints[[*CHECKPOINT, "annealed"]].drop_duplicates(CHECKPOINT)
    rows = place_on_axis(formats.merge(facts, on=CHECKPOINT, how="left"))
    rows["annealed"] = name_annealing(rows["annealed"])
    rows["setting"] = rows["setting"].fillna("")
    columns = [name for name in rows.columns if name.startswith(FORMAT_PREFIX)]
    sds = noise.groupby(["family", "annealed", "state", "eval_task"])["noise_sd"].median().to_dict()
    keys = ["family", "annealed", "eval_task", "state", "train_format", "setting", "metric", "shots"]
    records = []
    for key, group in rows.groupby(keys, dropna=False, sort=False):
        curve = group.sort_values("position", kind="stable")
        scores = curve[columns]
        common = [name for name in columns if scores[name].notna().mean() > 0.5]
        complete = scores[common].notna().all(axis=1) if len(common) > 1 else pd.Series(False, index=curve.index)
        curve = curve[complete]
        if curve.empty:
            continue
        spread = (curve[common].max(axis=1) - curve[common].min(axis=1)).to_numpy(dtype=float)
        line = fit_line(curve["x"], spread)
        facts_of = dict(zip(keys, key, strict=True))
        sd = sds.get((facts_of["family"], facts_of["annealed"], facts_of["state"], facts_of["eval_task"]), math.nan)
        records.append(facts_of | {
            "formats": ", ".join(name.removeprefix(FORMAT_PREFIX) for name in common), "checkpoints": len(curve),
            "axis": curve["axis"].iloc[0], "spread_first": spread[0], "spread_last": spread[-1],
            "noise_spread": sd * expected_range(len(common)), "slope": line.slope, "slope_low": line.low,
            "slope_high": line.high, "p": line.p,
        })  # fmt: skip
    table = build_frame(records, FORMAT_SLOPES)
    table["p_holm"] = correct(table["p"], [table["family"], table["annealed"], table["state"]])
    table["finding"] = [
        name_direction(slope, p, up="more sensitive", down="less sensitive")
        for slope, p in zip(table["slope"].astype(float), table["p_holm"], strict=True)
    ]
    return table


@lru_cache(maxsize=32)
def expected_range(count: int) -> float:
    """Expected range of ``count`` independent standard normal values."""
    if count < 2:
        return 0.0
    value, _ = integrate.quad(lambda z: 1 - stats.norm.cdf(z) ** count - stats.norm.sf(z) ** count, -np.inf, np.inf)
    return float(value)
