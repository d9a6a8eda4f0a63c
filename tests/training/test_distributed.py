"""Two processes on one training give what one process gives."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pretune.errors import DataError
from pretune.training.distributed import divide, follow_first, smallest
from support.models import make_model
from support.training import make_config, train

STEP = {"optimizer__name": "sgd", "optimizer__lr": 1e6, "stage__clip_norm": 0.0, "stage__epochs": 1}
STEP |= {"stage__schedule": "constant", "stage__warmup_ratio": 0.0}
ROWS = 7
"""Of one step of eight: the processes get unequal numbers, and unequal numbers of supervised tokens."""


def take_step(rank: int, world: int, folder: str) -> None:
    """One long plain step, and one epoch, in process ``rank`` of ``world``; the first one saves what came out."""
    if world > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.set_num_threads(1)
    model, outcome = train(make_config(**STEP), Path(folder, f"work{rank}"), rows=ROWS, model=make_model(context=128))
    _, epoch = train(
        make_config(stage__epochs=1), Path(folder, f"epoch{rank}"), rows=ROWS, model=make_model(context=128)
    )
    if rank == 0:
        result = {"weights": model.state_dict(), "history": outcome.history, "validation": epoch.validation_losses}
        torch.save(result, Path(folder, f"result{world}.pt"))
    if world > 1:
        dist.destroy_process_group()


def test_two_processes_have_the_gradient_loss_and_validation_of_one(tmp_path: Path) -> None:
    take_step(0, 1, str(tmp_path))
    mp.start_processes(take_step, args=(2, str(tmp_path)), nprocs=2, start_method="fork")
    one, two = (torch.load(tmp_path / f"result{world}.pt", weights_only=True) for world in (1, 2))
    before = make_model(context=128).state_dict()
    for name, start in before.items():
        expected, found = (
            (start.double() - result["weights"][name].double()) / STEP["optimizer__lr"] for result in (one, two)
        )
        assert (found - expected).norm() <= 1e-6 * expected.norm() + 1e-12, name
    assert two["history"][0]["loss"] == pytest.approx(one["history"][0]["loss"], rel=1e-6)
    assert two["history"][0]["gradient_norm"] == pytest.approx(one["history"][0]["gradient_norm"], rel=1e-6)
    assert two["history"][0]["tokens"] == one["history"][0]["tokens"]
    assert two["history"][0]["computed"] == one["history"][0]["computed"]
    assert two["validation"] == pytest.approx(one["validation"], rel=1e-5)


def act_together(rank: int, world: int, folder: str) -> None:
    """What two processes decide and divide, in process ``rank``; each saves what it found."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)

    def compute(part: Sequence[int]) -> list[tuple[int, int]]:
        if -1 in part:
            raise DataError(f"found in process {rank}")
        return [(item, rank) for item in part]

    found = {size: divide(range(size), compute) for size in (0, 1, 5)}
    try:
        divide([0, -1, 2], compute)
    except DataError as error:
        found["error"] = str(error)
    found["flags"] = follow_first(rank == 0, rank == 1)
    found["smallest"] = smallest(8 - rank)
    Path(folder, f"found{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_processes_divide_work_and_agree(tmp_path: Path) -> None:
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
    mp.start_processes(act_together, args=(2, str(tmp_path)), nprocs=2, start_method="fork")
    first, second = (json.loads((tmp_path / f"found{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["5"] == [[0, 0], [1, 1], [2, 0], [3, 1], [4, 0]]
    assert (first["0"], first["1"]) == ([], [[0, 0]])
    assert first["error"] == "found in process 1"
    assert (first["flags"], first["smallest"]) == ([True, False], 7)


def test_one_process_does_all_and_decides_alone() -> None:
    assert divide([3, 1], lambda part: [item * 2 for item in part]) == [6, 2]
    assert (follow_first(True, False), smallest(4)) == ((True, False), 4)
