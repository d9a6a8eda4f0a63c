"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from pretune.config.science import Optimizer


def build_optimizer(config: Optimizer, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer over those ``parameters`` that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(trained, lr=config.lr, weight_decay=config.weight_decay, fused=config.fused)
    first, second = config.betas
    return torch.optim.AdamW(
        trained,
        lr=config.lr,
        betas=(first, second),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=config.fused,
    )
