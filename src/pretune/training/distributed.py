"""Several processes on one cell: each computes its part of every optimizer step, and of the rows that are evaluated.

Gradients are summed once per step, after accumulation. The loss is already divided by the supervised tokens of all
processes, so that the sum is the gradient of one process with all rows; averages of processes' means would not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from pretune.errors import PretuneError

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def follow_first(*flags: bool) -> tuple[bool, ...]:
    """The first process's ``flags``: for decisions that depend on clocks and signals. Costs no wait for a device."""
    if process_part()[1] == 1:
        return flags
    values = torch.tensor(flags, dtype=torch.uint8)
    dist.broadcast(values, src=0)
    return tuple(bool(value) for value in values.tolist())


def smallest(value: int) -> int:
    """The smallest of all processes' values."""
    if process_part()[1] > 1:
        held = torch.tensor(value)
        dist.all_reduce(held, op=dist.ReduceOp.MIN)
        return int(held)
    return value


def divide(items: Sequence[Item], compute: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """What ``compute`` makes of ``items``, one result for each, in their order; every process computes its part.

    Process ``r`` of ``w`` takes every ``w``-th item. All processes return all results. An error that is raised on
    purpose in one is raised in all of them, so that they stay together.
    """
    rank, world = process_part()
    if world == 1:
        return list(compute(items))
    own = items[rank::world]
    mine: tuple[list[Result], PretuneError | None]
    try:
        mine = (list(compute(own)) if own else [], None)
    except PretuneError as error:
        mine = ([], error)
    gathered: list[Any] = [None] * world
    dist.all_gather_object(gathered, mine)
    results: list[Any] = [None] * len(items)
    for other, (part, problem) in enumerate(gathered):
        if problem is not None:
            raise problem
        results[other::world] = part
    return results
