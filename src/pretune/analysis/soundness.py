"""Scores that cannot mean what they seem to: constant gold labels, answers far below chance, runs that disagree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from pretune.analysis.noise import find_twins
from pretune.analysis.series import CURVE, SERIES, build_frame

CONSTANT_GOLD, BELOW_CHANCE, TWINS, ONE_CLASS = (
    "constant gold label", "far below chance", "near-identical checkpoints disagree", "answers one class",
)  # fmt: skip

SOUNDNESS: Mapping[str, str] = {
    **{name: SERIES[name] for name in CURVE},
    "flag": f"'{CONSTANT_GOLD}', '{BELOW_CHANCE}', '{TWINS}' or '{ONE_CLASS}'",
    "severity": "'unsound': do not read these scores; 'doubtful': read them with this in mind",
    "checkpoints": "checkpoints concerned",
    "value": "the score that raised the flag (of several: the most extreme)",
    "expected": "what it was held against: chance, the twin's score, or the majority class",
    "evidence": "the finding in words",
    "runs": "run ids of the scores concerned",
}

PERFECT = 0.98
EARLY = 0.01
FAR_BELOW, ERRORS = 0.8, 5.0


def find_unsound(series: pd.DataFrame) -> pd.DataFrame:
    """Flag accuracies of :func:`build_series` (any formats and shots) that are unsound or doubtful; columns
    :data:`SOUNDNESS`.

    * *constant gold label*: the base model is at least 98 % right where it cannot be – at a checkpoint within the first
      hundredth of its ladder – or the trivial baseline itself is (test splits with hidden labels do that);
    * *far below chance*: an accuracy under 80 % of the trivial baseline and five standard errors below it: labels
      that do not fit the candidates, or an answer that is systematically the wrong way round;
    * *near-identical checkpoints disagree*: two checkpoints within a thousandth of each other whose scores differ by
      more than five standard errors of the evaluated rows: the luck of a run, which no interval over rows shows;
    * *answers one class*: a base score that equals the majority baseline at most checkpoints, to a tenth of a point.

    Flags are rules, not tests: they ask for a look at the cells. No flag is no proof of soundness.
    """
    rows = series[(series["metric"] == "accuracy").fillna(False).astype(bool)]
    records: list[dict[str, object]] = []
    last = rows.groupby("family")["step"].max().astype("float64")
    for key, group in rows.groupby(CURVE, dropna=False, sort=False):
        curve = group.sort_values("position", kind="stable")
        shared = dict(zip(CURVE, key, strict=True))
        records += [shared | found for found in _examine(curve, float(last.get(shared["family"], math.nan)))]
    return build_frame(records, SOUNDNESS)


def _examine(curve: pd.DataFrame, end: float) -> Iterable[dict[str, object]]:
    value, error = curve["value"].to_numpy(dtype=float), curve["item_se"].to_numpy(dtype=float)
    step = curve["step"].to_numpy(dtype=float, na_value=np.nan)
    level = curve["baseline"].astype(float).to_numpy()
    base = curve["state"].iloc[0] == "base"
    perfect = value >= PERFECT
    early = step <= EARLY * end if end > 0 else np.zeros(len(value), dtype=bool)
    if base and ((perfect & early).any() or (level >= PERFECT).any()):
        shown = perfect if perfect.any() else np.ones(len(value), dtype=bool)
        text = "the base model is almost always right before it can have learnt anything: is every gold label the same?"
        yield _flag(curve, shown, CONSTANT_GOLD, "unsound", float(value.max()), _average(level), text)
    low = (value < FAR_BELOW * level) & (value < level - ERRORS * np.nan_to_num(error))
    if low.any():
        text = "the accuracy is far below the trivial baseline: do the labels fit the candidates?"
        yield _flag(curve, low, BELOW_CHANCE, "unsound", float(value[low].min()), _average(level), text)
    for i, j in find_twins(step):
        limit = ERRORS * math.hypot(np.nan_to_num(error[i]), np.nan_to_num(error[j]))
        if limit > 0 and abs(value[i] - value[j]) > limit:
            shown = np.isin(np.arange(len(value)), (i, j))
            text = f"{value[i]:.3f} and {value[j]:.3f} on practically the same weights: the luck of a run is this large"
            yield _flag(curve, shown, TWINS, "doubtful", float(value[j]), float(value[i]), text)
    same = np.abs(value - level) < 0.001
    if base and len(value) > 1 and same.mean() > 0.5:
        text = "the score is that of always answering the most frequent class"
        yield _flag(curve, same, ONE_CLASS, "doubtful", float(value[same][0]), _average(level), text)


def _average(level: np.ndarray) -> float:
    known = level[np.isfinite(level)]
    return float(known.mean()) if len(known) else math.nan


def _flag(
    curve: pd.DataFrame, shown: np.ndarray, flag: str, severity: str, value: float, expected: float, text: str
) -> dict[str, object]:
    part = curve[shown]
    return {
        "flag": flag, "severity": severity, "checkpoints": ", ".join(part["checkpoint"].astype(str)), "value": value,
        "expected": expected, "evidence": text, "runs": " ".join(part["runs"].dropna().astype(str)),
    }  # fmt: skip
