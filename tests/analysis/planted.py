"""Grids of checkpoints with planted truths: many tasks at once, each one repetition of the same experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pretune.analysis.inputs import Inputs
from synthetic_tables import measurement, tabulate

ITEM_SE = 0.01


def make_steps(count: int) -> list[int]:
    """Steps a factor of √2 apart: two checkpoints per doubling."""
    return [round(1000 * 2 ** (index / 2)) for index in range(count)]


def make_axis(count: int) -> np.ndarray:
    """The places of those steps on a logarithmic axis of tokens."""
    return np.log2(np.array(make_steps(count)) * 2048.0)


def make_rows(
    task: str, values: Iterable[float], *, state: str = "base", steps: Iterable[int] | None = None, **changes: Any
) -> list[dict[str, Any]]:
    """Rows of one curve; intervals say that the items alone give a standard error of ``ITEM_SE``."""
    values = list(values)
    half = 1.96 * ITEM_SE
    return [
        measurement(step=step, state=state, eval_task=task, value=float(value), ci_low=float(value) - half,
                    ci_high=float(value) + half, n=None, **changes)
        for step, value in zip(steps or make_steps(len(values)), values, strict=True)
    ]  # fmt: skip


def make_families(
    draw: Callable[[], np.ndarray], *, families: int, tasks: int, states: Sequence[str] = ("base",)
) -> Inputs:
    """Independent repetitions of one study, each a family of its own, whose curves are all drawn alike."""
    rows = []
    for family in range(families):
        for task in range(tasks):
            for state in states:
                rows += make_rows(f"t{task}", draw(), state=state, family=f"f{family}")
    return Inputs(table=tabulate(rows), primary={})


def make_inputs(curves: Mapping[str, Mapping[str, Iterable[float]]], baseline: float | None = None) -> Inputs:
    """Inputs from task → state → values."""
    rows = []
    for task, states in curves.items():
        for state, values in states.items():
            rows += make_rows(task, values, state=state)
        if baseline is not None:
            rows.append(measurement(step=1000, eval_task=task, scorer="baseline", value=baseline))
    return Inputs(table=tabulate(rows), primary=dict.fromkeys(curves, ("accuracy", "sum")))


def curves_of(table: pd.DataFrame, state: str = "base") -> pd.DataFrame:
    """The rows of one state, by evaluated task."""
    return table[table["state"] == state].set_index("eval_task")


def consistent(successes: int, trials: int, rate: float) -> bool:
    """Whether a binomial test at 0.1 % does not reject ``rate``."""
    return bool(stats.binomtest(successes, trials, rate).pvalue > 0.001)


def not_above(successes: int, trials: int, rate: float) -> bool:
    """Whether a one-sided binomial test at 0.1 % does not find more than ``rate``."""
    return bool(stats.binomtest(successes, trials, rate, alternative="greater").pvalue > 0.001)
