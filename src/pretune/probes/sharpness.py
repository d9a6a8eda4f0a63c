"""Sharpness of the loss on the pre-training text, at the weights as they are.

The loss is the mean over all tokens of the first ``texts`` texts, each cut to the model's context.

===================  ================================================================================================
top_eigenvalue       largest eigenvalue of the Hessian (Lanczos, ``iterations`` steps); smallest_eigenvalue likewise
hessian_trace        Hutchinson's estimate over ``samples`` vectors of random signs; interval ± 1.96 standard errors
gradient_curvature   gᵀHg / ‖g‖² along the gradient
update_curvature     the same along θ_tuned − θ_base, at the base weights (fine-tuned runs only)
critical_sharpness   2 / η_c, η_c the smallest step along the negative gradient that raises the loss (arXiv 2601.16979);
                     η_c is bracketed by doubling and halved in on to 10 per cent
gradient_norm        ‖g‖
===================  ================================================================================================
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pretune.data.examples import Example
from pretune.errors import DataError
from pretune.evaluation.evaluate import make_encoder
from pretune.evaluation.likelihood import separator_id
from pretune.modeling import input_device
from pretune.probes.curvature import LossSurface, directional, estimate_trace, find_extremes, flatten
from pretune.probes.disturbing import Weights
from pretune.probes.meters import encode_texts
from pretune.probes.subject import Findings, Subject

BRACKET = 60
"""Doublings or halvings of the step tried before it is given up."""


def probe_sharpness(subject: Subject) -> Findings:
    """Measure the curvature of the subject's loss on its text."""
    probe, model = subject.probe, subject.model
    weights = Weights(model, probe.tensors)
    parameters = list(weights.parameters.values())
    parts, tokens = make_parts(model, subject.tokenizer, subject.examples[0][: probe.texts])
    surface = LossSurface(parts, parameters)
    size, device = sum(parameter.numel() for parameter in parameters), parameters[0].device

    def product(vector: torch.Tensor) -> torch.Tensor:
        return surface.product(vector.to(device)).cpu()

    rows: list[dict[str, Any]] = []
    fixed = {"eval_task": subject.meters[0].task.name, "n": tokens}
    total, done = 2 * probe.seeds + 2, 0
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        for seed in range(probe.seeds):
            generator = torch.Generator().manual_seed(seed)
            trace = estimate_trace(product, size, samples=probe.samples, generator=generator)
            low, high = trace.value - 1.96 * trace.error, trace.value + 1.96 * trace.error
            rows.append({**fixed, "probe_seed": seed, "metric": "hessian_trace", "value": trace.value,
                         "ci_low": low, "ci_high": high, "n": trace.n})  # fmt: skip
            subject.on_step(done := done + 1, total)
            smallest, largest = find_extremes(product, size, iterations=probe.iterations, generator=generator)
            for name, value in (("top_eigenvalue", largest), ("smallest_eigenvalue", smallest)):
                rows.append({**fixed, "probe_seed": seed, "metric": name, "value": value})
            subject.on_step(done := done + 1, total)
        gradient = surface.gradient().cpu()
        along = {
            "gradient_norm": float(gradient.norm()),
            "gradient_curvature": directional(product, gradient),
            "critical_sharpness": critical_sharpness(surface, weights, gradient.to(device)),
        }
        if subject.base is not None:
            base = {name: subject.base[name].to(device) for name in weights.parameters}
            update = flatten([weights.kept[name] - base[name] for name in weights.parameters]).cpu()
            with weights.changed(iter(base.items())):
                along["update_curvature"] = directional(product, update)
            along["update_norm"] = float(update.norm())
        subject.on_step(total, total)
    rows += [{**fixed, "metric": name, "value": value} for name, value in along.items()]
    facts = {"texts": len(parts), "tokens": tokens, "loss": surface.value(), "parameters": size}
    return Findings(rows=rows, facts=facts)


def make_parts(model: Any, tokenizer: Any, examples: Sequence[Example]) -> tuple[list[Callable[[], torch.Tensor]], int]:
    """The mean loss over all tokens as a sum of one part per text, and the number of tokens."""
    encoder = make_encoder(model, tokenizer)
    lead, device = separator_id(encoder), input_device(model)
    rows = [[lead, *ids][: encoder.max_length] for ids in encode_texts(encoder, examples) if ids]
    if not rows:
        raise DataError("all texts are empty")
    tokens = sum(len(row) - 1 for row in rows)

    def part(row: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([row], device=device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        loss: torch.Tensor = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum") / tokens
        return loss

    model.eval()
    return [functools.partial(part, row) for row in rows], tokens


def critical_sharpness(surface: LossSurface, weights: Weights, gradient: torch.Tensor) -> float | None:
    """2 / η_c; ``None`` where no step raises the loss, or every step does."""
    start = surface.value()
    names = list(weights.parameters)
    pieces = dict(zip(names, torch.split(gradient, [weights.kept[name].numel() for name in names]), strict=True))

    def rises(eta: float) -> bool:
        moved = ((name, kept - eta * pieces[name].reshape(kept.shape)) for name, kept in weights.kept.items())
        with weights.changed(moved):
            value = surface.value()
        return not value <= start

    squared = float(gradient.square().sum())
    low = high = start / squared if squared else 1.0
    for _ in range(BRACKET):
        if rises(high):
            break
        low, high = high, 2 * high
    else:
        return None
    for _ in range(BRACKET):
        if not rises(low):
            break
        low, high = low / 2, low
    else:
        return None
    while high > 1.1 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rises(middle) else (middle, high)
    return 2 / math.sqrt(low * high)
