"""Overtraining: the checkpoint from which on more pre-training makes the tuned or the disturbed model worse."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from pretune.analysis.correction import correct
from pretune.analysis.disturbed import PROBE
from pretune.analysis.noise import FEW_REPEATS, FEW_SCATTER, measure_scatter
from pretune.analysis.peaks import decline_against_repeats, decline_against_scatter
from pretune.analysis.segments import fit_break
from pretune.analysis.series import CURVE, SERIES, build_frame, split_own
from pretune.analysis.trends import BETWEEN, BROKEN, DENSE, locate

INFLECTIONS: Mapping[str, str] = {
    **{name: SERIES[name] for name in CURVE},
    "probe": "probe whose disturbed score this is; null for undisturbed models",
    "probe_variant": "its variant",
    "magnitude": "its size",
    "checkpoints": "points of the curve",
    "axis": SERIES["axis"],
    "peak": "checkpoint with the best value",
    "peak_value": "the value there",
    "last_value": "the value at the last checkpoint",
    "fall": "how much worse the last value is than the best, in the units of the table (0 or more)",
    "p": "p-value of 'the curve never falls', with the choice of the peak in the null",
    "p_holm": "the same, corrected by Holm over the ladder's curves of one kind",
    "p_naive": "what a test that forgets that the peak was chosen would give; for comparison only",
    "finding": "'worsens after its peak', 'no decline shown', or 'not enough data'",
    "inflection": "estimated place where the curve turns, on the axis; 12 checkpoints or more",
    "inflection_low": "lower end of its 95 % interval (with fewer checkpoints: the one before the peak)",
    "inflection_high": "upper end (with fewer checkpoints: the one after the peak)",
    "inflection_low_step": "lower end in steps",
    "inflection_high_step": "upper end in steps",
    "inflection_low_tokens": "lower end in tokens",
    "inflection_high_tokens": "upper end in tokens",
    "inflection_after": "last checkpoint at or before the interval",
    "inflection_by": "first checkpoint at or after the interval",
    "noise": "what the noise of the test rests on",
    "method": "how the place was found",
    "reason": "why something could not be said",
}

_CURVE = [*CURVE, *PROBE]


def find_inflections(curves: pd.DataFrame) -> pd.DataFrame:
    """Test every curve for a decline after its peak and place the inflection; columns :data:`INFLECTIONS`.

    ``curves`` has the columns of :func:`build_series` (or of :func:`build_probes`: what is absent is null), one row per
    checkpoint, ``good`` being the value of which more is better.

    Test. The statistic is the largest standardised fall from a window of m checkpoints anywhere to the last m, over m
    up to a quarter of the curve. Its null distribution is simulated on a flat curve, where the peak is nothing but the
    luckiest point: the least favourable of all curves that never fall. So a selected peak is tested as selected, and
    alarms on flat curves stay at 5 %; comparing the highest checkpoint with the last one as if it had been named
    beforehand (``p_naive``) alarms far more often. The noise of a point comes from seeds where there are at least
    :data:`FEW_REPEATS` degrees of freedom, else from the scatter about the curve, never less than that of the evaluated
    rows; estimating it is part of the simulation. Holm corrects over the curves of a ladder of one kind.

    Place. With :data:`DENSE` checkpoints or more, a broken line with free slopes (:func:`fit_break`); with fewer the
    interval from the checkpoint before the peak to the one after it. Given only for curves that worsen.

    Assumptions: independent noise of equal size along the curve; for the place, straight on both sides. Source of the
    notion: Springer et al. (arXiv 2503.19206), "inflection point".
    """
    work = curves.copy()
    for name in (*_CURVE, "item_se", "seed_sd", "seeds"):
        if name not in work:
            work[name] = np.nan if name in ("item_se", "seed_sd", "seeds", "magnitude") else None
    work["setting"] = work["setting"].fillna("").astype("string")
    groups = [
        (key, group.sort_values("position", kind="stable"))
        for key, group in work.groupby(_CURVE, dropna=False, sort=False)
    ]
    table = build_frame([dict(zip(_CURVE, key, strict=True)) | _test(curve) for key, curve in groups], INFLECTIONS)
    if table.empty:
        return table
    kinds = [table["family"], table["annealed"], table["state"], split_own(table), table["probe"]]
    table["p_holm"] = correct(table["p"], kinds)
    table["finding"] = [_name(p) for p in table["p_holm"]]
    places = [
        _place(curve) if finding == "worsens after its peak" else {}
        for (_, curve), finding in zip(groups, table["finding"], strict=True)
    ]
    for name in INFLECTIONS:
        if name.startswith("inflection"):
            table[name] = pd.Series([place.get(name) for place in places], index=table.index)
    table["method"] = [str(place.get("method", "")) for place in places]
    return build_frame(table, INFLECTIONS)


def _name(p: float) -> str:
    if math.isnan(p):
        return "not enough data"
    return "worsens after its peak" if p <= 0.05 else "no decline shown"


def _test(curve: pd.DataFrame) -> dict[str, object]:
    x, good = curve["x"].to_numpy(dtype=float), curve["good"].to_numpy(dtype=float)
    best = int(np.argmax(good))
    facts: dict[str, object] = {
        "checkpoints": len(good), "axis": curve["axis"].iloc[0], "peak": curve["checkpoint"].iloc[best],
        "peak_value": float(curve["value"].iloc[best]), "last_value": float(curve["value"].iloc[-1]),
        "fall": float(good[best] - good[-1]), "reason": "",
    }  # fmt: skip
    items = curve["item_se"].to_numpy(dtype=float)
    item = float(np.sqrt(np.nanmean(items**2))) if np.isfinite(items).any() else 0.0
    seeds = curve["seeds"].to_numpy(dtype=float, na_value=1.0)
    sd = curve["seed_sd"].to_numpy(dtype=float)
    df = np.where(np.isfinite(sd), seeds - 1, 0.0)
    repeats = math.sqrt(float((df * np.nan_to_num(sd) ** 2).sum() / max(df.sum(), 1)) / float(np.mean(seeds)))
    if df.sum() >= FEW_REPEATS and len(good) >= 3:
        sigma = max(repeats, item)
        facts |= {"p": decline_against_repeats(good, sigma, int(df.sum())), "noise": "seeds"}
    elif len(good) >= FEW_SCATTER:
        sigma = max(repeats, item)
        facts |= {"p": decline_against_scatter(x, good, floor=item), "noise": "scatter about the curve"}
    else:
        reason = f"not enough data because a decline needs {FEW_SCATTER} checkpoints, or 3 with several seeds each"
        return facts | {"p": math.nan, "p_naive": math.nan, "noise": "", "reason": f"{reason}; there are {len(good)}"}
    return facts | {"p_naive": _forget_selection(good, x, sigma)}


def _forget_selection(good: np.ndarray, x: np.ndarray, sigma: float) -> float:
    """One-sided normal p-value of the fall from the best checkpoint to the last, as if it had been named beforehand."""
    noise = sigma or measure_scatter(x, good)
    fall = float(good.max() - good[-1])
    return float(stats.norm.sf(fall / (math.sqrt(2) * noise))) if noise > 0 else math.nan


def _place(curve: pd.DataFrame) -> dict[str, object]:
    x, good = curve["x"].to_numpy(dtype=float), curve["good"].to_numpy(dtype=float)
    best = int(np.argmax(good))
    if len(good) >= DENSE:
        fit = fit_break(x, good, after="free")
        if fit.after < 0 <= fit.before:
            found: dict[str, object] = {"inflection": fit.at, "method": BROKEN}
            return found | _write(curve, fit.low, fit.high)
    low, high = x[max(best - 1, 0)], x[min(best + 1, len(x) - 1)]
    return {"inflection": math.nan, "method": BETWEEN} | _write(curve, float(low), float(high))


def _write(curve: pd.DataFrame, low: float, high: float) -> dict[str, object]:
    return {"inflection_low": low, "inflection_high": high} | locate(curve, low, high, name="inflection")
