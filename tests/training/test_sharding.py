"""Two processes that each hold a part of the states train to what one process trains to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from support.models import make_model
from support.training import Interrupted, make_config, train

STEP = {"optimizer__name": "sgd", "optimizer__lr": 1e6, "stage__clip_norm": 0.5, "stage__epochs": 1}
STEP |= {"stage__schedule": "constant", "stage__warmup_ratio": 0.0}
CASES = {
    "a step of unequal parts": {**STEP, "trainer__micro_batch": 1},
    "tied embeddings": {**STEP, "trainer__micro_batch": 2},
    "frozen blocks": {**STEP, "regularizer__name": "freeze", "regularizer__blocks": 1},
    "two epochs": {"stage__epochs": 2},
    "activations recomputed, no clipping": {**STEP, "trainer__activation_checkpointing": True, "stage__clip_norm": 0.0},
    "autocast": {**STEP, "optimizer__lr": 0.1, "trainer__precision": "bf16-mixed"},
}
STRATEGIES = ("fsdp", "deepspeed_zero2", "deepspeed_zero3")
ROWS = 7
"""Of a step of eight: one process has a micro-batch more to learn from than the other."""


def make(case: str) -> Any:
    return make_model("llama" if case == "tied embeddings" else "olmo", context=128)


def train_all(rank: int, world: int, folder: str, strategy: str, device: str = "cpu") -> None:
    """Every case in process ``rank`` of ``world``; the first one saves what came out, of all in the end."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"WORLD_SIZE": str(world), "GLOO_SOCKET_IFNAME": "lo"}
    if strategy != "single":
        backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
        if device == "cuda":
            torch.cuda.set_device(rank)
        dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.set_num_threads(1)
    how = {"trainer__strategy": strategy, "trainer__precision": "32-true"}
    how["trainer__accelerator"] = "cpu" if device == "cpu" else "gpu"
    results = {}
    for case, changes in CASES.items():
        model, outcome = train(
            make_config(**{**how, **changes}), Path(folder, case), rows=ROWS, model=make(case).to(device)
        )
        results[case] = {
            "weights": {name: weight.cpu() for name, weight in model.state_dict().items()},
            "history": outcome.history,
            "validation": outcome.validation_losses,
        }
    if strategy != "single":
        config = make_config(**how, trainer__save_seconds=1e-9, stage__epochs=2)
        with pytest.raises(Interrupted):
            train(config, Path(folder, "broken"), rows=20, model=make_model(context=128).to(device), stop_at=4)
        if rank == 0:
            shutil.copytree(Path(folder, "broken"), Path(folder, "handed on"))
        dist.barrier()
        model, outcome = train(config, Path(folder, "broken"), rows=20, model=make_model(context=128).to(device))
        whole, _ = train(config, Path(folder, "whole"), rows=20, model=make_model(context=128).to(device))
        results["resumed"] = {"at": outcome.resumed_at, "equal": same_weights(model, whole)}
        results["whole"] = {name: weight.cpu() for name, weight in whole.state_dict().items()}
        dist.destroy_process_group()
    if rank == 0:
        torch.save(results, Path(folder, "results.pt"))


def same_weights(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return all(torch.equal(weight, expected) for weight, expected in pairs)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("one")
    mp.start_processes(train_all, args=(1, str(folder), "single"), nprocs=1, start_method="fork")
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.fixture(scope="module", params=STRATEGIES)
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    if request.param != "fsdp":
        pytest.importorskip("deepspeed")
    folder = tmp_path_factory.mktemp("two")
    mp.start_processes(train_all, args=(2, str(folder), request.param), nprocs=2, start_method="fork")
    return torch.load(folder / "results.pt", weights_only=True), folder


def assert_same_training(
    case: str, found: dict[str, Any], expected: dict[str, Any], *, tolerance: float, rel: float = 1e-5
) -> None:
    before = make(case).state_dict()
    for name, start in before.items():
        change, known = (start.double() - result["weights"][name].double() for result in (found, expected))
        assert (change - known).norm() <= tolerance * known.norm() + 1e-12, (case, name)
    assert len(found["history"]) == len(expected["history"])
    for ours, theirs in zip(found["history"], expected["history"], strict=True):
        for key in ("loss", "gradient_norm", "tokens"):
            assert ours[key] == pytest.approx(theirs[key], rel=rel)
    assert found["validation"] == pytest.approx(expected["validation"], rel=rel)


@pytest.mark.parametrize("case", CASES)
def test_cut_weights_learn_what_whole_weights_learn(
    case: str, one: dict[str, Any], two: tuple[dict[str, Any], Path]
) -> None:
    # AdamW divides by the size of small gradients: rounding counts for more there than in plain steps
    tolerance, rel = {"two epochs": (1e-3, 1e-5), "autocast": (1e-2, 1e-3)}.get(case, (1e-6, 1e-5))
    assert_same_training(case, two[0][case], one[case], tolerance=tolerance, rel=rel)


def test_a_broken_off_training_goes_on_and_its_checkpoint_is_whole(two: tuple[dict[str, Any], Path]) -> None:
    results, folder = two
    assert results["resumed"] == {"at": 4, "equal": True}
    state = torch.load(folder / "broken" / "step.ckpt", weights_only=True)
    shapes = {name: weight.shape for name, weight in make_model(context=128).state_dict().items()}
    assert {name: weight.shape for name, weight in state["model"].items()} == shapes
    moments = [held["exp_avg"].shape for held in state["optimizer"]["state"].values()]
    assert sorted(moments) == sorted(weight.shape for weight in make_model(context=128).parameters())


def test_one_process_goes_on_where_two_broke_off(two: tuple[dict[str, Any], Path]) -> None:
    results, folder = two
    config = make_config(trainer__precision="32-true", stage__epochs=2)
    model, outcome = train(config, folder / "handed on", rows=20, model=make_model(context=128))
    assert outcome.resumed_at == 4
    for name, start in make_model(context=128).state_dict().items():
        found, expected = (weights[name] - start for weights in (model.state_dict(), results["whole"]))
        assert (found - expected).norm() <= 1e-3 * expected.norm() + 1e-12, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cut_weights_on_gpus(strategy: str, one: dict[str, Any], tmp_path: Path) -> None:
    if strategy != "fsdp":
        pytest.importorskip("deepspeed")
    count = min(torch.cuda.device_count(), 2)
    mp.start_processes(train_all, args=(count, str(tmp_path), strategy, "cuda"), nprocs=count, start_method="spawn")
    found = torch.load(tmp_path / "results.pt", weights_only=True)
    for case in CASES:
        assert_same_training(case, found[case], one[case], tolerance=1e-2)
    assert found["resumed"]["at"] == 4
