"""The order of the questions."""

from __future__ import annotations

from pretune.report.axes import build_ladder_axis
from pretune.report.floors import read_floors
from pretune.report.overlays import find_overlays, join_ladders
from pretune.report.palette import assign_colours
from pretune.report.results import Results
from pretune.report.sections.blocks import Section
from pretune.report.sections.context import Context
from pretune.report.sections.formats import ask_formats
from pretune.report.sections.judging import ask_noise, ask_prediction, ask_soundness
from pretune.report.sections.numbers import ask_numbers
from pretune.report.sections.overtraining import ask_inflections, ask_probes, ask_rates, ask_sensitivity
from pretune.report.sections.rest import ask_rest
from pretune.report.sections.tasks import ask_classes, ask_gains, ask_tasks
from pretune.report.sections.text import ask_text
from pretune.report.sections.tradeoffs import ask_matched, ask_mitigation
from pretune.report.sections.transfer import ask_transfer

QUESTIONS = (
    ask_classes, ask_tasks, ask_gains, ask_transfer, ask_text, ask_formats, ask_inflections, ask_sensitivity,
    ask_probes, ask_rates, ask_matched, ask_mitigation, ask_prediction, ask_soundness,
)  # fmt: skip


def build_sections(results: Results) -> list[Section]:
    """Build the sections that the results have something for, in the order they are read."""
    overlays = find_overlays(str(family) for family in results.checkpoints["family"].unique())
    joined = join_ladders(results.checkpoints, overlays)
    ladders = {family: build_ladder_axis(part) for family, part in joined.items()}
    context = Context(
        results=results,
        ladders=ladders,
        colours=assign_colours(results.headline, results.curves),
        floors=read_floors(results.find("noise")),
        overlays=overlays,
    )
    sections = [ask(context) for ask in QUESTIONS]
    sections += [*ask_rest(context), ask_noise(context), ask_numbers(context)]
    return [section for section in sections if section is not None]
