"""Optimizers by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch.distributed.tensor import DTensor

from pretune.config.science import Optimizer


def build_optimizer(config: Optimizer, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer over those ``parameters`` that are trained.

    The 8-bit ones keep their moments in blocks of 8-bit numbers (Dettmers et al., arXiv 2110.02861) and leave tensors
    below 4,096 elements in 32 bits; the paged one moves them to the host when a GPU is full.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if config.name == "sgd":
        fused = config.fused and not any(isinstance(weight, DTensor) for weight in trained)  # torch has none for them
        return torch.optim.SGD(trained, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    first, second = config.betas
    if config.name == "adamw":
        return torch.optim.AdamW(
            trained,
            lr=config.lr,
            betas=(first, second),
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=config.fused,
        )
    return _build_8bit(config, trained, (first, second))


def _build_8bit(
    config: Optimizer, trained: list[torch.nn.Parameter], betas: tuple[float, float]
) -> torch.optim.Optimizer:
    import bitsandbytes.optim as bnb

    warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")
    common = {"lr": config.lr, "betas": betas, "weight_decay": config.weight_decay}
    if config.name == "lion8bit":
        optimizer: torch.optim.Optimizer = bnb.Lion8bit(trained, **common)
    elif config.name == "paged_adamw8bit":
        optimizer = bnb.PagedAdamW8bit(trained, eps=config.eps, **common)
    else:
        optimizer = bnb.AdamW8bit(trained, eps=config.eps, **common)
    return optimizer
