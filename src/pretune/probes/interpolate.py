"""The straight line from the base weights through the fine-tuned ones.

θ(α) = (1 − α) θ_base + α θ_tuned: α = 0 is the base, 1 the tuned model (both exactly), between them lies WiSE-FT
(Wortsman et al., arXiv 2109.01903, eq. 1), and beyond 1 the line is followed further. For each α the loss (score), and
its increase (drop) against the base; ``magnitude`` is α.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from pretune.errors import UsageError
from pretune.probes.disturbing import Weights
from pretune.probes.gaussian import compare, describe
from pretune.probes.subject import Findings, Subject


def probe_interpolate(subject: Subject) -> Findings:
    """Measure the subject along the line; the subject's model holds the tuned weights."""
    if subject.base is None:
        raise UsageError("probe=interpolate: needs run=RUN_ID, a fine-tuned model and its base")
    weights = Weights(subject.model)
    base = {name: subject.base[name].to(value.device) for name, value in weights.kept.items()}
    with weights.changed(iter(base.items())):
        before = [meter.read(subject.model) for meter in subject.meters]
    rows: list[dict[str, Any]] = []
    for number, alpha in enumerate(subject.probe.alphas, start=1):
        with weights.changed(on_line(base, weights.kept, alpha)):
            readings = [meter.read(subject.model) for meter in subject.meters]
        where = {"magnitude": alpha}
        for meter, first, after in zip(subject.meters, before, readings, strict=True):
            rows += [describe(meter, after, where), *compare(meter, first, after, where)]
        subject.on_step(number, len(subject.probe.alphas))
    return Findings(rows=rows)


def on_line(
    base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], alpha: float
) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights at ``alpha``; at 0 and 1 the very tensors of base and tuned model."""
    for name, start in base.items():
        yield name, start if alpha == 0 else tuned[name] if alpha == 1 else torch.lerp(start, tuned[name], alpha)
