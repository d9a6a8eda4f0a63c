"""From operations to seconds: by what the study's finished runs took, else by what an accelerator can do.

A *sample* is a finished cell: what kind of work it was, its operations, its seconds. A cell is predicted from the
samples most like it: the same kind, model and task; else the same kind and model. Other models say nothing: a small one
uses a device in another way than a large one. With samples of several sizes the line through them is used (Theil–Sen),
so that the cost of starting a cell is told from that of its work; with one size their median ratio.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pretune.planning.accelerators import DECODING_SHARE, Accelerator, share_of_peak
from pretune.planning.costs import Work

Key = tuple[str, str, str]
"""Kind of cell, model family, task."""

FEWEST = 2
"""Samples that a group must have to be trusted."""
SPREAD = 1.5
"""Sizes that differ by less than this factor do not fix a line."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A finished cell."""

    key: Key
    flops: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """Seconds = ``start`` + ``rate`` · operations."""

    start: float
    rate: float

    def at(self, flops: float) -> float:
        """Seconds for so many operations."""
        return self.start + self.rate * flops


class Calibration:
    """What finished cells say about others."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = tuple(sample for sample in samples if sample.seconds > 0 and sample.flops > 0)
        groups: dict[Key, list[Sample]] = {}
        for sample in self.samples:
            for key in _levels(sample.key):
                groups.setdefault(key, []).append(sample)
        self._lines: Mapping[Key, Line] = {
            key: fit_line(group) for key, group in groups.items() if len(group) >= FEWEST
        }

    def predict(self, key: Key, flops: float) -> float | None:
        """Seconds of a cell; ``None`` where nothing like it was measured."""
        line = next((self._lines[level] for level in _levels(key) if level in self._lines), None)
        return None if line is None else line.at(flops)

    def errors(self) -> list[float]:
        """Predicted over measured seconds of each sample, predicted without it."""
        found = []
        for index, sample in enumerate(self.samples):
            rest = Calibration.of_others(self.samples, index, sample)
            predicted = rest.predict(sample.key, sample.flops)
            if predicted is not None:
                found.append(predicted / sample.seconds)
        return found

    @classmethod
    def of_others(cls, samples: Sequence[Sample], left_out: int, like: Sample) -> Calibration:
        """Without one sample, and only what could say something about it."""
        return cls(s for number, s in enumerate(samples) if number != left_out and s.key[0] == like.key[0])


def _levels(key: Key) -> Iterable[Key]:
    kind, family, task = key
    return (kind, family, task), (kind, family, "")


def fit_line(samples: Sequence[Sample]) -> Line:
    """The line through samples; through the origin where their sizes are too alike to fix its start."""
    sizes = [sample.flops for sample in samples]
    if max(sizes) < SPREAD * min(sizes):
        ratio = statistics.median(sample.seconds / sample.flops for sample in samples)
        return Line(start=0.0, rate=ratio)
    # of many samples an even choice, in the order of their sizes, is as good and much faster
    ordered = sorted(samples, key=lambda sample: sample.flops)
    few = ordered[:: -(-len(ordered) // 60)]
    slopes = [
        (b.seconds - a.seconds) / (b.flops - a.flops) for a, b in itertools.combinations(few, 2) if b.flops > a.flops
    ]
    rate = max(statistics.median(slopes), 0.0)
    start = statistics.median(sample.seconds - rate * sample.flops for sample in samples)
    if start < 0:
        return Line(start=0.0, rate=statistics.median(sample.seconds / sample.flops for sample in samples))
    return Line(start=start, rate=rate)


def seconds_on(device: Accelerator, work: Work, *, devices: int = 1) -> float:
    """Seconds of a cell on an accelerator that nothing was measured on."""
    computing = work.flops / (device.peak * devices * share_of_peak(work.tokens_in_pass))
    return computing + work.decoding / (device.peak * devices * DECODING_SHARE)
