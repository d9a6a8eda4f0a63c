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
from pretune.training.module import CausalLanguageModeling

SMALL_MODEL = 5_000_000
"""Below so many parameters one thread is as fast as several, and far faster beside another busy process."""


def choose_threads(trainer: Trainer, parameters: int) -> int:
    """Threads for torch: as configured, else one for small models, else the cores this process may use."""
    if trainer.threads is not None:
        return trainer.threads
    return 1 if parameters < SMALL_MODEL else len(os.sched_getaffinity(0))


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
    """Train ``module`` over ``steps`` (one iteration per epoch), validating after each epoch."""
    with quiet_lightning():
        engine = pl.Trainer(
            accelerator=trainer.accelerator,
            devices=1,
            precision=precision,
            max_epochs=epochs,
            logger=list(loggers) or False,
            callbacks=list(callbacks),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if validation else 0,
            use_distributed_sampler=False,
            inference_mode=True,
        )
        with interrupting(engine):
            batches = FixedBatches(validation) if validation else None
            engine.fit(module, train_dataloaders=steps, val_dataloaders=batches)


@contextlib.contextmanager
def interrupting(engine: Any) -> Iterator[None]:
    """Turn the exit that Lightning makes of Ctrl-C back into :class:`KeyboardInterrupt`, and heed signals again."""
    handler = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    try:
        yield
    except SystemExit:
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
