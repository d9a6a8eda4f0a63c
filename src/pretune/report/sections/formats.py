"""How much the wording of the prompt matters."""

from __future__ import annotations

from pretune.report.figures import draw_spreads
from pretune.report.sections.blocks import Section, Tables, cut
from pretune.report.sections.context import Context
from pretune.report.views import view_formats


def ask_formats(context: Context) -> Section | None:
    """Format sensitivity over pre-training."""
    formats = context.results.formats
    views = view_formats(formats)
    if not views:
        return None
    figures = draw_spreads(formats, context.ladders, context.colours, context.floors)
    slopes = context.show("format_slopes", [
        ("family", "model", "text"), ("eval_task", "task", "text"), ("state", "state", "text"),
        ("train_format", "trained in", "text"), ("setting", "setting", "text"), ("annealed", "annealed", "text"),
        ("formats", "formats", "text"), ("checkpoints", "checkpoints", "count"),
        ("spread_first", "spread, first", "score"), ("spread_last", "spread, last", "score"),
        ("noise_spread", "spread of noise alone", "score"), ("slope", "slope", "change"),
        ("slope_low", "slope, low", "change"), ("slope_high", "slope, high", "change"), ("axis", "per", "text"),
        ("p_holm", "p (Holm)", "p"), ("finding", "finding", "text"),
    ], folded=False)  # fmt: skip
    method, caveats = context.tell("format_slopes")
    return Section(
        id="formats", short="Formats", question="How much does the prompt format matter?",
        blocks=(*cut(figures), *slopes, Tables(views=tuple(views), label="Checkpoint", file="formats",
                                heading="Scores per format", note="Underlined: the best.")),
        lead="Best − worst score over the prompt formats measured, before and after fine-tuning in one of them.",
        method=("At each checkpoint the score in every format; the spread is the largest minus the smallest.", *method),
        caveats=("The difference between the best and the worst of several noisy scores is positive even if the format "
                 "does not matter: compare it between checkpoints, not with zero.", *caveats),
    )  # fmt: skip
