"""Trend and plateau of every curve over pre-training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from pretune.analysis.correction import correct
from pretune.analysis.kendall import mann_kendall
from pretune.analysis.metrics import is_lower_better
from pretune.analysis.noise import NOISE, find_twins, measure_scatter
from pretune.analysis.segments import Break, fit_break
from pretune.analysis.series import CURVE, SERIES, build_frame, split_own

TRENDS: Mapping[str, str] = {
    **{name: SERIES[name] for name in CURVE},
    "checkpoints": "points of the curve",
    "axis": SERIES["axis"],
    "first": "value at the first checkpoint",
    "last": "value at the last checkpoint",
    "tau": "Kendall's tau-b between order and value (raw sign: a falling loss has a negative tau)",
    "p": "two-sided Mann–Kendall p-value",
    "p_holm": "the same, corrected by Holm over the ladder's curves of one kind: base, tuned on the task itself, other",
    "trend": "'improves', 'worsens', 'none shown', or 'not enough data'",
    "slope": "Theil–Sen slope, units of the table per unit of the axis (a doubling on a log2 axis)",
    "slope_low": "lower end of its 95 % interval",
    "slope_high": "upper end of its 95 % interval",
    "shape": "'plateau', 'no plateau yet', 'flat', 'undecided', or 'not enough data'",
    "onset": "estimated start of the plateau, on the axis; null where only an interval can be given",
    "onset_low": "lower end of the interval of the onset, on the axis",
    "onset_high": "upper end of the interval of the onset, on the axis",
    "onset_low_step": "lower end in steps",
    "onset_high_step": "upper end in steps",
    "onset_low_tokens": "lower end in tokens",
    "onset_high_tokens": "upper end in tokens",
    "onset_after": "last checkpoint at or before the interval",
    "onset_by": "first checkpoint at or after the interval",
    "plateau_level": "mean value on the plateau",
    "p_shape": "p-value of 'no change at all' against the broken line; grids of 12 checkpoints or more",
    "noise_sd": NOISE["noise_sd"],
    "method": "how the shape was found",
    "reason": "why something could not be said",
}

Reals = npt.NDArray[np.float64]

DENSE = 12
"""From this many checkpoints on the onset is estimated; below, it is an interval between checkpoints."""

FEW = 3
WIDE_GAP = 4.0
"""A gap between neighbours this many times the median one is given whole when the onset falls into it."""

BETWEEN, BROKEN = "between neighbouring checkpoints", "broken line, bootstrap"


def find_trends(series: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Test each curve of :func:`build_series` for a trend and place its plateau; columns :data:`TRENDS`.

    Trend: :func:`mann_kendall` (exact with ties), Holm-corrected over the curves of one ladder and kind (base; tuned
    on the task itself; other); ``trend`` is read at 5 % after correction. The size is the Theil–Sen slope with its
    distribution-free interval.

    Plateau. With at least :data:`DENSE` checkpoints: :func:`fit_break` with a flat end. *flat* when "no change" is not
    rejected at 5 % (Holm-corrected) and the line's ends differ by less than the smallest difference; *plateau* when
    the interval of the onset ends before the last checkpoint; *no plateau yet* when it reaches it. An interval
    inside a gap of :data:`WIDE_GAP` median gaps is widened to the whole gap: nothing was measured there.

    With fewer checkpoints the curve is *flat* when its range is one that noise alone would produce in 95 of 100 cases,
    which allows for how well the noise of :func:`measure_noise` is known (simulated where it comes from the scatter of
    the same points). Otherwise the plateau is its longest end whose range is within the 95 % quantile of normal noise,
    at least two checkpoints long (near-identical ones count as one); its onset is the interval from the checkpoint
    before it to its first one. That is a statement about where the score comes within reach of the noise of its final
    level.

    Assumptions: checkpoints are independent given the truth. Drift shared by neighbouring checkpoints makes the
    p-values too small. Mann–Kendall cannot see a curve that rises once and then stays: there the shape speaks.
    """
    facts = ["noise_sd", "item_se", "run_basis", "seed_df", "twin_pairs"]
    joined = series.drop(columns="item_se").merge(noise[[*CURVE, *facts]], on=CURVE, how="left")
    records, shapes = [], []
    for key, group in joined.groupby(CURVE, dropna=False, sort=False):
        curve = group.sort_values("position", kind="stable")
        records.append(dict(zip(CURVE, key, strict=True)) | _test(curve))
        shapes.append(curve)
    table = build_frame(records, TRENDS)
    if table.empty:
        return table
    table["p_holm"] = _correct(table, "p")
    p_shape = _correct(table, "p_shape")
    better = np.where(table["metric"].map(lambda name: is_lower_better(str(name))).astype(bool), -1.0, 1.0)
    table["trend"] = [
        _name_trend(p, tau * sign) for p, tau, sign in zip(table["p_holm"], table["tau"], better, strict=True)
    ]
    found = [_find_shape(curve, p) for curve, p in zip(shapes, p_shape, strict=True)]
    for name in found[0]:
        table[name] = pd.Series([record[name] for record in found], index=table.index)
    return build_frame(table, TRENDS)


