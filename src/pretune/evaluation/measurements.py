"""The rows of an evaluation: one per metric with its interval, one per item, and what was counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretune.data.examples import Example
from pretune.evaluation.intervals import Interval


def text_item(
    scorer: str,
    example: Example,
    value: float,
    *,
    prediction: str = "",
    gold: str = "",
    choices: Sequence[str] = (),
    scores: Sequence[float] = (),
) -> dict[str, Any]:
    """One item of a measurement in which a text is judged, not the scores of options."""
    return {
        "scorer": scorer,
        "item": example.id,
        "choices": list(choices),
        "scores": list(scores),
        "prediction": prediction,
        "gold": gold,
        "value": value,
    }


def metric_row(scorer: str, metric: str, interval: Interval) -> dict[str, Any]:
    """One row of the metrics."""
    return {
        "scorer": scorer,
        "metric": metric,
        "value": interval.value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n": interval.n,
    }


def count_rows(rows: int, *, ambiguous: int = 0, empty: int = 0) -> dict[str, int]:
    """The counts of an evaluation in which nothing had to be shortened."""
    return {
        "rows": rows,
        "truncated_rows": 0,
        "cut_tokens": 0,
        "dropped_shots": 0,
        "ambiguous_rows": ambiguous,
        "empty_rows": empty,
    }
