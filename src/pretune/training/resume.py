"""Step checkpoints: what an interrupted training needs to go on as if nothing had happened."""

from __future__ import annotations

import logging
import os
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from pretune.results.store import flush_folder
from pretune.training.distributed import follow_first, is_first_process
from pretune.training.module import CausalLanguageModeling
from pretune.training.sharding import cut_like, gather
from pretune.training.stopping import StopRequest

log = logging.getLogger(__name__)

FILE_NAME = "step.ckpt"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """State between two optimizer steps."""

    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random: torch.Tensor
    device_random: torch.Tensor | None = None
    micro_batch: int | None = None
    packed: bool | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)


def save_state(path: Path, state: TrainingState) -> None:
    """Write a step checkpoint beside its place, force it to the disk, then rename it over the previous one."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")  # an owner that was taken over may write, too
    with open(temporary, "wb") as file:
        torch.save(vars(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    flush_folder(path.parent)


def make_room(path: Path, *, needed: int, limit: float | None) -> bool:
    """Delete the oldest step checkpoints of other cells until ``needed`` bytes fit into ``limit`` gigabytes.

    ``path`` is ``<work folder>/<cell>/step.ckpt``; while it is replaced, the old and the new one exist. Returns
    whether they fit: a cell whose checkpoint was deleted starts from the beginning.
    """
    if limit is None:
        return True
    room = limit * 1e9 - 2 * needed
    others = [other for other in path.parent.parent.glob(f"*/{FILE_NAME}") if other != path]
    sizes = {other: other.stat().st_size for other in sorted(others, key=lambda item: item.stat().st_mtime)}
    for other in list(sizes):
        if sum(sizes.values()) <= room:
            break
        log.warning("step checkpoint %s deleted: trainer.save_gigabytes=%g", other, limit)
        other.unlink(missing_ok=True)
        del sizes[other]
    return sum(sizes.values()) <= room


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a training changes of a model: all of it, or only the trained weights where others are frozen."""
    trained: dict[str, torch.Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if len(trained) == sum(1 for _ in model.parameters()):
        return model.state_dict(keep_vars=True)
    return trained


def load_state(path: Path) -> TrainingState | None:
    """Read a step checkpoint (tensors and plain data only); ``None`` if there is none or it is damaged."""
    for unfinished in path.parent.glob(f"{path.name}.*.new"):
        unfinished.unlink(missing_ok=True)  # its writer was killed
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


def capture_state(
    module: CausalLanguageModeling, *, micro_batch: int | None = None, packed: bool | None = None
) -> TrainingState:
    """State of a training between two steps. Its tensors are the module's own, not copies.

    Those of cut weights are put together, by all processes; only the first one gets them.
    """
    module.flush_history()
    optimizer: Any = module.optimizers()
    return TrainingState(
        step=module.step,
        model=gather(trained_weights(module.model)),
        optimizer=gather(optimizer.optimizer.state_dict()),
        random=torch.get_rng_state(),
        device_random=torch.cuda.get_rng_state(module.device) if module.device.type == "cuda" else None,
        micro_batch=micro_batch,
        packed=packed,
        history=module.history,
        validation_losses=module.validation_losses,
    )


class StepCheckpoint(pl.Callback):
    """Saves the training state every ``seconds`` seconds, always between two optimizer steps.

    After the last step of an epoch it waits for the validation, which would be lost on resuming; after the very last
    one it saves only if ``at_the_end`` says that a finished training can be taken up again. When ``stop`` is made (by
    SIGTERM) it saves at once and obeys. ``gigabytes`` bounds all step checkpoints of the study; one that does not fit
    is not written. ``micro_batch`` and ``packed`` are kept so that a resumption repeats the arithmetic.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float,
        steps_per_epoch: int,
        name: str = FILE_NAME,
        at_the_end: bool = False,
        gigabytes: float | None = None,
        micro_batch: int | None = None,
        packed: bool | None = None,
    ) -> None:
        self.path = folder / name
        self.seconds = seconds
        self.steps_per_epoch = steps_per_epoch
        self.at_the_end = at_the_end
        self.stop = StopRequest()
        self.gigabytes = gigabytes
        self.micro_batch = micro_batch
        self.packed = packed
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Save when the last checkpoint is old enough."""
        if pl_module.step % self.steps_per_epoch:
            self._save_when_due(pl_module)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Save after an epoch when the last checkpoint is old enough."""
        if self.at_the_end or pl_module.step < pl_module.total_steps:
            self._save_when_due(pl_module)

    def _save_when_due(self, module: CausalLanguageModeling) -> None:
        old = time.monotonic() - self._last >= self.seconds
        old, self.stop.made = follow_first(old, self.stop.made)  # all processes take part in saving, or none
        if self.stop.made or old:
            self.save(module)
            self.stop.obey()

    def save(self, module: CausalLanguageModeling) -> None:
        """Save now."""
        self._last = time.monotonic()
        state = capture_state(module, micro_batch=module.row_limit or self.micro_batch, packed=self.packed)
        if not is_first_process():
            return
        needed = sum(tensor.numel() * tensor.element_size() for tensor in state.model.values()) * 3  # and two moments
        if make_room(self.path, needed=needed, limit=self.gigabytes):
            save_state(self.path, state)


class RestoreState(pl.Callback):
    """Puts a loaded state back once Lightning has built the optimizer."""

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Restore optimizer, random generator and history."""
        optimizer = pl_module.optimizers().optimizer
        optimizer.load_state_dict(cut_like(self.state.optimizer, optimizer))
        torch.set_rng_state(self.state.random)
        if self.state.device_random is not None and pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(self.state.device_random, pl_module.device)
        pl_module.history = list(self.state.history)
        pl_module.validation_losses = list(self.state.validation_losses)


class ReportStep(pl.Callback):
    """Tells ``listener(done, total)`` about every finished optimizer step."""

    def __init__(self, listener: Callable[[int, int], None]) -> None:
        self.listener = listener

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Report."""
        self.listener(pl_module.step, pl_module.total_steps)