def _correct(table: pd.DataFrame, column: str) -> pd.Series:
    """Holm-correct within each ladder and kind of curve."""
    return correct(table[column], [table["family"], table["annealed"], table["state"], split_own(table)])


def _test(curve: pd.DataFrame) -> dict[str, object]:
    value, x = curve["value"].to_numpy(dtype=float), curve["x"].to_numpy(dtype=float)
    facts: dict[str, object] = {
        "checkpoints": len(value), "axis": curve["axis"].iloc[0], "first": value[0], "last": value[-1],
        "noise_sd": curve["noise_sd"].iloc[0], "p": math.nan, "tau": math.nan, "p_shape": math.nan,
    }  # fmt: skip
    if len(value) >= FEW:
        monotone = mann_kendall(value)
        facts |= {"p": monotone.p, "tau": monotone.tau}
        if len(np.unique(x)) == len(x):
            slope = stats.theilslopes(value, x, 0.95)
            facts |= {"slope": float(slope[0]), "slope_low": float(slope[2]), "slope_high": float(slope[3])}
    if len(value) >= DENSE and np.ptp(value) > 0:
        facts["p_shape"] = _fit(tuple(x), tuple(value)).p
    return facts


@lru_cache(maxsize=2048)
def _fit(x: tuple[float, ...], y: tuple[float, ...]) -> Break:
    return fit_break(x, y, after="flat")


def _name_trend(p: float, direction: float) -> str:
    if math.isnan(p):
        return "not enough data"
    if p > 0.05 or direction == 0:
        return "none shown"
    return "improves" if direction > 0 else "worsens"


_NOTHING: Mapping[str, object] = {
    "shape": "not enough data", "onset": math.nan, "onset_low": math.nan, "onset_high": math.nan,
    "onset_low_step": math.nan, "onset_high_step": math.nan, "onset_low_tokens": math.nan,
    "onset_high_tokens": math.nan, "onset_after": None, "onset_by": None, "plateau_level": math.nan, "method": "",
    "reason": "",
}  # fmt: skip


def _find_shape(curve: pd.DataFrame, p_shape: float) -> dict[str, object]:
    n = len(curve)
    if n < FEW:
        return {
            **_NOTHING,
            "reason": f"not enough data because a shape needs at least {FEW} checkpoints; there are {n}",
        }
    return _find_dense(curve, p_shape) if n >= DENSE else _find_sparse(curve)


def _find_dense(curve: pd.DataFrame, p_shape: float) -> dict[str, object]:
    value, x = curve["value"].to_numpy(dtype=float), curve["x"].to_numpy(dtype=float)
    noise = float(curve["noise_sd"].iloc[0])
    facts = {**_NOTHING, "method": BROKEN}
    if np.ptp(value) == 0:
        return {**facts, "shape": "flat", "plateau_level": value[0]}
    fit = _fit(tuple(x), tuple(value))
    if p_shape > 0.05:
        change = abs(fit.before * (fit.at - x[0]))
        flat = math.isfinite(noise) and change <= 1.96 * math.sqrt(2) * noise
        if flat:
            return {**facts, "shape": "flat", "plateau_level": float(value.mean())}
        return {**facts, "shape": "undecided", "reason": "the change is within chance, yet larger than the noise"}
    low, high = fit.low, fit.high
    gaps = np.diff(x)
    place = int(np.clip(np.searchsorted(x, (low + high) / 2) - 1, 0, len(gaps) - 1))
    if low >= x[place] and high <= x[place + 1] and gaps[place] > WIDE_GAP * np.median(gaps):
        low, high = float(x[place]), float(x[place + 1])
    facts |= {"onset": fit.at, "onset_low": low, "onset_high": high, "plateau_level": fit.level}
    facts |= locate(curve, low, high)
    if fit.at_end:
        return {**facts, "shape": "no plateau yet", "reason": "the interval of the onset reaches the last checkpoint"}
    return {**facts, "shape": "plateau"}


