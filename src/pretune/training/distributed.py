"""Several processes on one training: each computes its part of every optimizer step.

Gradients are summed once per step, after accumulation. The loss is already divided by the supervised tokens of all
processes, so that the sum is the gradient of one process with all rows; averages of processes' means would not be.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist


def process_part() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) where there is but one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def is_first_process() -> bool:
    """Whether this process is the one that logs and saves."""
    return process_part()[0] == 0


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The elementwise sum of all processes' ``values``."""
    if process_part()[1] > 1:
        values = values.contiguous()
        dist.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Sum the gradients of all processes; one without rows in this step takes part with zeros."""
    if process_part()[1] == 1:
        return
    waiting = []
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            waiting.append(dist.all_reduce(parameter.grad, async_op=True))
    for work in waiting:
        work.wait()
