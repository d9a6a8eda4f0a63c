"""Each task before and after fine-tuning, and what fine-tuning adds."""

from __future__ import annotations

import pandas as pd

from pretune.report.figures import draw_gains, draw_tasks
from pretune.report.sections.blocks import Charts, Section
from pretune.report.sections.context import Context

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


def ask_tasks(context: Context) -> Section | None:
    """Which tasks are learnt when: base and tuned scores over pre-training."""
    own, apart = split_own(context.results.headline)
    figures = draw_tasks(own, context.ladders, context.colours, prefix="task")
    twins = draw_tasks(apart, context.ladders, context.colours, prefix="other-domain")
    blocks = [Charts(figures=tuple(figures))]
    if twins:
        blocks.append(Charts(heading="The same fine-tuning on other data of the task", figures=tuple(twins)))
    return Section(
        id="tasks", short="Tasks", question="Which tasks does the model learn, and when?", blocks=tuple(blocks),
        lead="Each task's primary metric over pre-training, before and after fine-tuning that checkpoint. Numbers "
        "at the right edge are those of the last checkpoint drawn; where a curve has no mark, the cell is missing.",
        method=(SAME_ROWS, LEARNING_RATE, INTERVALS,
                "Trivial baseline: what an answer that ignores the input would score on the same rows."),
        caveats=(ONE_LADDER,),
    )  # fmt: skip


def ask_gains(context: Context) -> Section | None:
    """What fine-tuning adds at each checkpoint."""
    own, _ = split_own(context.results.headline)
    figures = draw_gains(own, context.ladders, context.colours)
    if not figures:
        return None
    return Section(
        id="gains", short="Gain", question="What does fine-tuning add, and does more pre-training make it add more?",
        blocks=(Charts(figures=tuple(figures), wide=True),),
        lead="Tuned − base at each checkpoint. A gain that grows while the base score stays flat is latent: "
        "pre-training prepared what only fine-tuning shows.",
        method=("Gain = tuned − base in points; for losses the sign is turned, so that more is better.", SAME_ROWS),
        caveats=("The interval treats base and tuned scores as independent. They are measured on the same rows, which "
                 "usually makes the true interval narrower: this one errs on the wide side.",),
    )  # fmt: skip
