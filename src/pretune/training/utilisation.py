"""How well a training used the machine: throughput, padding, and the share of an accelerator's peak."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from pretune.modeling import text_config
from pretune.planning.accelerators import find_peak


def peak_flops(device: torch.device, *, devices: int = 1) -> float | None:
    """Peak of so many of a known accelerator in bf16; ``None`` for any other device."""
    if device.type != "cuda":
        return None
    peak = find_peak(torch.cuda.get_device_name(device))
    return None if peak is None else peak * devices


def flops_per_token(model: Any, *, length: float, supervised: float) -> float:
    """Floating-point operations that learning needs per token, forward and backward, by the usual count.

    6 per weight of the blocks, 6 per weight of the head at the ``supervised`` share of positions only (the embedding is
    a look-up), and 6 · layers · width · ``length`` for causal attention (PaLM, arXiv 2204.02311, appendix B, halved).
    Recomputation and padding are no useful work and are not counted.
    """
    head = model.get_output_embeddings().weight.numel()
    embedding = model.get_input_embeddings().weight
    tied = embedding is model.get_output_embeddings().weight
    blocks = sum(parameter.numel() for parameter in model.parameters()) - head - (0 if tied else embedding.numel())
    config = text_config(model)
    attention: float = 6.0 * config.num_hidden_layers * config.hidden_size * length
    weights: float = blocks + head * supervised
    return 6.0 * weights + attention


def median_rate(history: Sequence[dict[str, float]], name: str) -> float:
    """Median over the steps of what is counted under ``name``, per second; start-up and validation are left out."""
    rates = [record[name] / max(record["seconds"], 1e-9) for record in history if name in record]
    return statistics.median(rates) if rates else 0.0


def padding_share(history: Sequence[dict[str, float]]) -> float:
    """Share of the computed positions that were padding."""
    computed = sum(record.get("computed", record["tokens"]) for record in history)
    return 1.0 - sum(record["tokens"] for record in history) / computed if computed else 0.0
