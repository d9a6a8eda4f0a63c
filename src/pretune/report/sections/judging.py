"""What can be believed and predicted: predictors against baselines, unsound scores, the noise."""

from __future__ import annotations

from pretune.analysis.series import split_own
from pretune.report.judging import draw_noise, draw_prediction, draw_soundness
from pretune.report.sections.blocks import Section, cut
from pretune.report.sections.context import Context


def ask_prediction(context: Context) -> Section | None:
    """Whether cheap measurements can replace fine-tuning."""
    tables = context.show("prediction", [
        ("family", "model", "text"), ("annealed", "annealed", "text"), ("learns_from", "learns from", "text"),
        ("predictor", "predictor", "text"), ("verdict", "verdict", "text"), ("tasks", "tasks", "count"),
        ("predictions", "predictions", "count"), ("error", "error", "points"),
        ("error_latest", "error, latest", "points"), ("error_perplexity", "error, lowest perplexity", "points"),
        ("error_mean", "error, mean", "points"), ("advantage", "advantage", "points"),
        ("advantage_low", "advantage, low", "points"), ("advantage_high", "advantage, high", "points"),
        ("p_holm", "p (Holm)", "p"), ("regret", "regret", "points"), ("regret_latest", "regret, latest", "points"),
        ("regret_perplexity", "regret, lowest perplexity", "points"), ("regret_mean", "regret, mean", "points"),
        ("rank_correlation", "rank correlation", "number"), ("reason", "why", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    noise = context.results.find("noise")
    own = noise[(noise["state"] == "tuned").fillna(False) & split_own(noise)]
    floors = own.loc[own["metric"].isin(["accuracy", "rouge_l", "exact_match"]), "smallest_difference"].dropna()
    figures = draw_prediction(context.results.find("prediction"), float(floors.median()) * 100 if len(floors) else None)
    method, caveats = context.tell("prediction")
    return Section(
        id="prediction", short="Prediction", question=context.ask("prediction"),
        blocks=(*cut(figures), *tables), method=method, caveats=caveats,
        lead="Filled: what is lost by following a predictor; crosses, diamonds and pluses: what is lost by a baseline "
        "that needs no measurement, on the same rows. Further left is better; a predictor is worth having only where "
        "it lies left of all baselines. Grey: the noise floor of the median tuned score.",
    )  # fmt: skip


def ask_soundness(context: Context) -> Section | None:
    """Which scores cannot mean what they seem to."""
    tables = context.show("soundness", [
        ("family", "model", "text"), ("eval_task", "task", "text"), ("state", "state", "text"),
        ("train_task", "trained on", "text"), ("setting", "setting", "text"), ("annealed", "annealed", "text"),
        ("eval_format", "format", "text"), ("shots", "shots", "count"), ("flag", "flag", "text"),
        ("severity", "severity", "text"), ("value", "score", "score"), ("expected", "held against", "score"),
        ("evidence", "evidence", "text"), ("checkpoints", "checkpoints", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    figures = draw_soundness(context.results.find("soundness"), context.colours)
    method, caveats = context.tell("soundness")
    return Section(
        id="soundness", short="Soundness", question=context.ask("soundness"),
        blocks=(*cut(figures), *tables), method=method, caveats=caveats,
        lead="Each flagged score beside what it was held against: chance, the majority class, or the score of "
        "practically the same weights.",
    )  # fmt: skip


def ask_noise(context: Context) -> Section | None:
    """How large a difference must be."""
    tables = context.show("noise", [
        ("family", "model", "text"), ("state", "state", "text"), ("eval_task", "task", "text"),
        ("train_task", "trained on", "text"), ("setting", "setting", "text"), ("annealed", "annealed", "text"),
        ("metric", "metric", "metric"), ("checkpoints", "checkpoints", "count"),
        ("smallest_difference", "noise floor", "score"), ("noise_sd", "sd of one score", "score"),
        ("item_se", "from items", "score"), ("run_sd", "from runs", "score"), ("run_basis", "runs: basis", "text"),
        ("seed_df", "repeats", "count"), ("twins", "near-identical checkpoints", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    method, caveats = context.tell("noise")
    return Section(
        id="noise", short="Noise", question=context.ask("noise"),
        blocks=(*cut(draw_noise(context.results.find("noise"), context.colours)), *tables),
        lead="The noise floor of a curve is the smallest difference between two of its scores that noise alone exceeds "
        "5 times in 100. It is drawn in every figure of scores; in points, or in the unit of the metric.",
        method=method, caveats=caveats,
    )  # fmt: skip
