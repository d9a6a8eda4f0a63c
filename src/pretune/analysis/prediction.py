"""Can cheap measurements of a checkpoint replace fine-tuning it? Judged against baselines that cost nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from pretune.analysis.correction import correct
from pretune.analysis.features import PERPLEXITY, build_features
from pretune.analysis.series import SERIES, build_frame

Reals = npt.NDArray[np.float64]

EARLIER, OTHERS = "earlier checkpoints", "other tasks"
TOGETHER = "all of them together"
BETTER, NO_BETTER, TOO_LITTLE = "better than every baseline", "no better than baseline", "not enough data"

PREDICTION: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "learns_from": f"'{EARLIER}' of the same task, or '{OTHERS}' at all checkpoints",
    "predictor": f"the feature, or '{TOGETHER}'",
    "tasks": "tasks that were predicted",
    "predictions": "scores that were predicted",
    "error": "mean absolute error, each task counting once, in the units of the table",
    "error_latest": "the same of the baseline 'latest checkpoint'",
    "error_perplexity": "the same of the baseline 'lowest perplexity'; null without text",
    "error_mean": "the same of the baseline 'mean'",
    "advantage": "error of the best baseline − error: positive is better",
    "advantage_low": "lower end of its 95 % interval over tasks",
    "advantage_high": "upper end",
    "p": "one-sided p-value of 'no better than some baseline' (the largest over the baselines)",
    "p_holm": "the same, corrected by Holm over the predictors of the ladder",
    "regret": "what is lost by stopping at the checkpoint that the predictor ranks first (mean over tasks)",
    "regret_latest": "the same for always taking the latest checkpoint",
    "regret_perplexity": "the same for the checkpoint with the lowest loss on text",
    "regret_mean": "the same for a checkpoint picked at random",
    "rank_correlation": "Spearman's, predicted with true scores, pooled over tasks",
    "verdict": f"'{BETTER}', '{NO_BETTER}' or '{TOO_LITTLE}'",
    "reason": "why",
}

FEWEST_TASKS, FEWEST_EARLIER = 3, 3


def judge_predictors(headline: pd.DataFrame, texts: pd.DataFrame, probes: pd.DataFrame) -> pd.DataFrame:
    """Judge each feature of :func:`build_features`, and all together, as a predictor of the tuned score; columns
    :data:`PREDICTION`.

    Each predictor is a straight line in its feature, fitted by least squares (all together: ridge regression on
    standardised features). It may learn from *earlier checkpoints* – the score of a checkpoint is predicted from those
    before it, from the fourth on – or from *other tasks* at all checkpoints of the ladder. Baselines learn from the
    same rows: *latest checkpoint* repeats the last score known, *lowest perplexity* that of the known checkpoint with
    the lowest loss on text, *mean* the mean. Regret: best true score of the task − true score at the checkpoint ranked
    first (from earlier checkpoints: those of the first half are learnt from).

    A predictor is *better* only if its error is smaller than that of each baseline, over tasks (paired t test,
    one-sided, the largest p-value counts, Holm over predictors), and its regret is no larger than that of taking the
    latest checkpoint. Everything else is *no better than baseline*; below three tasks nothing is claimed.
    Rank correlations are pooled: within a fold left out, a mean predictor has a rank correlation of −1.
    """
    table, names = build_features(headline, texts, probes)
    records: list[dict[str, object]] = []
    for (family, annealed), rows in table.groupby(["family", "annealed"], sort=False):
        present = [name for name in names if rows[name].notna().sum() > FEWEST_EARLIER]
        predictors: list[tuple[str, list[str]]] = [(name, [name]) for name in present]
        if len(present) > 1:
            predictors.append((TOGETHER, present))
        for source in (EARLIER, OTHERS):
            for label, features in predictors:
                shared = {"family": family, "annealed": annealed, "learns_from": source, "predictor": label}
                records.append(shared | _judge(rows.dropna(subset=features), features, source))
    result = build_frame(records, PREDICTION)
    result["p_holm"] = correct(result["p"], [result["family"], result["annealed"], result["learns_from"]])
    result["verdict"], result["reason"] = _decide(result)
    return result


def _decide(result: pd.DataFrame) -> tuple[list[str], list[str]]:
    verdicts, reasons = [], []
    for row in result.to_dict("records"):
        if math.isnan(row["p_holm"]):
            verdict = TOO_LITTLE
            reason = (
                f"not enough data because it takes {FEWEST_TASKS} tasks with more than {FEWEST_EARLIER} checkpoints"
            )
        elif row["p_holm"] > 0.05:
            verdict, reason = NO_BETTER, "its error is not shown to be smaller than that of every baseline"
        elif row["regret"] > row["regret_latest"] + 1e-12:
            verdict, reason = NO_BETTER, "its choice of a checkpoint loses more than taking the latest one"
        else:
            verdict, reason = (
                BETTER,
                "smaller error than every baseline, and no larger regret than the latest checkpoint",
            )
        verdicts.append(verdict)
        reasons.append(reason)
    return verdicts, reasons


def _judge(rows: pd.DataFrame, features: Sequence[str], source: str) -> dict[str, object]:
    tasks = [group for _, group in rows.groupby("task", sort=False) if len(group) > FEWEST_EARLIER]
    errors: list[list[float]] = []
    regrets: list[list[float]] = []
    guessed: list[Reals] = []
    true: list[Reals] = []
    for index, task in enumerate(tasks):
        others = [group for number, group in enumerate(tasks) if number != index]
        if source == OTHERS and not others:
            continue
        guess = (
            _predict_later(task, features) if source == EARLIER else _predict_from(pd.concat(others), task, features)
        )
        target = task["target"].to_numpy(dtype=float)[-len(guess[0]) :]
        errors.append([float(np.mean(np.abs(part - target))) for part in guess])
        regrets.append(_find_regrets(task, others, features, source))
        guessed.append(guess[0])
        true.append(target)
    if not errors:
        return {"tasks": 0, "predictions": 0, "p": math.nan}
    by_task, lost = np.array(errors), np.array(regrets).mean(axis=0)
    mean = by_task.mean(axis=0)
    known = [i for i in (1, 2, 3) if math.isfinite(mean[i])]
    best = min(known, key=lambda i: mean[i])
    low, high, _ = _compare(by_task[:, best] - by_task[:, 0])
    pooled, actual = np.concatenate(guessed), np.concatenate(true)
    varied = len(pooled) > 2 and np.ptp(pooled) > 0 and np.ptp(actual) > 0
    return {
        "tasks": len(errors), "predictions": len(pooled), "error": mean[0], "error_latest": mean[1],
        "error_perplexity": mean[2], "error_mean": mean[3], "advantage": mean[best] - mean[0],
        "advantage_low": low, "advantage_high": high,
        "p": max(_compare(by_task[:, i] - by_task[:, 0])[2] for i in known),
        "regret": lost[0], "regret_latest": lost[1], "regret_perplexity": lost[2], "regret_mean": lost[3],
        "rank_correlation": float(stats.spearmanr(pooled, actual).statistic) if varied else math.nan,
    }  # fmt: skip


def _compare(advantages: Reals) -> tuple[float, float, float]:
    """95 % interval of the mean advantage over tasks, and the one-sided p-value of none."""
    n = len(advantages)
    if n < FEWEST_TASKS:
        return math.nan, math.nan, math.nan
    mean, error = float(advantages.mean()), float(advantages.std(ddof=1) / math.sqrt(n))
    if error == 0:
        return mean, mean, 0.0 if mean > 0 else 1.0
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return mean - half, mean + half, float(stats.t.sf(mean / error, n - 1))


def _predict_later(task: pd.DataFrame, features: Sequence[str]) -> tuple[Reals, Reals, Reals, Reals]:
    """Predict each checkpoint from the fourth on from those before it: predictor, latest, lowest perplexity, mean."""
    x, y = task[list(features)].to_numpy(dtype=float), task["target"].to_numpy(dtype=float)
    loss = task[PERPLEXITY].to_numpy(dtype=float)
    later = range(FEWEST_EARLIER, len(y))
    fitted = np.array([_fit(x[:k], y[:k], x[k : k + 1])[0] for k in later])
    latest, mean = y[FEWEST_EARLIER - 1 : -1], np.array([y[:k].mean() for k in later])
    lowest = np.array([y[int(np.argmin(loss[:k]))] if np.isfinite(loss[:k]).all() else math.nan for k in later])
    return fitted, latest, lowest, mean


def _predict_from(
    others: pd.DataFrame, task: pd.DataFrame, features: Sequence[str]
) -> tuple[Reals, Reals, Reals, Reals]:
    """Predict all checkpoints of a task from other tasks: predictor, and the baselines' constants."""
    y, n = others["target"].to_numpy(dtype=float), len(task)
    fitted = _fit(others[list(features)].to_numpy(dtype=float), y, task[list(features)].to_numpy(dtype=float))
    ends = [group for _, group in others.groupby("task", sort=False)]
    latest = float(np.mean([group["target"].iloc[-1] for group in ends]))
    losses = [group[PERPLEXITY].to_numpy(dtype=float) for group in ends]
    complete = all(np.isfinite(loss).all() for loss in losses)
    picked = [g["target"].iloc[int(np.argmin(loss))] for g, loss in zip(ends, losses, strict=True)] if complete else []
    lowest = float(np.mean(picked)) if picked else math.nan
    return fitted, np.full(n, latest), np.full(n, lowest), np.full(n, float(y.mean()))