def _find_sparse(curve: pd.DataFrame) -> dict[str, object]:
    curve = _merge_twins(curve)
    value, x = curve["value"].to_numpy(dtype=float), curve["x"].to_numpy(dtype=float)
    noise = float(curve["noise_sd"].iloc[0])
    facts = {**_NOTHING, "method": BETWEEN}
    if not math.isfinite(noise):
        return {
            **facts,
            "shape": "undecided",
            "reason": "the noise is unknown: no intervals, one seed, few checkpoints",
        }
    last = len(value) - 1
    limits = noise * _find_ranges(curve)
    start = next((i for i in range(last) if np.ptp(value[i:]) <= limits[i]), last)
    if start == last:
        return {**facts, "shape": "no plateau yet", "reason": "the last two checkpoints differ by more than noise",
                "onset_low": x[-1], **locate(curve, x[-1], math.nan)}  # fmt: skip
    level = float(value[start:].mean())
    if start == 0:
        return {**facts, "shape": "flat", "plateau_level": level}
    low, high = float(x[start - 1]), float(x[start])
    return {**facts, "shape": "plateau", "onset_low": low, "onset_high": high, "plateau_level": level,
            **locate(curve, low, high)}  # fmt: skip


def _merge_twins(curve: pd.DataFrame) -> pd.DataFrame:
    """Near-identical checkpoints as one, with their mean: two of them do not make a plateau."""
    pairs = find_twins(curve["step"].to_numpy(dtype=float, na_value=np.nan))
    if not pairs:
        return curve
    value = curve["value"].to_numpy(dtype=float).copy()
    for i, j in pairs:
        value[i] = (value[i] + value[j]) / 2
    later = {j for _, j in pairs}
    return curve.assign(value=value).iloc[[i for i in range(len(curve)) if i not in later]]


def _find_ranges(curve: pd.DataFrame) -> Reals:
    """95 % quantiles of the range of the last n, n − 1, … 2 points by noise alone, in units of ``noise_sd``.

    The first, which decides whether there is any change, allows for the noise being estimated: from the scatter of
    these points (simulated), or from repeats (studentised range). The others place a change that is there.
    """
    first, count = curve.iloc[0], len(curve)
    ranges = np.array([_range_of_noise(points, np.inf) for points in range(count, 1, -1)])
    if first["item_se"] >= first["noise_sd"]:  # known from the evaluated rows
        return ranges
    if first["run_basis"] == "scatter about the curve":
        x = curve["x"].to_numpy(dtype=float)
        ranges[0] = _simulate_range(tuple(np.round((x - x[0]) / max(x[-1] - x[0], 1e-12), 6)))
    elif first["seed_df"] + first["twin_pairs"] > 0:
        scatter = (count - 2) / 2 if "scatter" in str(first["run_basis"]) else 0.0
        ranges[0] = _range_of_noise(count, float(first["seed_df"] + first["twin_pairs"] + scatter))
    return ranges


@lru_cache(maxsize=256)
def _range_of_noise(points: int, df: float) -> float:
    return float(stats.studentized_range.ppf(0.95, points, df))


@lru_cache(maxsize=256)
def _simulate_range(places: tuple[float, ...]) -> float:
    x = np.array(places)
    noise = np.random.default_rng(0).standard_normal((2000, len(x)))
    scatter = np.maximum([measure_scatter(x, sample) for sample in noise], 1e-12)
    return float(np.quantile(np.ptp(noise, axis=1) / scatter, 0.95))


def locate(curve: pd.DataFrame, low: float, high: float, name: str = "onset") -> dict[str, object]:
    """Say an interval of the axis in steps, tokens and checkpoints; the keys start with ``name``."""
    x = curve["x"].to_numpy(dtype=float)
    names = curve["checkpoint"].astype(str).to_numpy()
    facts: dict[str, object] = {}
    for unit in ("step", "tokens"):
        known = curve[unit].to_numpy(dtype=float, na_value=np.nan)
        for end, place in (("low", low), ("high", high)):
            found = float(np.interp(place, x, known)) if math.isfinite(place) and np.isfinite(known).all() else math.nan
            if math.isfinite(found) and curve["axis"].iloc[0].startswith("log2"):
                positive = np.maximum(known, known[known > 0].min() / 2) if (known > 0).any() else known
                found = float(2 ** np.interp(place, x, np.log2(positive))) if place > x[0] or known[0] > 0 else 0.0
            facts[f"{name}_{end}_{unit}"] = found
    before, beyond = np.flatnonzero(x <= low + 1e-9), np.flatnonzero(x >= high - 1e-9)
    facts[f"{name}_after"] = names[before[-1]] if len(before) else None
    facts[f"{name}_by"] = names[beyond[0]] if len(beyond) else None
    return facts
