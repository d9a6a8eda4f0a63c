"""Running a Lightning trainer quietly, on the right device, with the right number of threads."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch

from pretune.config.running import Trainer
from pretune.training.adapters import find_blocks
from pretune.training.module import CausalLanguageModeling
from pretune.training.resume import StepCheckpoint
from pretune.training.stopping import StopRequest, heeding_termination
from pretune.training.strategies import leave_signals_alone, local_processes, placement

SMALL_MODEL = 5_000_000
"""Below so many parameters one thread is as fast as several, and far faster beside another busy process."""


def choose_threads(trainer: Trainer, parameters: int) -> int:
    """Threads for torch: as configured, else one for small models, else this process's share of the usable cores.

    ``OMP_NUM_THREADS``, which launchers set to a worker's share of the machine, is respected.
    """
    if trainer.threads is not None:
        return trainer.threads
    if parameters < SMALL_MODEL:
        return 1
    cores, share = max(1, len(os.sched_getaffinity(0)) // local_processes()), os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(share)) if share.isdecimal() and int(share) > 0 else cores


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run the body with ``count`` torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(accelerator: str) -> torch.device:
    """Device for evaluation by the trainer's ``accelerator`` key."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def fit(
    module: CausalLanguageModeling,
    steps: Iterable[Any],
    *,
    trainer: Trainer,
    precision: str,
    epochs: int,
    validation: Sequence[Any] = (),
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Any] = (),
) -> None:
    """Train ``module`` over ``steps`` (one iteration per epoch), validating after each epoch.

    ``precision`` ``bf16-true`` expects weights that are bf16 already (see :func:`weights_in_bf16`). A SIGTERM is obeyed
    by a :class:`~pretune.training.resume.StepCheckpoint` among the callbacks once it has saved, else at the end.
    """
    stop = next((callback.stop for callback in callbacks if isinstance(callback, StepCheckpoint)), StopRequest())
    with quiet_lightning(), heeding_termination(stop):
        engine = pl.Trainer(
            accelerator=trainer.accelerator,
            **placement(trainer),
            precision="32-true" if precision == "bf16-true" else precision,
            max_epochs=epochs,
            logger=list(loggers) or False,
            callbacks=list(callbacks),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if validation else 0,
            use_distributed_sampler=False,
        )
        if trainer.strategy != "single":
            leave_signals_alone(engine)
        with interrupting(engine, stop):
            batches = FixedBatches(validation) if validation else None
            engine.fit(module, train_dataloaders=steps, val_dataloaders=batches)


@contextlib.contextmanager
def weights_in_bf16(model: torch.nn.Module, precision: str) -> Iterator[None]:
    """Keep the trained weights in bf16 in the body where ``precision`` is ``bf16-true``; in fp32 again afterwards.

    Only the weights: buffers such as the frequencies of rotary embeddings stay exact.
    """
    if precision != "bf16-true":
        yield
        return
    wide = [parameter for parameter in model.parameters() if parameter.dtype == torch.float32]
    for parameter in wide:
        parameter.data = parameter.data.bfloat16()
    try:
        yield
    finally:
        for parameter in wide:
            parameter.data, parameter.grad = parameter.data.float(), None


def computing_in(precision: str, module: torch.nn.Module) -> contextlib.AbstractContextManager[Any]:
    """The autocast context in which Lightning runs a training of this ``precision``."""
    device = next(module.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")


@contextlib.contextmanager
def recomputing_activations(model: Any, trainer: Trainer) -> Iterator[None]:
    """Recompute the activations of each block in the backward pass, in the body, if ``trainer`` asks for it."""
    if trainer.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        if trainer.activation_checkpointing:
            model.gradient_checkpointing_disable()


@contextlib.contextmanager
def compiled_blocks(model: Any, trainer: Trainer) -> Iterator[None]:
    """Run compiled blocks in the body if ``trainer`` asks for it.

    Each block is compiled by itself, with sizes left open: one compilation serves all blocks, lengths and later cells.
    """
    blocks = find_blocks(model)[1] if trainer.compile else ()
    for block in blocks:
        block.compile(dynamic=True)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # torch has no public way back


@contextlib.contextmanager
def interrupting(engine: Any, stop: StopRequest) -> Iterator[None]:
    """Turn the exits that Lightning makes of signals back into what they are, and heed signals again."""
    handler = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    except SystemExit:
        stop.obey()
        if engine.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


class FixedBatches:
    """An iterable over ready-made batches that Lightning takes for one data loader, not for many."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's greetings and advice about data loaders; its errors still come through."""
    names = (
        "lightning.pytorch",
        "lightning.fabric",
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*(num_workers|DataLoader|dataloader|isinstance\(treespec).*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
