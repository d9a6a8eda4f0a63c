"""All numbers, to sort and to filter."""

from __future__ import annotations

import pandas as pd

from pretune.report.sections.blocks import Section, Tables
from pretune.report.sections.context import Context
from pretune.report.views import view_headline, view_plain


def ask_numbers(context: Context) -> Section | None:
    """The headline table, and the learning rates."""
    results = context.results
    if results.headline.empty and results.learning_rates.empty:
        return None
    blocks = [Tables(views=(view_headline(results.headline),), file="headline")]
    rates = _varied_rates(results.learning_rates)
    if len(rates):
        views = (view_plain(rates, "Learning rates on validation rows"),)
        blocks.append(Tables(views=views, heading="Learning rates: validation scores and the choice", folded=True,
                             file="learning_rates"))  # fmt: skip
    return Section(
        id="numbers", short="All numbers", question="All numbers of the headline", blocks=tuple(blocks),
        lead="Scores are in percent or × 100. A column head sorts; the last column opens the cells behind a row.",
    )  # fmt: skip


def _varied_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Keep what is worth showing: trainings with more than one learning rate."""
    shown = rates[rates["chosen_by"] != "the only one"]
    names = ["family", "checkpoint", "train_task", "train_format", "lr", "evidence", "validation", "seeds", "chosen"]
    return shown[names].reset_index(drop=True)
