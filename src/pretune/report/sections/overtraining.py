"""Whether more pre-training makes models worse: inflections, sensitivity, probes, best learning rates."""

from __future__ import annotations

from pretune.report.overtraining import draw_inflections, draw_probes, draw_rates, draw_sensitivity
from pretune.report.sections.blocks import Section, cut
from pretune.report.sections.context import SETTINGS, Context
from pretune.report.sections.tasks import ONE_LADDER


def ask_inflections(context: Context) -> Section | None:
    """From where on more pre-training makes the tuned or the disturbed model worse."""
    tables = context.show("inflections", [
        ("family", "model", "text"), ("eval_task", "measured on", "text"), ("state", "state", "text"),
        ("train_task", "trained on", "text"), ("setting", "setting", "text"), ("probe", "probe", "text"),
        ("probe_variant", "variant", "text"), ("magnitude", "size", "number"), ("annealed", "annealed", "text"),
        ("metric", "metric", "metric"), ("checkpoints", "checkpoints", "count"), ("peak", "best at", "text"),
        ("peak_value", "best", "score"), ("last_value", "last", "score"), ("fall", "worse by", "score"),
        ("p_holm", "p (Holm)", "p"), ("p_naive", "p, selection forgotten", "p"), ("finding", "finding", "text"),
        ("inflection_after", "turns after", "text"), ("inflection_by", "and by", "text"), ("noise", "noise", "text"),
        ("reason", "why not more", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    figures = draw_inflections(context.results.curves, context.ladders, context.colours, context.floors,
                               context.results.find("inflections"))  # fmt: skip
    method, caveats = context.tell("inflections")
    return Section(
        id="inflections", short="Inflection", question=context.ask("inflections"),
        blocks=(*cut(figures), *tables), method=method, caveats=(*caveats, ONE_LADDER),
        lead="Scores of the base, the tuned and the disturbed model over pre-training. A triangle points at the best "
        "checkpoint of each curve: filled where the curve is shown to get worse after it, open where it is not. "
        "Shaded: where it turns.",
    )  # fmt: skip


def ask_sensitivity(context: Context) -> Section | None:
    """Whether the same disturbance does more damage the longer a model was pre-trained."""
    tables = context.show("sensitivity", [
        ("family", "model", "text"), ("disturbance", "disturbance", "text"), ("state", "state", "text"),
        ("train_task", "trained on", "text"), ("setting", "setting", "text"), ("eval_task", "measured on", "text"),
        ("annealed", "annealed", "text"), ("metric", "damage", "metric"), ("checkpoints", "checkpoints", "count"),
        ("first", "first", "change"), ("last", "last", "change"), ("slope", "slope", "change"),
        ("slope_low", "slope, low", "change"), ("slope_high", "slope, high", "change"), ("axis", "per", "text"),
        ("tau", "Kendall's tau", "number"), ("p_holm", "p (Holm)", "p"), ("finding", "finding", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    figures = draw_sensitivity(context.results.damages, context.ladders, context.results.find("sensitivity"))
    method, caveats = context.tell("sensitivity")
    return Section(
        id="sensitivity", short="Sensitivity", question=context.ask("sensitivity"),
        blocks=(*cut(figures), *tables), method=(*method, "Intervals: evaluated rows, and seeds of the noise."),
        caveats=caveats,
        lead="The damage that one disturbance does at each checkpoint: a curve per size of noise, or per learning rate "
        "of fine-tuning; the larger, the darker (on a dark screen: the lighter). A curve that climbs is a model that "
        "becomes more fragile.",
    )  # fmt: skip


def ask_probes(context: Context) -> Section | None:
    """What probes measure besides damage."""
    figures = draw_probes(context.results.curves, context.ladders)
    if not figures:
        return None
    return Section(
        id="probes", short="Probes", question="What do probes of the checkpoints show?", blocks=tuple(cut(figures)),
        lead="Measurements of the weights, the hidden states and the loss surface over pre-training, without "
        "judgement: they are what the prediction section tries to predict from. All values are in curves.csv.",
        method=("Means over the seeds of a probe; intervals as the probe gives them.",),
    )  # fmt: skip


def ask_rates(context: Context) -> Section | None:
    """How the best learning rate moves with pre-training."""
    tables = context.show("rate_trends", [
        ("family", "model", "text"), ("annealed", "annealed", "text"), ("train_task", "trained on", "text"),
        *SETTINGS, ("finding", "finding", "text"), ("checkpoints", "checkpoints", "count"),
        ("at_edge", "of these at the edge", "count"), ("best_first", "best rate, first", "rate"),
        ("best_last", "best rate, last", "rate"), ("slope", "slope, doublings", "number"),
        ("slope_low", "slope, low", "number"), ("slope_high", "slope, high", "number"), ("axis", "per", "text"),
        ("reason", "why not more", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    figures = draw_rates(context.results.best_rates, context.ladders, context.colours,
                         context.results.find("rate_trends"))  # fmt: skip
    method, caveats = context.tell("rate_trends")
    return Section(
        id="rate-trends", short="Learning rates", question=context.ask("rate_trends"),
        blocks=(*cut(figures, wide=True), *tables), method=method, caveats=caveats,
        lead="The best rate of each training at each checkpoint, by validation rows. Bars reach to the neighbouring "
        "rates of the grid; a small mark is a best rate at the edge of the grid, beyond which the optimum may lie.",
    )  # fmt: skip
