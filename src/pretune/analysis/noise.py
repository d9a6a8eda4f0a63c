"""The noise floor: how large a difference between two scores must be before it is worth reading."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from pretune.analysis.series import CURVE, SERIES, build_frame

NOISE: Mapping[str, str] = {
    **{name: SERIES[name] for name in CURVE},
    "checkpoints": "points of the curve",
    "item_se": "standard error of one score from the sample of evaluated rows (root mean square over checkpoints)",
    "seed_sd": "standard deviation between training seeds, pooled over checkpoints",
    "seed_df": "degrees of freedom of seed_sd",
    "twin_sd": "standard deviation between near-identical checkpoints: √(mean squared difference / 2)",
    "twin_pairs": "pairs of near-identical checkpoints",
    "twins": "those pairs",
    "scatter_sd": "scatter of a point about the line through its neighbours (robust); with 5 checkpoints or more",
    "run_sd": "standard deviation of one run at one checkpoint, on given rows",
    "run_basis": "what run_sd rests on",
    "noise_sd": "standard deviation of one score of one run",
    "smallest_difference": "smallest difference between two single scores that noise alone exceeds 5 times in 100",
}

NEAR = 1e-3
"""Two checkpoints are near-identical when their steps differ by less than this share of the later one."""

FEW_SCATTER = 5
FEW_REPEATS = 3
RUN_UNKNOWN = "unknown: one seed and too few checkpoints; the luck of a run is not in the noise"


def measure_noise(series: pd.DataFrame) -> pd.DataFrame:
    """Estimate the noise of every curve of :func:`build_series`; columns :data:`NOISE`, units of the table.

    Method. Three sources, each where the table has it. Items: the bootstrap intervals of the scores. Repeats: training
    seeds at one checkpoint (pooled variance), and near-identical checkpoints (:data:`NEAR`; OLMo-1B's step 738,000
    and its last, 20 steps later), whose difference is a repeat of everything but the weights' last digits. Scatter:
    the residual of each inner point from the straight line between its neighbours, r/√(1 + w² + (1−w)²), median
    absolute value / 0.6745, times √seeds. ``run_sd`` pools repeats where they have at least :data:`FEW_REPEATS`
    degrees of freedom; with fewer they are pooled with the scatter (weight: half its inner points); ``run_basis``
    says which. ``noise_sd`` is √(item_se² + run_sd²) with repeats; with scatter alone, which contains much of the item
    noise, the larger of the two. ``smallest_difference`` is 1.96·√2·noise_sd.

    Assumptions: equal noise along a curve; a curve that is straight over three neighbouring checkpoints (a sharp bend
    inflates the scatter, so the floor errs on the high side). It is the difference between two *single* scores, not
    corrected for looking at many.
    """
    records = [_measure(key, group) for key, group in series.groupby(CURVE, dropna=False, sort=False)]
    return build_frame(records, NOISE)


def _measure(key: tuple[object, ...], curve: pd.DataFrame) -> dict[str, object]:
    curve = curve.sort_values("position", kind="stable")
    value = curve["value"].to_numpy(dtype=float)
    item = _root_mean_square(curve["item_se"].to_numpy(dtype=float))
    seeds = curve["seeds"].to_numpy(dtype=float, na_value=1.0)
    sd = curve["seed_sd"].to_numpy(dtype=float)
    df = np.where(np.isfinite(sd), seeds - 1, 0.0)
    seed_df = int(df.sum())
    seed_sd = math.sqrt(float((df * np.nan_to_num(sd) ** 2).sum()) / seed_df) if seed_df else math.nan
    pairs = find_twins(curve["step"].to_numpy(dtype=float, na_value=np.nan))
    names = curve["checkpoint"].astype(str).to_numpy()
    twin = math.sqrt(float(np.mean([(value[j] - value[i]) ** 2 for i, j in pairs])) / 2) if pairs else math.nan
    repeats = float(np.mean(np.maximum(seeds, 1.0)))
    scatter = measure_scatter(curve["x"].to_numpy(dtype=float), value) * math.sqrt(repeats)
    run, basis = _pool_runs(seed_sd, seed_df, twin, len(pairs), scatter, len(value))
    only_scatter = basis.startswith("scatter")
    known = [part for part in (item, run) if math.isfinite(part)]
    noise = math.nan
    if known:
        noise = max(known) if only_scatter else math.sqrt(sum(part**2 for part in known))
    return dict(zip(CURVE, key, strict=True)) | {
        "checkpoints": len(value), "item_se": item, "seed_sd": seed_sd, "seed_df": seed_df, "twin_sd": twin,
        "twin_pairs": len(pairs), "twins": "; ".join(f"{names[i]} and {names[j]}" for i, j in pairs),
        "scatter_sd": scatter, "run_sd": run, "run_basis": basis,
        "noise_sd": noise, "smallest_difference": 1.96 * math.sqrt(2) * noise,
    }  # fmt: skip


def _pool_runs(
    seed_sd: float, seed_df: int, twin_sd: float, twins: int, scatter: float, points: int
) -> tuple[float, str]:
    sources = [("training seeds", seed_sd, float(seed_df)), ("near-identical checkpoints", twin_sd, float(twins))]
    if seed_df + twins < FEW_REPEATS:
        sources.append(("scatter about the curve", scatter, max((points - 2) / 2, 0.0)))
    used = [(name, sd, weight) for name, sd, weight in sources if weight and math.isfinite(sd)]
    if not used:
        return math.nan, RUN_UNKNOWN
    total = sum(weight for _, _, weight in used)
    pooled = math.sqrt(sum(weight * sd**2 for _, sd, weight in used) / total)
    return pooled, " and ".join(name for name, _, _ in used)


def find_twins(steps: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return index pairs of neighbouring, near-identical checkpoints of increasing ``steps`` (null where unknown)."""
    return [
        (i, i + 1) for i in range(len(steps) - 1) if steps[i] > 0 and 0 <= steps[i + 1] - steps[i] < NEAR * steps[i + 1]
    ]


def measure_scatter(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Robust standard deviation of points about the line between their neighbours; NaN with fewer than 5 points."""
    if len(y) < FEW_SCATTER:
        return math.nan
    span = x[2:] - x[:-2]
    weight = np.divide(x[1:-1] - x[:-2], span, out=np.full(len(span), 0.5), where=span > 0)
    rest = y[1:-1] - (1 - weight) * y[:-2] - weight * y[2:]
    scaled = np.abs(rest) / np.sqrt(1 + weight**2 + (1 - weight) ** 2)
    return float(np.median(scaled) / 0.6745)


def _root_mean_square(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if len(known) else math.nan
