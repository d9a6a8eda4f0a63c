"""Weights, gradients and optimizer states cut over the processes of a training.

``trainer.strategy=fsdp``: torch's ``fully_shard`` (FSDP2; Zhao et al., arXiv 2304.11277) keeps a part of every weight
in each process. A block's whole weights exist only while it is computed; its gradients are averaged over the processes
as soon as they are known. ``deepspeed_zero2`` and ``deepspeed_zero3``: see :mod:`pretune.training.zero`.
What is stored or handed on is always whole: step checkpoints, and the model after the training.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pretune.config.running import ZERO_STAGES, Trainer
from pretune.modeling import input_device
from pretune.training.adapters import find_blocks
from pretune.training.distributed import is_first_process, process_part
from pretune.training.module import CausalLanguageModeling
from pretune.training.zero import ZeroEngine, is_cut, put_together


@contextlib.contextmanager
def sharded(module: CausalLanguageModeling, trainer: Trainer) -> Iterator[None]:
    """Train a twin of ``module.model`` with cut states in the body; the model itself gets the whole result.

    The model's own weights are set free meanwhile. After an exception they are there, but worthless.
    """
    model = module.model
    device = input_device(model)
    shared: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for weight in model.parameters():
        shared[id(weight)] = torch.nn.Parameter(weight.data, requires_grad=weight.requires_grad)
    twin = copy.deepcopy(model, shared)
    if trainer.strategy in ZERO_STAGES:
        stage, mixed = ZERO_STAGES[trainer.strategy], trainer.precision == "bf16-mixed"
        module.zero = ZeroEngine(stage=stage, clip_norm=module.stage.clip_norm, mixed=mixed)
    else:
        module.plain_head = cut(twin, device, plain_head=module.plain_head)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.data = parameter.data.new_empty(0)
    module.model, module.sharding = twin, float(process_part()[1])
    learnt: dict[str, torch.Tensor] = {}
    with warnings.catch_warnings():
        # DeepSpeed calls what torch is about to rename
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.")
        try:
            yield
            learnt = dict(twin.named_parameters())
        finally:
            for name, parameter in model.named_parameters():
                if name in learnt:
                    parameter.data = make_whole(learnt[name]).to(device)
                else:
                    parameter.data = torch.empty(shapes[name], dtype=parameter.dtype, device=device)
            if module.zero is not None:
                module.zero.close()
            module.model, module.zero = model, None


def cut(model: Any, device: torch.device, *, plain_head: bool) -> bool:
    """Cut the weights of ``model`` in place; whether its head can still be applied by itself.

    It cannot where it shares its weights with the input embeddings, which are whole in the model's own forward pass
    only.
    """
    mesh = init_device_mesh(device.type, (process_part()[1],))
    for block in find_blocks(model)[1]:
        fully_shard(block, mesh=mesh)
    head = model.get_output_embeddings()
    if plain_head and head.weight is not model.get_input_embeddings().weight:
        fully_shard(head, mesh=mesh)
        fully_shard(model.base_model, mesh=mesh)
        return True
    fully_shard(model, mesh=mesh)
    return False


def make_whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a cut tensor, put together by all processes; any other tensor as it is. Without gradients."""
    if is_cut(tensor):
        return put_together(tensor)
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(value: Any) -> Any:
    """The same nested dictionaries and lists with whole tensors, in the first process's memory; ``None`` elsewhere."""
    if isinstance(value, DTensor) or is_cut(value):
        whole = make_whole(value)
        return whole.cpu() if is_first_process() else None
    if torch.is_tensor(value):
        return value.detach()
    if isinstance(value, dict):
        return {key: gather(held) for key, held in value.items()}
    if isinstance(value, list):
        return [gather(held) for held in value]
    return value


def cut_like(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's ``state_dict`` with the moments of cut weights cut like these."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in parameters):
        return state  # its form is the optimizer's own business
    moments = {}
    for number, held in state["state"].items():
        parameter = parameters[int(number)]
        moments[number] = {
            name: distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
            if isinstance(parameter, DTensor) and torch.is_tensor(value) and value.shape == parameter.shape
            else value
            for name, value in held.items()
        }
    return {**state, "state": moments}
