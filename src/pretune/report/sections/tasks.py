"""What each task owes to pre-training and to fine-tuning: classes, curves, gains."""

from __future__ import annotations

import pandas as pd

from pretune.report.figures import draw_gains, draw_tasks
from pretune.report.sections.blocks import Section, cut
from pretune.report.sections.context import Context

MOST_TASKS = 48
"""Tasks of all models that the page draws: its first question has the most figures."""

LEARNING_RATE = (
    "Learning rate: where several were tried, the one with the best validation score is taken per checkpoint and "
    "training task; evaluated rows play no part in the choice."
)
SAME_ROWS = (
    "A tuned score is compared with the base score of the same checkpoint on the same rows, in the same format, with "
    "the same shots and scorer: the format trained in and the fewest shots measured, unless said otherwise."
)
INTERVALS = (
    "Intervals are 95 % bootstrap intervals over evaluated rows; where a training was repeated with other seeds, "
    "values are means and the spread over seeds is added (Student's t)."
)
ONE_LADDER = (
    "Checkpoints of one pre-training run are not independent of each other. Annealed ones are ringed and not joined to "
    "the others."
)


def split_own(headline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide a headline into the tasks' own rows (or untrained ones) and their rows on other data of the same task."""
    own = ((headline["train_task"] == headline["eval_task"]).fillna(False) | headline["train_task"].isna()).astype(bool)
    apart = headline["relation"].isin(["in_domain", "out_of_domain"]) & ~own
    return headline[own], headline[apart]


def ask_classes(context: Context) -> Section | None:
    """Which tasks are learnt in pre-training, and which only by fine-tuning."""
    tables = context.show("dichotomy", [
        ("family", "model", "text"), ("eval_task", "task", "text"), ("setting", "setting", "text"),
        ("annealed", "annealed", "text"), ("metric", "metric", "metric"), ("class", "class", "text"),
        ("checkpoints", "checkpoints", "count"), ("baseline", "trivial baseline", "score"),
        ("base_first", "base, first", "score"), ("base_end", "base, end", "score"),
        ("tuned_end", "tuned, end", "score"), ("rise", "rise", "change"), ("rise_units", "rise / noise", "units"),
        ("gain", "gain", "change"), ("gain_units", "gain / noise", "units"),
        ("above_units", "above baseline / noise", "units"), ("base_p_holm", "trend p (Holm)", "p"),
        ("because", "because", "text"), ("end", "end", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    method, caveats = context.tell("dichotomy")
    return Section(
        id="classes", short="Classes", blocks=tuple(tables), method=method, caveats=(*caveats, ONE_LADDER),
        question="Which tasks are learnt in pre-training, and which only by fine-tuning?",
        lead="The class of each task with its evidence. Changes are in points and, beside them, in units of their own "
        "noise; the figure at the top of the page shows the same.",
    )  # fmt: skip


def ask_tasks(context: Context) -> Section | None:
    """When a task is learnt: base and tuned scores over pre-training, their trends and plateaus."""
    own, apart = split_own(context.results.headline)
    if own.empty and apart.empty:
        return None
    trends = context.results.find("trends")
    drawing = (context.ladders, context.colours, context.floors, trends, context.overlays)
    blocks = cut(draw_tasks(own, *drawing, prefix="task"), most=MOST_TASKS)
    twins = draw_tasks(apart, *drawing, prefix="other-domain")
    blocks += cut(twins, heading="The same fine-tuning on other data of the task")
    tables = context.show("trends", [
        ("family", "model", "text"), ("state", "state", "text"), ("eval_task", "task", "text"),
        ("train_task", "trained on", "text"), ("setting", "setting", "text"), ("annealed", "annealed", "text"),
        ("metric", "metric", "metric"), ("checkpoints", "checkpoints", "count"), ("first", "first", "score"),
        ("last", "last", "score"), ("trend", "trend", "text"), ("tau", "Kendall's tau", "number"),
        ("p_holm", "p (Holm)", "p"), ("slope", "slope", "change"), ("slope_low", "slope, low", "change"),
        ("slope_high", "slope, high", "change"), ("axis", "per", "text"), ("shape", "shape", "text"),
        ("onset_after", "plateau begins after", "text"), ("onset_by", "and by", "text"),
        ("plateau_level", "plateau at", "score"), ("reason", "why not more", "text"),
    ])  # fmt: skip
    method, caveats = context.tell("trends")
    return Section(
        id="tasks", short="Over pre-training", question="When is each task learnt, and when does it stop improving?",
        blocks=(*blocks, *tables),
        lead="Each task's primary metric over pre-training, before and after fine-tuning that checkpoint. Numbers "
        "at the right edge are those of the last checkpoint drawn; where a curve has no mark, the cell is missing. "
        "Shaded: where the plateau begins, as closely as the checkpoints allow.",
        method=(SAME_ROWS, LEARNING_RATE, INTERVALS,
                "Trivial baseline: what an answer that ignores the input would score on the same rows.", *method),
        caveats=(*caveats, ONE_LADDER),
    )  # fmt: skip


def ask_gains(context: Context) -> Section | None:
    """What fine-tuning adds at each checkpoint."""
    own, _ = split_own(context.results.headline)
    figures = draw_gains(own, context.ladders, context.colours, context.results.find("gains"))
    if not figures:
        return None
    tables = context.show("latent_gains", [
        ("family", "model", "text"), ("eval_task", "task", "text"), ("setting", "setting", "text"),
        ("annealed", "annealed", "text"), ("latent", "latent gain", "text"), ("checkpoints", "checkpoints", "count"),
        ("base_growth", "base grows by", "change"), ("base_growth_units", "/ noise", "units"),
        ("tuned_growth", "tuned grows by", "change"), ("tuned_growth_units", "/ noise", "units"),
        ("gain_first", "gain, first", "change"), ("gain_end", "gain, end", "change"),
        ("turning_after", "turns after", "text"), ("turning_by", "and by", "text"),
        ("turning_shape", "tuned curve", "text"), ("base_shape", "base curve", "text"),
        ("because", "because", "text"),
    ], folded=False)  # fmt: skip
    method, caveats = context.tell("gains", "latent_gains")
    return Section(
        id="gains", short="Gain", question="What does fine-tuning add, and does more pre-training make it add more?",
        blocks=(*cut(figures, wide=True), *tables),
        lead="Tuned − base at each checkpoint. A gain that grows while the base score stays flat is latent: "
        "pre-training prepared what only fine-tuning shows.",
        method=("Gain = tuned − base in points; for losses the sign is turned, so that more is better.", SAME_ROWS,
                *method),
        caveats=caveats,
    )  # fmt: skip