def _find_regrets(
    task: pd.DataFrame, others: Sequence[pd.DataFrame], features: Sequence[str], source: str
) -> list[float]:
    """Regret of the predictor's, the latest, the lowest-perplexity and a random checkpoint."""
    x, y = task[list(features)].to_numpy(dtype=float), task["target"].to_numpy(dtype=float)
    if source == EARLIER:
        half = max(len(y) // 2, FEWEST_EARLIER)
        score = np.concatenate([y[:half], _fit(x[:half], y[:half], x[half:])])
    else:
        score = _predict_from(pd.concat(list(others)), task, features)[0]
    loss = task[PERPLEXITY].to_numpy(dtype=float)
    lowest = float(y[int(np.argmin(loss))]) if np.isfinite(loss).all() else math.nan
    best = float(y.max())
    return [best - float(y[int(np.argmax(score))]), best - float(y[-1]), best - lowest, best - float(y.mean())]


def _fit(x: Reals, y: Reals, at: Reals) -> Reals:
    """Least squares (one feature) or ridge regression (several, standardised) with an intercept, predicted ``at``."""
    centre, scale = x.mean(axis=0), x.std(axis=0)
    usable = scale > 1e-12 * np.maximum(np.abs(centre), 1e-12)
    if not usable.any():
        return np.full(len(at), float(y.mean()))
    z = (x[:, usable] - centre[usable]) / scale[usable]
    penalty = 0.0 if z.shape[1] == 1 else 1.0
    weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    guess: Reals = y.mean() + ((at[:, usable] - centre[usable]) / scale[usable]) @ weights
    return guess
