"""What fine-tuning does to the loss on pre-training text."""

from __future__ import annotations

from pretune.report.figures import draw_text_losses
from pretune.report.sections.blocks import Section, Tables, cut
from pretune.report.sections.context import Context
from pretune.report.views import view_changes


def ask_text(context: Context) -> Section | None:
    """Forgetting of pre-training text."""
    forgetting = context.results.forgetting
    figures = draw_text_losses(forgetting, context.ladders, context.colours)
    views = view_changes(forgetting)
    if not figures and not views:
        return None
    tables = [Tables(views=(view,), heading=view.caption, file="forgetting",
                     note="Tuned − base; positive (orange) means the text became less likely. * marks intervals that "
                     "exclude zero, one by one.") for view in views]  # fmt: skip
    return Section(
        id="text", short="Pre-training text", question="What is forgotten of the pre-training text?",
        blocks=(*cut(figures), *tables),
        lead="The loss on text like that of pre-training, before and after each fine-tuning: where it rises, that text "
        "has become less likely.",
        method=("Mean negative log-likelihood of held-out text under the base and under the tuned model, on the same "
                "rows.",),
        caveats=("A higher loss on text is not the loss of an ability: the transfer section has the scores on other "
                 "tasks.",),
    )  # fmt: skip
