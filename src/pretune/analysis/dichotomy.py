"""Which tasks a model learns in pre-training and which only by fine-tuning, with the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pretune.analysis.metrics import points_per_unit
from pretune.analysis.noise import NOISE
from pretune.analysis.reading import BOTH, FINE_TUNING, NEITHER, PRETRAINING, UNDECIDED
from pretune.analysis.series import SERIES, build_frame, list_pairs

CLASSES = (PRETRAINING, FINE_TUNING, BOTH, NEITHER, UNDECIDED)
CLEAR, NONE, UNCLEAR, UNKNOWN = "clear", "none", "unclear", "unknown"

DICHOTOMY: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "eval_task": SERIES["eval_task"],
    "setting": SERIES["setting"],
    "metric": SERIES["metric"],
    "class": "one of " + "; ".join(CLASSES),
    "because": "the evidence in words",
    "checkpoints": "checkpoints with a base score",
    "tuned_checkpoints": "checkpoints with a tuned score",
    "end": "checkpoints that were averaged as the end of the curves",
    "baseline": SERIES["baseline"],
    "base_first": "base score at the first checkpoint",
    "base_end": "mean base score at the end",
    "tuned_end": "mean tuned score at the end",
    "rise": "base_end − base_first",
    "rise_units": "rise over the noise of a difference of two scores (√2 · noise_sd)",
    "gain": "tuned_end − mean base score at the same checkpoints",
    "gain_units": "gain over the noise of a difference of a tuned and a base score",
    "above": "largest mean of neighbouring base scores − baseline",
    "above_units": "above over noise_sd of the base score",
    "has_rise": "clear, none, unclear or unknown",
    "has_gain": "clear, none, unclear or unknown",
    "has_level": "whether the base model is above the baseline: clear, none, unclear or unknown",
    "base_noise_sd": "base curve: " + NOISE["noise_sd"],
    "tuned_noise_sd": "tuned curve: " + NOISE["noise_sd"],
    "base_p_holm": "corrected Mann–Kendall p-value of the base curve",
    "base_runs": "run ids of the base scores",
    "tuned_runs": "run ids of the tuned scores",
}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When a change is there and when it is not.

    ``clear``: it is at least this many noise units. ``none``: its size plus this many noise units stays below
    ``margin`` (in the units of a share: 0.10 is ten points). ``minor``: a change of at most this share of another one
    does not decide against it.
    """

    clear: float = 3.0
    none: float = 2.0
    margin: float = 0.10
    minor: float = 0.25


def classify_tasks(
    headline: pd.DataFrame, noise: pd.DataFrame, trends: pd.DataFrame, thresholds: Thresholds | None = None
) -> pd.DataFrame:
    """Class every task on a 0..1 scale by its base trend and its fine-tuning gain; columns :data:`DICHOTOMY`.

    The end of a curve is the mean of its last third (at most 5 checkpoints). Three questions – does the base score
    rise, does fine-tuning add at the end, is the base score above the trivial baseline – are each answered *clear*,
    *none*, *unclear* or *unknown* by :class:`Thresholds`, in units of the noise of :func:`measure_noise` (items ×
    seeds, or the scatter about the curve). Averaging over the end is not credited with less noise: its checkpoints
    share their evaluated rows.

    * *learnt in pre-training*: a clear rise, and no gain (or a gain that is certainly ``minor`` beside the rise, or
      the task was never fine-tuned on);
    * *needs fine-tuning*: a clear gain, and no rise, or the base score never above the baseline, or a rise that is
      certainly minor beside the gain;
    * *both help*: a clear rise and a clear gain;
    * *learnt by neither*: no gain, and the base score never above the baseline;
    * *undecided*: anything else, with what is missing in ``because``.

    An absence is never claimed from a large p-value: the change must be small against ``margin`` with its noise.
    The chance that one flat, useless task gets a wrong class by noise is about that of 3 standard deviations.
    """
    thresholds = thresholds or Thresholds()
    keys = ["family", "annealed", "eval_task", "setting", "metric"]
    base_keys = ["family", "annealed", "eval_task", "metric", "eval_format", "shots"]
    base_noise = look_up(noise[noise["state"] == "base"], base_keys, "noise_sd")
    own = noise[(noise["train_task"] == noise["eval_task"]).fillna(False).astype(bool)]
    tuned_noise = look_up(own, keys, "noise_sd")
    base_p = look_up(trends[trends["state"] == "base"], base_keys, "p_holm")
    records = []
    for (family, annealed, task, setting), group in list_pairs(headline):
        metric = str(group["metric"].iloc[0])
        if points_per_unit(metric) != 100.0:
            continue
        base_curve = (family, annealed, task, metric, group["eval_format"].iloc[0], group["shots"].iloc[0])
        facts: dict[str, object] = {
            "family": family, "annealed": annealed, "eval_task": task, "setting": setting, "metric": metric,
            "base_noise_sd": base_noise.get(base_curve, math.nan),
            "tuned_noise_sd": tuned_noise.get((family, annealed, task, setting, metric), math.nan),
            "base_p_holm": base_p.get(base_curve, math.nan),
        }  # fmt: skip
        records.append(facts | _weigh(group, facts, thresholds))
    return build_frame(records, DICHOTOMY)


