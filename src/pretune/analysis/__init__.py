"""Analyses: a results table in, tables out, with the method and its assumptions in each docstring.

They read nothing but the table: no log, no folder name, no tracking service. Any table of the contract
(:mod:`pretune.results.schema`) will do; it is cleaned first, and gaps stay where cells are missing.

:data:`CATALOGUE` lists every analysis with its question, method, caveats and the meaning of its columns;
:func:`run_analyses` runs them on :class:`Inputs`. The tables that they are cut from have functions of their own:

* :func:`build_headline`: primary metric before and after fine-tuning, per checkpoint
* :func:`build_transfer`: training task × evaluated task, tuned − base
* :func:`build_formats`: score per prompt format, and the spread
* :func:`build_forgetting`: loss on pre-training text before and after
* :func:`read_tasks`: a cautious description of each task's curves
* :func:`validate_rates`: learning rates on validation rows, and the choice
* :func:`list_missing`, :func:`count_cells`: what the table has and lacks
"""

from pretune.analysis.catalogue import CATALOGUE, Analysis, Outcome, run_analyses
from pretune.analysis.choosing import validate_rates
from pretune.analysis.cleaning import Cleaned, clean
from pretune.analysis.coverage import count_cells, list_missing
from pretune.analysis.forgetting import build_forgetting
from pretune.analysis.formats import build_formats
from pretune.analysis.headline import build_headline
from pretune.analysis.inputs import Inputs
from pretune.analysis.ladders import order_checkpoints
from pretune.analysis.metrics import Measure, Primary, choose_measures
from pretune.analysis.reading import Margins, read_tasks
from pretune.analysis.transfer import build_transfer, pivot_transfer

__all__ = [
    "CATALOGUE",
    "Analysis",
    "Cleaned",
    "Inputs",
    "Margins",
    "Measure",
    "Outcome",
    "Primary",
    "build_forgetting",
    "build_formats",
    "build_headline",
    "build_transfer",
    "choose_measures",
    "clean",
    "count_cells",
    "list_missing",
    "order_checkpoints",
    "pivot_transfer",
    "read_tasks",
    "run_analyses",
    "validate_rates",
]
