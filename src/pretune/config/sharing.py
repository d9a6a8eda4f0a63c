"""Checks of what several processes in one cell ask for (``trainer.strategy``)."""

from __future__ import annotations

from collections.abc import Iterable

from pretune.config.probing import ProbeConfig
from pretune.config.running import SHARDED, EvaluateConfig, TrainConfig
from pretune.errors import Problem

ALONE = "give trainer=default, or trainer.strategy=single"


def check_strategy(config: TrainConfig | EvaluateConfig | ProbeConfig) -> Iterable[Problem]:
    """What is impossible with the processes asked for, as far as the configuration alone can tell."""
    trainer = config.trainer
    if trainer.strategy == "single":
        for key, value in (("trainer.devices", trainer.devices or 1), ("trainer.num_nodes", trainer.num_nodes)):
            if value > 1:
                yield Problem(key=key, value=value, message="needs more than one process: give trainer=ddp")
        return
    if isinstance(config, ProbeConfig):
        yield Problem(key="trainer.strategy", value=trainer.strategy, message=f"probes run in one process: {ALONE}")
    if trainer.accelerator == "cpu" and trainer.devices is None:
        yield Problem(key="trainer.devices", value=None, message="on a CPU it must be given: the number of processes")
    if not isinstance(config, TrainConfig):
        return
    if config.stage.name == "pretrain":
        yield Problem(
            key="trainer.strategy", value=trainer.strategy, message=f"stage=pretrain runs in one process: {ALONE}"
        )
        return
    if trainer.strategy in SHARDED:
        yield from check_sharded(config)
    if trainer.devices is not None and trainer.devices > 0:
        processes = trainer.devices * trainer.num_nodes
        if fault := uneven_steps(processes, config.stage.batch_size):
            yield Problem(key="trainer.devices", value=trainer.devices, message=fault)


def check_sharded(config: TrainConfig) -> Iterable[Problem]:
    """What cannot be done with weights of which each process holds a part."""
    strategy = config.trainer.strategy
    for key, value, valid in (
        ("optimizer", config.optimizer.name, ("adamw", "sgd")),
        ("regularizer", config.regularizer.name, ("none", "freeze", "replay")),
        ("trainer.precision", config.trainer.precision, ("bf16-mixed", "32-true")),
        ("trainer.compile", config.trainer.compile, (False,)),
    ):
        if value not in valid:
            listed = ", ".join(str(each).lower() for each in valid)
            yield Problem(key=key, value=value, message=f"does not work with trainer={strategy}; valid: {listed}")


def uneven_steps(processes: int, batch_size: int) -> str | None:
    """Why the rows of an optimizer step cannot be divided over so many processes; ``None`` if they can."""
    if batch_size % processes == 0:
        return None
    return f"{processes} processes do not divide the {batch_size} rows of an optimizer step (stage.batch_size)"