def look_up(rows: pd.DataFrame, keys: list[str], column: str) -> dict[tuple[object, ...], float]:
    """Return ``column`` by the values of ``keys``."""
    values = rows[column].to_numpy(dtype=float)
    return dict(zip(zip(*(rows[name] for name in keys), strict=True), values, strict=True)) if len(rows) else {}


def pick_end(count: int) -> int:
    """How many checkpoints the end of a curve of ``count`` has: its last third, at least 1, at most 5."""
    return int(min(max(math.ceil(count / 3), 1), 5)) if count else 0


def _weigh(group: pd.DataFrame, facts: Mapping[str, object], limits: Thresholds) -> dict[str, object]:
    base = group.dropna(subset=["base"]).drop_duplicates("checkpoint")
    tuned = group.dropna(subset=["tuned"])
    both = tuned.dropna(subset=["base"])
    base_noise, tuned_noise = float(str(facts["base_noise_sd"])), float(str(facts["tuned_noise_sd"]))
    level = group["baseline"].astype(float).mean()
    scores = base["base"].to_numpy(dtype=float)
    end, tuned_end = base.tail(pick_end(len(base))), both.tail(pick_end(len(both)))
    found: dict[str, object] = {
        "checkpoints": len(base), "tuned_checkpoints": len(tuned), "baseline": level,
        "end": ", ".join(dict.fromkeys([*end["checkpoint"].astype(str), *tuned_end["checkpoint"].astype(str)])),
        "base_runs": _join(end["base_runs"]), "tuned_runs": _join(tuned_end["tuned_runs"]),
    }  # fmt: skip
    rise = float(end["base"].mean() - scores[0]) if len(base) > 1 else math.nan
    gain = float((tuned_end["tuned"] - tuned_end["base"]).mean()) if len(both) else math.nan
    smoothed = scores if len(scores) < 3 else np.convolve(scores, np.ones(3) / 3, mode="valid")
    above = float(smoothed.max() - level) if len(scores) else math.nan
    units = {"rise": math.sqrt(2) * base_noise, "gain": math.hypot(base_noise, tuned_noise), "above": base_noise}
    answers = {}
    for name, size in (("rise", rise), ("gain", gain), ("above", above)):
        answers[name] = decide(size, units[name], limits)
        found |= {name: size, f"{name}_units": size / units[name] if units[name] > 0 else math.nan}
    found |= {
        "base_first": scores[0] if len(scores) else math.nan, "base_end": float(end["base"].mean()),
        "tuned_end": float(tuned_end["tuned"].mean()), "has_rise": answers["rise"], "has_gain": answers["gain"],
        "has_level": answers["above"],
    }  # fmt: skip
    minor_gain = gain + limits.none * units["gain"] <= limits.minor * (rise - limits.none * units["rise"])
    minor_rise = rise + limits.none * units["rise"] <= limits.minor * (gain - limits.none * units["gain"])
    verdict, why = _judge(answers, tuned_anywhere=len(tuned) > 0, minor_gain=minor_gain, minor_rise=minor_rise)
    return found | {"class": verdict, "because": why}


def decide(size: float, unit: float, limits: Thresholds) -> str:
    """Answer whether a change of ``size`` is there, given the noise ``unit`` of such a change."""
    if math.isnan(size) or math.isnan(unit):
        return UNKNOWN
    if size >= limits.clear * unit and size > 0 and size >= limits.minor * limits.margin:
        return CLEAR
    return NONE if size + limits.none * unit <= limits.margin else UNCLEAR


def _judge(answers: Mapping[str, str], *, tuned_anywhere: bool, minor_gain: bool, minor_rise: bool) -> tuple[str, str]:
    rise, gain, level = answers["rise"], answers["gain"], answers["above"]
    if rise == CLEAR and gain == NONE:
        return PRETRAINING, "the base score rises clearly; fine-tuning adds nothing beyond the margin"
    if rise == CLEAR and not tuned_anywhere:
        return PRETRAINING, "the base score rises clearly; the task was not fine-tuned on"
    if rise == CLEAR and minor_gain:
        return PRETRAINING, "the base score rises clearly; the gain of fine-tuning is minor beside it"
    if gain == CLEAR and rise == NONE:
        return FINE_TUNING, "the base score does not rise; fine-tuning adds clearly"
    if gain == CLEAR and level == NONE:
        return FINE_TUNING, "the base score is never above the trivial baseline; fine-tuning adds clearly"
    if gain == CLEAR and minor_rise:
        return FINE_TUNING, "fine-tuning adds clearly; the rise of the base score is minor beside it"
    if rise == CLEAR and gain == CLEAR:
        return BOTH, "the base score rises clearly and fine-tuning adds clearly"
    if gain == NONE and level == NONE:
        return NEITHER, "the base score is never above the trivial baseline; fine-tuning adds nothing"
    lacks = {
        "rise": "whether the base score rises", "gain": "what fine-tuning adds", "above": "the level above chance",
    }  # fmt: skip
    open_ones = [lacks[name] + f" is {answer}" for name, answer in answers.items() if answer in (UNCLEAR, UNKNOWN)]
    if not open_ones:
        return UNDECIDED, "already above the baseline at the first checkpoint, and no change since"
    return UNDECIDED, "; ".join(open_ones)


def _join(ids: pd.Series) -> str:
    return " ".join(sorted({part for text in ids.dropna() for part in str(text).split()}))
