"""How Lightning places a training on devices: one process, or one of several that were started together."""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from pretune.config.running import SHARDED, Trainer


class SummedGradients(DDPStrategy):
    """Lightning's DDP without torch's wrapper around the module.

    The module sums gradients once per optimizer step, after accumulation
    (:func:`pretune.training.distributed.sum_gradients`): the wrapper would average them in every backward pass, and
    wait for ever for a process that has no rows in a step.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def placement(trainer: Trainer) -> dict[str, Any]:
    """Arguments of Lightning's ``Trainer`` that say which devices and processes take part.

    With a strategy, the processes are there already, and joined (see :mod:`pretune.execution.crew`): Lightning must
    neither start any nor ask a cluster for them.
    """
    if trainer.strategy == "single":
        return {"devices": 1, "inference_mode": True}
    assert dist.is_initialized()
    if trainer.strategy in SHARDED:
        strategy: Strategy = ModelParallelStrategy(data_parallel_size=dist.get_world_size(), tensor_parallel_size=1)
    else:
        strategy = SummedGradients()
    elastic = TorchElasticEnvironment.detect()
    environment: ClusterEnvironment = TorchElasticEnvironment() if elastic else LightningEnvironment()
    return {
        "devices": local_processes(),
        "num_nodes": trainer.num_nodes,
        "strategy": strategy,
        "plugins": [environment],
        "inference_mode": trainer.strategy not in SHARDED,  # its tensors cannot be weights in the next training step
    }


def leave_signals_alone(engine: Any) -> None:
    """Keep a Lightning ``Trainer`` of several processes from handling SIGTERM.

    Its handler broadcasts in between whatever the processes are exchanging at the time, after which they wait for each
    other for ever; and it has them wait for their devices in every step to hear of it. Step checkpoints agree on when
    to stop (:func:`pretune.training.distributed.follow_first`).
    """
    engine._signal_connector.register_signal_handlers = lambda: None
    engine.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None


def local_processes() -> int:
    """Processes on this machine that compute the same cell."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
