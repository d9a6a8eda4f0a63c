"""What training on one task does to the others."""

from __future__ import annotations

from pretune.report.figures import draw_matrix
from pretune.report.sections.blocks import Charts, Section, Tables
from pretune.report.sections.context import Context
from pretune.report.views import view_transfer


def ask_transfer(context: Context) -> Section | None:
    """Transfer and forgetting between tasks."""
    transfer = context.results.transfer
    if transfer.empty:
        return None
    return Section(
        id="transfer", short="Transfer", question="What does training on one task do to the others?",
        blocks=(
            Charts(figures=tuple(draw_matrix(transfer)), wide=True),
            Tables(views=tuple(view_transfer(transfer)), label="Checkpoint", heading="Every checkpoint",
                   folded=True, file="transfer"),
        ),
        lead="Tuned − base, absolute: points for scores, nats for losses. Blue is better than the base model, orange "
        "is worse; the sign is always written.",
        method=("Each number is the difference between the tuned and the base score of one checkpoint on one evaluated "
                "task. Ratios are not shown here: they explode where the base score is near zero.",),
        caveats=("* marks an interval that excludes zero, one by one: of forty such cells about two would have one by "
                 "chance.",
                 "Base and tuned scores are treated as independent, which makes the intervals rather too wide."),
    )  # fmt: skip
