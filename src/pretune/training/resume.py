"""Step checkpoints: what an interrupted training needs to go on as if nothing had happened."""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from pretune.training.module import CausalLanguageModeling

log = logging.getLogger(__name__)

FILE_NAME = "step.ckpt"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """State between two optimizer steps."""

    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random: torch.Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)


def save_state(path: Path, state: TrainingState) -> None:
    """Write a step checkpoint beside its place, force it to the disk, then rename it over the previous one."""
    temporary = path.with_suffix(".new")
    with open(temporary, "wb") as file:
        torch.save(vars(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_state(path: Path) -> TrainingState | None:
    """Read a step checkpoint (tensors and plain data only); ``None`` if there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums, but does not look at them
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"wrong checksum of {damaged}")
        return TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 - any damage means: start from the beginning
        log.warning("step checkpoint %s cannot be read (%s); training starts from the beginning", path, error)
        path.unlink(missing_ok=True)
        return None


def capture_state(module: CausalLanguageModeling) -> TrainingState:
    """State of a training between two steps. Its tensors are the module's own, not copies."""
    module.flush_history()
    optimizer: Any = module.optimizers()
    return TrainingState(
        step=module.step,
        model=module.model.state_dict(),
        optimizer=optimizer.optimizer.state_dict(),
        random=torch.get_rng_state(),
        history=module.history,
        validation_losses=module.validation_losses,
    )


class StepCheckpoint(pl.Callback):
    """Saves the training state every ``seconds`` seconds, always between two optimizer steps.

    Never after the last step of an epoch: the validation that follows would be lost on resuming.
    """

    def __init__(self, folder: Path, *, seconds: float, steps_per_epoch: int, name: str = FILE_NAME) -> None:
        self.path = folder / name
        self.seconds = seconds
        self.steps_per_epoch = steps_per_epoch
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Save when the last checkpoint is old enough."""
        due = time.monotonic() - self._last >= self.seconds
        if due and pl_module.step % self.steps_per_epoch:
            self.save(pl_module)

    def save(self, module: CausalLanguageModeling) -> None:
        """Save now."""
        save_state(self.path, capture_state(module))
        self._last = time.monotonic()


class RestoreState(pl.Callback):
    """Puts a loaded state back once Lightning has built the optimizer."""

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Restore optimizer, random generator and history."""
        pl_module.optimizers().optimizer.load_state_dict(self.state.optimizer)
        torch.set_rng_state(self.state.random)
        pl_module.history = list(self.state.history)
        pl_module.validation_losses = list(self.state.validation_losses)


class ReportStep(pl.Callback):
    """Tells ``listener(done, total)`` about every finished optimizer step."""

    def __init__(self, listener: Callable[[int, int], None]) -> None:
        self.listener = listener

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Report."""
        self.listener(pl_module.step, pl_module.total_steps)
