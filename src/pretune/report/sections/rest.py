"""Analyses of the catalogue that no section draws: each with its question, table, method and caveats."""

from __future__ import annotations

from pretune.report.sections.blocks import Section
from pretune.report.sections.context import Context

DRAWN = frozenset({"dichotomy", "trends", "gains", "latent_gains", "noise", "exchange", "format_slopes"})
"""Analyses that other sections show."""

SHORT = {
    "inflections": "Inflection", "sensitivity": "Sensitivity", "rate_trends": "Learning rates",
    "matched_forgetting": "Matched forgetting", "mitigation": "Mitigation", "prediction": "Prediction",
    "soundness": "Soundness",
}  # fmt: skip
"""Names for the navigation; an analysis without one goes by its title."""


def ask_rest(context: Context) -> list[Section]:
    """Build a section for every further analysis that found something."""
    sections = []
    for name, outcome in context.results.outcomes.items():
        if name in DRAWN or outcome.table.empty:
            continue
        method, caveats = context.tell(name)
        sections.append(Section(
            id=name.replace("_", "-"), short=SHORT.get(name, outcome.analysis.title),
            question=outcome.analysis.question,
            blocks=tuple(context.show(name, folded=False)), method=method, caveats=caveats,
        ))  # fmt: skip
    return sections


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
        id="noise", short="Noise", question=context.results.outcomes["noise"].analysis.question, blocks=tuple(tables),
        lead="The noise floor of a curve is the smallest difference between two of its scores that noise alone exceeds "
        "5 times in 100. It is drawn in every figure; in points, or in the unit of the metric.",
        method=method, caveats=caveats,
    )  # fmt: skip
