"""The horizontal axis of a ladder of checkpoints, and the vertical one of a metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from pretune.analysis.ladders import has_steps
from pretune.report.wording import shorten, write_number, write_rate


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A labelled place on an axis, from 0 to 1; ``below`` is the second line of a label."""

    at: float
    label: str
    below: str = ""


@dataclass(frozen=True, kw_only=True)
class ValueAxis:
    """A vertical axis from ``low`` to ``high`` with its tick values and their number of decimals, or their labels."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int = 0
    labels: tuple[str, ...] = ()

    def write(self, *, signed: bool = False) -> list[tuple[float, str]]:
        """Return each tick with its label."""
        written = [write_number(tick, self.digits, signed=signed and tick != 0) for tick in self.ticks]
        return list(zip(self.ticks, self.labels or written, strict=True))


@dataclass(frozen=True, kw_only=True)
class LadderAxis:
    """Where each checkpoint of a family stands, from 0 to 1; ``cut`` is where the axis is broken for step 0.

    Other things that points are of (learning rates, arms) can take the place of checkpoints: ``places`` has their
    keys, and ``scale`` the numbers along the axis.
    """

    title: str
    places: Mapping[str, float]
    ticks: tuple[Tick, ...]
    cut: float | None = None
    scale: ValueAxis | None = None


def build_ladder_axis(ordered: pd.DataFrame) -> LadderAxis:
    """Lay out the checkpoints of one family (rows of ``order_checkpoints``).

    With a step everywhere: logarithmic in the step, with step 0 set apart left of the first one. Otherwise the
    checkpoints stand at equal distances in their order. A single checkpoint stands in the middle.
    """
    names = [str(name) for name in ordered["checkpoint"]]
    if has_steps(ordered):
        steps = [float(step) for step in ordered["step"]]
        labels = [shorten(step) for step in steps]
        places, cut = _place_steps(steps)
        title = "pre-training step, logarithmic"
    else:
        last = max(len(names) - 1, 1)
        places, cut = [index / last if len(names) > 1 else 0.5 for index in range(len(names))], None
        labels = [_cut(name) for name in names]
        title = "checkpoint, in order"
    tokens = [shorten(value) if pd.notna(value) else "" for value in ordered["tokens"]]
    if any(tokens):
        title += "; tokens below"
    candidates = [Tick(at=p, label=a, below=b) for p, a, b in zip(places, labels, tokens, strict=True)]
    return LadderAxis(title=title, places=dict(zip(names, places, strict=True)), ticks=_thin_out(candidates), cut=cut)


def _place_steps(steps: list[float]) -> tuple[list[float], float | None]:
    positive = sorted({step for step in steps if step > 0})
    if not positive:
        return [0.5] * len(steps), None
    low, high = math.log(positive[0]), math.log(positive[-1])
    span = high - low
    has_zero = any(step <= 0 for step in steps)
    start = 0.13 if has_zero else 0.0

    def place(step: float) -> float:
        if step <= 0:
            return 0.0
        share = (math.log(step) - low) / span if span else 0.5 if not has_zero else 1.0
        return start + (1 - start) * share

    return [place(step) for step in steps], start / 2 if has_zero else None


def _cut(name: str, limit: int = 12) -> str:
    return name if len(name) <= limit else "…" + name[-(limit - 1) :]


def _thin_out(candidates: list[Tick], width: float = 300.0) -> tuple[Tick, ...]:
    """Keep the last label, the first, and as many between as have room on ``width`` pixels."""
    kept: list[Tick] = []

    def reach(tick: Tick) -> tuple[float, float]:
        half = 3.1 * max(len(tick.label), len(tick.below)) + 4
        return tick.at * width - half, tick.at * width + half

    for tick in [*candidates[-1:], *candidates[:1], *reversed(candidates[1:-1])]:
        left, right = reach(tick)
        if all(right <= reach(other)[0] or left >= reach(other)[1] for other in kept):
            kept.append(tick)
    return tuple(sorted(kept, key=lambda tick: tick.at))


def build_value_axis(values: list[float], *, share: bool = False, from_zero: bool = False) -> ValueAxis:
    """Choose round limits and ticks about ``values``; 0 to 100 when ``share``."""
    known = [value for value in values if math.isfinite(value)]
    if share or not known:
        return ValueAxis(low=0.0, high=100.0, ticks=(0.0, 25.0, 50.0, 75.0, 100.0))
    low, high = (min(0.0, *known) if from_zero else min(known)), max(known)
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        first, last = first if from_zero else first - 1, last + 1
    digits = next(d for d in range(7) if abs(round(step, d) - step) < step * 1e-6 or d == 6)
    ticks = tuple(round(index * step, 10) for index in range(first, last + 1))
    return ValueAxis(low=ticks[0], high=ticks[-1], ticks=ticks, digits=digits)


def build_plane_axis(title: str, values: Mapping[str, float], others: Iterable[float] = ()) -> LadderAxis:
    """Lay out keys along a linear axis by a number each; ``others`` (ends of intervals) are to be inside too."""
    axis = build_value_axis([*values.values(), *others])
    ticks = [Tick(at=share_of(axis, tick), label=text) for tick, text in axis.write()]
    places = {key: share_of(axis, value) for key, value in values.items()}
    return LadderAxis(title=title, places=places, ticks=_thin_out(ticks), scale=axis)


def share_of(axis: ValueAxis, value: float) -> float:
    """Return where a value stands on an axis, from 0 to 1."""
    return (value - axis.low) / (axis.high - axis.low)


def build_rate_axis(rates: Iterable[float]) -> ValueAxis:
    """Lay out log2 of learning rates, with a tick at each rate of the grid as far as there is room."""
    known = sorted({float(rate) for rate in rates if rate > 0})
    if not known:
        return ValueAxis(low=0.0, high=1.0, ticks=())
    logs = [math.log2(rate) for rate in known]
    low, high = logs[0] - 0.5, logs[-1] + 0.5
    kept: list[int] = []
    for index, place in enumerate(logs):
        if not kept or place - logs[kept[-1]] >= (high - low) / 14:
            kept.append(index)
    return ValueAxis(low=low, high=high, ticks=tuple(logs[i] for i in kept),
                     labels=tuple(write_rate(known[i]) for i in kept))  # fmt: skip
