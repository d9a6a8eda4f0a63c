"""What training on one task does to the others."""

from __future__ import annotations

import pandas as pd

from pretune.report.figures import draw_matrix
from pretune.report.sections.blocks import Section, Tables, cut
from pretune.report.sections.context import Context
from pretune.report.views import view_transfer


def ask_transfer(context: Context) -> Section | None:
    """Transfer and forgetting between tasks."""
    transfer = _add_tests(context.results.transfer, context.results.find("gains"))
    if transfer.empty:
        return None
    method, caveats = context.tell("gains", "exchange")
    return Section(
        id="transfer", short="Transfer", question="What does training on one task do to the others?",
        blocks=(
            *cut(draw_matrix(transfer), wide=True),
            *context.show("exchange", folded=False),
            Tables(views=tuple(view_transfer(transfer)), label="Checkpoint", heading="Every checkpoint",
                   folded=True, file="transfer"),
        ),
        lead="Tuned − base, absolute: points for scores, nats for losses. Blue is better than the base model, orange "
        "is worse; the sign is always written.",
        method=("Each number is the difference between the tuned and the base score of one checkpoint on one evaluated "
                "task. Ratios are not shown here: they explode where the base score is near zero.", *method),
        caveats=("* marks a difference from zero at 5 % after Holm's correction over all gains of the study; grey "
                 "numbers are smaller than their noise floor.", *caveats),
    )  # fmt: skip


def _add_tests(transfer: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Add the noise and the corrected p-value of each difference, from the analysis of gains."""
    keys = ["family", "checkpoint", "train_task", "eval_task", "relation", "setting", "metric"]
    tests = gains[[*keys, "noise_sd", "p_holm"]].drop_duplicates(keys)
    return transfer.merge(tests, on=keys, how="left")
