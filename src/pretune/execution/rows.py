"""Columns of the results table that describe weights and training: the same for every row of a cell."""

from __future__ import annotations

from typing import Any

from pretune.checkpoints.resolution import Resolved
from pretune.config.running import TrainConfig
from pretune.config.science import Task


def weight_columns(resolved: Resolved, parameters: int) -> dict[str, Any]:
    """Columns about the base checkpoint."""
    return {
        "family": resolved.checkpoint.family,
        "checkpoint": resolved.label,
        "phase": resolved.phase,
        "step": resolved.step,
        "tokens": resolved.tokens,
        "params": parameters,
        "annealed": resolved.annealed,
        "pretrain_seed": resolved.pretrain_seed,
    }


def training_columns(config: TrainConfig, rows: int) -> dict[str, Any]:
    """Columns about a fine-tuning; ``rows``: the training rows that were really used."""
    return {
        "stage": config.stage.name,
        "train_task": config.task.name,
        "train_format": config.format.name,
        "train_rows": rows,
        "epochs": config.stage.epochs,
        "optimizer": config.optimizer.name,
        "lr": config.optimizer.lr,
        "regularizer": config.regularizer.name,
        "regularizer_strength": config.regularizer.dial,
        "seed": config.seed,
    }


def relation_of(trained: Task, evaluated: Task, split: str, pretraining_text: str | None) -> str | None:
    """How an evaluated task relates to the one trained on; ``None`` if the training task does not name it."""
    if split == "validation":
        return "validation"
    if evaluated.name in (trained.in_domain or (trained.name,)):
        return "in_domain"
    if evaluated.name in trained.out_of_domain:
        return "out_of_domain"
    if evaluated.name in trained.cross_task:
        return "cross_task"
    return "pretraining" if evaluated.name == pretraining_text else None
