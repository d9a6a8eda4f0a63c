"""The order of the questions."""

from __future__ import annotations

from pretune.report.axes import build_ladder_axis
from pretune.report.palette import assign_colours
from pretune.report.results import Results
from pretune.report.sections.blocks import Section
from pretune.report.sections.context import Context
from pretune.report.sections.formats import ask_formats
from pretune.report.sections.numbers import ask_numbers
from pretune.report.sections.tasks import ask_gains, ask_tasks
from pretune.report.sections.text import ask_text
from pretune.report.sections.transfer import ask_transfer

QUESTIONS = (ask_tasks, ask_gains, ask_transfer, ask_formats, ask_text, ask_numbers)


def build_sections(results: Results) -> list[Section]:
    """Build the sections that the results have something for, in the order they are read."""
    ladders = {
        str(family): build_ladder_axis(part) for family, part in results.checkpoints.groupby("family", sort=False)
    }
    context = Context(results=results, ladders=ladders, colours=assign_colours(results.headline))
    sections = [ask(context) for ask in QUESTIONS]
    return [section for section in sections if section is not None]
