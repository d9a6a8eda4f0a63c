"""What fine-tuning adds at each checkpoint, and what pre-training adds to it where the base score is flat."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from pretune.analysis.correction import correct
from pretune.analysis.dichotomy import CLEAR, DICHOTOMY, NONE, UNKNOWN, Thresholds, decide, look_up, pick_end
from pretune.analysis.metrics import is_lower_better
from pretune.analysis.noise import NOISE
from pretune.analysis.series import SERIES, build_frame, list_pairs, name_annealing

GAINS: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "checkpoint": SERIES["checkpoint"],
    "step": SERIES["step"],
    "tokens": SERIES["tokens"],
    "train_task": SERIES["train_task"],
    "eval_task": SERIES["eval_task"],
    "relation": SERIES["relation"],
    "setting": SERIES["setting"],
    "metric": SERIES["metric"],
    "base": "base score",
    "tuned": "tuned score",
    "gain": "tuned − base, sign turned for losses: more is better",
    "gain_low": "lower end of its 95 % interval",
    "gain_high": "upper end of its 95 % interval",
    "noise_sd": "noise of the difference: tuned and base noise_sd in quadrature",
    "p": "two-sided p-value of no gain, normal, from the larger of interval and noise",
    "p_holm": "the same, corrected by Holm over all rows of the ladder",
    "base_runs": "run ids of the base score",
    "tuned_runs": "run ids of the tuned score",
}

LATENT: Mapping[str, str] = {
    **{name: DICHOTOMY[name] for name in ("family", "annealed", "eval_task", "setting", "metric")},
    "latent": "'yes': tuned grows while base is flat; 'no'; or 'undecided'",
    "because": "the evidence in words",
    "checkpoints": "checkpoints with both scores",
    "base_growth": "base score: mean of the end − first checkpoint",
    "base_growth_units": "the same in units of the noise of a difference",
    "tuned_growth": "tuned score: mean of the end − first checkpoint",
    "tuned_growth_units": "the same in units of the noise of a difference",
    "gain_first": "gain at the first checkpoint",
    "gain_end": "mean gain at the end",
    "turning_after": "last checkpoint before the interval of the tuned score's plateau onset",
    "turning_by": "first checkpoint at or after that interval",
    "turning_low_step": "lower end of the interval in steps",
    "turning_high_step": "upper end of the interval in steps",
    "turning_low_tokens": "lower end of the interval in tokens",
    "turning_high_tokens": "upper end of the interval in tokens",
    "turning_shape": "shape of the tuned curve (see trends)",
    "base_shape": "shape of the base curve (see trends)",
    "tuned_noise_sd": NOISE["noise_sd"],
}


def measure_gains(headline: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """List tuned − base at every checkpoint that has both, with noise and corrected p-values; columns :data:`GAINS`.

    The standard error of a row is the larger of its interval's (half-width / 1.96) and the noise of the difference
    (:func:`measure_noise`; tuned and base as if on different rows, which errs on the wide side). p-values are normal.
    """
    rows = headline.dropna(subset=["base", "tuned"]).copy()
    rows["annealed"] = name_annealing(rows["annealed"])
    rows["setting"] = rows["setting"].fillna("")
    keys = ["family", "annealed", "eval_task", "metric", "eval_format", "shots"]
    base_sd = look_up(noise[noise["state"] == "base"], keys, "noise_sd")
    own = [*keys, "train_task", "setting"]
    tuned_sd = look_up(noise[noise["state"] == "tuned"], own, "noise_sd")
    base = np.array([base_sd.get(tuple(key), math.nan) for key in rows[keys].to_numpy()], dtype=float)
    tuned = np.array([tuned_sd.get(tuple(key), math.nan) for key in rows[own].to_numpy()], dtype=float)
    rows["noise_sd"] = np.hypot(base, tuned)
    half = (rows["gain_high"] - rows["gain_low"]).to_numpy(dtype=float, na_value=np.nan) / 2 / 1.96
    error = np.fmax(half, rows["noise_sd"].to_numpy(dtype=float))
    size = np.abs(rows["gain"].to_numpy(dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        rows["p"] = 2 * stats.norm.sf(size / error)
    rows["p_holm"] = correct(rows["p"], [rows["family"], rows["annealed"]])
    return build_frame(rows.reset_index(drop=True), GAINS)


def find_latent_gains(
    headline: pd.DataFrame, noise: pd.DataFrame, trends: pd.DataFrame, thresholds: Thresholds | None = None
) -> pd.DataFrame:
    """Say per task whether pre-training improves the tuned model while the base score stays flat; columns
    :data:`LATENT`.

    Growth is the mean of the end (last third of the checkpoints with both scores, at most 5) minus the first, judged
    like the changes of :func:`classify_tasks`; ``latent`` is *yes* when the tuned growth is clear and the base growth
    is none, or certainly less than a quarter of it; *no* when the tuned growth is none or the base growth is clear
    and not minor. The turning point is the onset of the tuned curve's plateau, as :func:`find_trends` places it:
    an interval. Source of the notion: Sun & Dredze (arXiv 2408.06663), "latent improvement".
    """
    limits = thresholds or Thresholds()
    keys = ["family", "annealed", "eval_task", "metric", "eval_format", "shots"]
    base_sd = look_up(noise[noise["state"] == "base"], keys, "noise_sd")
    own = noise[(noise["train_task"] == noise["eval_task"]).fillna(False).astype(bool)]
    tuned_sd = look_up(own, [*keys, "setting"], "noise_sd")
    shapes = {
        (row["state"], *(row[name] for name in keys), row["setting"]): row
        for row in trends.to_dict("records")
        if row["state"] == "base" or row["train_task"] == row["eval_task"]
    }
    records = []
    for (family, annealed, task, setting), group in list_pairs(headline):
        if group["train_task"].isna().all():
            continue
        metric = str(group["metric"].iloc[0])
        curve = (family, annealed, task, metric, group["eval_format"].iloc[0], group["shots"].iloc[0])
        noises = (base_sd.get(curve, math.nan), tuned_sd.get((*curve, setting), math.nan))
        tuned_shape = shapes.get(("tuned", *curve, setting), {})
        base_shape = shapes.get(("base", *curve, ""), {})
        records.append(
            {"family": family, "annealed": annealed, "eval_task": task, "setting": setting, "metric": metric}
            | _grow(group, noises, limits, lower=is_lower_better(metric))
            | {
                "turning_after": tuned_shape.get("onset_after"), "turning_by": tuned_shape.get("onset_by"),
                "turning_low_step": tuned_shape.get("onset_low_step"),
                "turning_high_step": tuned_shape.get("onset_high_step"),
                "turning_low_tokens": tuned_shape.get("onset_low_tokens"),
                "turning_high_tokens": tuned_shape.get("onset_high_tokens"),
                "turning_shape": tuned_shape.get("shape"), "base_shape": base_shape.get("shape"),
                "tuned_noise_sd": noises[1],
            }
        )  # fmt: skip
    return build_frame(records, LATENT)


def _grow(group: pd.DataFrame, noises: tuple[float, float], limits: Thresholds, *, lower: bool) -> dict[str, object]:
    both = group.dropna(subset=["base", "tuned"])
    if len(both) < 2:
        reason = f"not enough data because growth needs two checkpoints with both scores; there are {len(both)}"
        gain = float(both["gain"].iloc[0]) if len(both) else math.nan
        return {"latent": "undecided", "because": reason, "checkpoints": len(both), "gain_first": gain}
    end = both.tail(pick_end(len(both)))
    sign = -1.0 if lower else 1.0
    units = {name: math.sqrt(2) * noise for name, noise in zip(("base", "tuned"), noises, strict=True)}
    growth = {name: sign * float(end[name].mean() - both[name].iloc[0]) for name in units}
    answers = {name: decide(growth[name], units[name], limits) for name in units}
    minor = growth["base"] + limits.none * units["base"] <= limits.minor * (
        growth["tuned"] - limits.none * units["tuned"]
    )
    if answers["tuned"] == CLEAR and (answers["base"] == NONE or minor):
        latent, why = "yes", "the tuned score grows clearly, the base score does not or far less"
    elif answers["tuned"] == NONE:
        latent, why = "no", "the tuned score does not grow"
    elif answers["base"] == CLEAR:
        latent, why = "no", "the base score grows clearly as well"
    else:
        parts = [f"{name} growth is {answer}" for name, answer in answers.items() if answer not in (CLEAR, NONE)]
        latent, why = "undecided", "; ".join(parts)
    found: dict[str, object] = {
        "latent": latent, "because": why, "checkpoints": len(both), "gain_first": float(both["gain"].iloc[0]),
        "gain_end": float(end["gain"].mean()),
    }  # fmt: skip
    for name, answer in answers.items():
        found[f"{name}_growth"] = growth[name]
        found[f"{name}_growth_units"] = growth[name] / units[name] if answer != UNKNOWN and units[name] else math.nan
    return found
