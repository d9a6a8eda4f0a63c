"""Learning-rate schedules: the factor on the peak rate as a pure function of the step."""

from __future__ import annotations

import math

from pretune.config.science import Stage


def warmup_steps(stage: Stage, total: int) -> int:
    """Steps of the linear warm-up: ``warmup_steps``, else ``warmup_ratio`` of all, rounded up as transformers does."""
    if stage.warmup_steps is not None:
        return stage.warmup_steps
    return math.ceil(stage.warmup_ratio * total)


def decay_steps(stage: Stage, total: int) -> int:
    """Steps of the final decay of ``wsd``: ``decay_ratio`` of all, rounded up."""
    return math.ceil(stage.decay_ratio * total)


def factor_at(stage: Stage, step: int, total: int) -> float:
    """Factor on the peak learning rate for the optimizer step with index ``step`` (from 0) of ``total``.

    ``linear`` and ``cosine`` fall to zero after the last step, ``wsd`` (warm-up, stable, decay; Hägele et al.,
    arXiv 2405.18392) stays at the peak and falls linearly to zero over the last ``decay_ratio`` of all steps; all
    schedules warm up linearly from zero.
    """
    warmup = warmup_steps(stage, total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total - warmup)
    if stage.schedule == "linear":
        return 1.0 - progress
    if stage.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if stage.schedule == "wsd":
        return min(1.0, (total - step) / decay_steps(stage, total))
    return 1.0
