"""What accelerators can do, as their makers state it, and what is assumed of it where nothing was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """``peak``: dense bf16 operations per second; ``memory``: bytes."""

    name: str
    peak: float
    memory: float


ACCELERATORS: Mapping[str, Accelerator] = {
    entry.name: entry
    for entry in (
        Accelerator(name="B200", peak=2.25e15, memory=180 * GIB),
        Accelerator(name="H200", peak=989e12, memory=141e9),
        Accelerator(name="H100", peak=989e12, memory=80 * GIB),
        Accelerator(name="A100", peak=312e12, memory=80 * GIB),
        Accelerator(name="L40S", peak=362e12, memory=48 * GIB),
        Accelerator(name="L4", peak=121e12, memory=24 * GIB),
        Accelerator(name="A10", peak=125e12, memory=24 * GIB),
        Accelerator(name="RTX 4090", peak=165e12, memory=24 * GIB),
        Accelerator(name="CPU", peak=50e9, memory=16 * GIB),
    )
}
"""By a part of the device's name; the sparse figures of data sheets are twice as high. CPU: one core of a server."""

LARGEST_SHARE = 0.4
"""Share of the peak that large forward and backward passes reach (MFU); 0.35 to 0.5 is usual for 1B to 30B models."""
HALF_SATURATION = 1024
"""Tokens in a pass at which half of that is reached: launching kernels costs as much as computing."""
DECODING_SHARE = 0.05
"""The same where an answer is decoded token by token: weights are read for few tokens at a time."""
START_SECONDS = 20.0
"""For each checkpoint: weights read from the disk and moved to the device."""


def find_peak(device_name: str) -> float | None:
    """Peak of a known accelerator by its full name; ``None`` for any other."""
    return next((entry.peak for name, entry in ACCELERATORS.items() if name in device_name and name != "CPU"), None)


def share_of_peak(tokens_in_pass: float) -> float:
    """Assumed share of the peak for passes of so many tokens."""
    return LARGEST_SHARE * tokens_in_pass / (tokens_in_pass + HALF_SATURATION)
