"""Analyses of the catalogue that no section draws: each with its question, table, method and caveats."""

from __future__ import annotations

from pretune.report.sections.blocks import Section
from pretune.report.sections.context import Context

DRAWN = frozenset({
    "dichotomy", "trends", "gains", "latent_gains", "noise", "exchange", "format_slopes", "inflections", "sensitivity",
    "rate_trends", "matched_forgetting", "mitigation", "prediction", "soundness",
})  # fmt: skip
"""Analyses that other sections show."""


def ask_rest(context: Context) -> list[Section]:
    """Build a section for every further analysis that found something."""
    sections = []
    for name, outcome in context.results.outcomes.items():
        if name in DRAWN or outcome.table.empty:
            continue
        method, caveats = context.tell(name)
        sections.append(Section(
            id=name.replace("_", "-"), short=outcome.analysis.title, question=outcome.analysis.question,
            blocks=tuple(context.show(name, folded=False)), method=method, caveats=caveats,
        ))  # fmt: skip
    return sections
