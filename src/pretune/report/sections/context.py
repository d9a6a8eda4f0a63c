"""What every section is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pretune.report.axes import LadderAxis
from pretune.report.results import Results


@dataclass(frozen=True, kw_only=True)
class Context:
    """The analyses, the axis of each ladder of checkpoints, and the colour of each task."""

    results: Results
    ladders: Mapping[str, LadderAxis]
    colours: Mapping[str, int]
