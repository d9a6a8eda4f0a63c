"""``trainer.strategy=deepspeed_zero2|deepspeed_zero3``: states cut by DeepSpeed's engine.

ZeRO (Rajbhandari et al., arXiv 1910.02054): stage 2 divides gradients and optimizer states over the processes, stage 3
the weights too. Lightning's own DeepSpeed strategy would take GPUs only, and train bf16 copies of the weights; here
the engine computes under the same autocast as every other strategy, so that the results are those of one process.
DeepSpeed's collective operations average gradients, as torch's FSDP does.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from pretune.config.running import ZERO_BUCKET
from pretune.training.distributed import is_first_process, process_part


class Measured(torch.nn.Module):
    """What the engine runs: a model and what is measured of it, under autocast where ``mixed``."""

    def __init__(self, model: Any, *, device: torch.device, mixed: bool) -> None:
        super().__init__()
        self.model, self.device, self.mixed = model, device, mixed

    def forward(self, measure: Callable[..., Any], batch: Any, plain_head: bool) -> Any:
        """``measure(model, batch, plain_head=…)``."""
        # as Lightning has it: without autocast's cache, which would keep a bf16 copy of all weights
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed, cache_enabled=False):
            return measure(self.model, batch, plain_head=plain_head)


class ZeroEngine:
    """DeepSpeed's engine in the place of backward pass, clipping and update; one for each training."""

    def __init__(self, *, stage: int, clip_norm: float, mixed: bool) -> None:
        self.stage, self.clip_norm, self.mixed = stage, clip_norm, mixed
        self._engine: Any = None

    def start(self, model: Any, optimizer: torch.optim.Optimizer, device: torch.device) -> ZeroUpdates:
        """Cut the states of a training of ``model``, in place; return what stands for its ``optimizer``."""
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        bucket = min(ZERO_BUCKET, max(sum(weight.numel() for weight in weights), 1))
        config = {
            "train_micro_batch_size_per_gpu": 1,  # it is told of every pass itself
            "gradient_accumulation_steps": 1,
            "gradient_clipping": self.clip_norm,
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**12,
            "zero_optimization": {
                "stage": self.stage,
                "reduce_bucket_size": bucket,
                "allgather_bucket_size": bucket,
            },
        }
        deepspeed = import_deepspeed(device)
        with silently():
            self._engine, *_ = deepspeed.initialize(
                model=Measured(model, device=device, mixed=self.mixed),
                optimizer=optimizer,
                model_parameters=weights,
                config=config,
                dist_init_required=False,
            )
        return ZeroUpdates(self._engine, weights, lr=optimizer.param_groups[0]["lr"])

    def measure(self, function: Callable[..., Any], batch: Any, *, plain_head: bool) -> Any:
        """``function(model, batch, plain_head=…)`` with whole weights, block by block; all processes take part."""
        return self._engine(function, batch, plain_head)

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add the gradients of a measured ``loss``; ``last``: of the optimizer step."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def gradient_norm(self) -> torch.Tensor:
        """Norm of the last step's whole gradient before it was clipped."""
        return torch.as_tensor(self._engine.get_global_grad_norm())

    def close(self) -> None:
        """Take the engine's hooks off; the weights stay cut."""
        if self._engine is not None:
            self._engine.destroy()
            self._engine = None


class ZeroUpdates(torch.optim.Optimizer):
    """The engine's optimizer, as the training loop and step checkpoints know optimizers.

    Its state is that of the optimizer over whole weights: what any strategy has saved, any other can take up.
    """

    def __init__(self, engine: Any, weights: list[torch.nn.Parameter], *, lr: float) -> None:
        super().__init__(weights, {"lr": lr})
        self.engine = engine
        self.weights = weights

    @property
    def inner(self) -> Any:
        """The optimizer over this process's part."""
        return self.engine.optimizer.optimizer

    def step(self, closure: Any = None) -> Any:
        """Clip and update, with the learning rate of this optimizer's group."""
        value = closure() if closure is not None else None
        for group in self.inner.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self.engine.step()
        return value

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The engine forgets gradients with every step."""

    def state_dict(self) -> dict[str, Any]:
        """State of the optimizer over whole weights, in the first process's memory; made by all of them."""
        from deepspeed.utils import safe_get_full_optimizer_state

        held: dict[str, Any] = next((state for state in self.inner.state.values() if state), {})
        moments = [name for name, value in held.items() if torch.is_tensor(value) and value.dim()]
        others = {name: value for name, value in held.items() if name not in moments}
        states: dict[int, dict[str, Any]] = {}
        for number, weight in enumerate(self.weights):
            whole = {}
            for name in moments:
                value = safe_get_full_optimizer_state(weight, name)  # one at a time: they need not fit together
                whole[name] = value.detach().cpu() if is_first_process() else None
            if held:
                states[number] = {**copy.deepcopy(others), **whole}  # one count of steps for each weight
        group = {key: value for key, value in self.inner.param_groups[0].items() if key != "params"}
        return {"state": states, "param_groups": [{**group, "params": list(range(len(self.weights)))}]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process's part of a whole state."""
        states = state_dict["state"]
        if not states:
            return
        first = next(iter(states.values()))
        others = {name: value for name, value in first.items() if not (torch.is_tensor(value) and value.dim())}
        moments = [name for name in first if name not in others]
        zero = self.engine.optimizer
        cut = hasattr(zero, "fp32_partitioned_groups_flat")  # stage 3
        for flat in zero.fp32_partitioned_groups_flat if cut else zero.single_partition_of_fp32_groups:
            self.inner.state[flat].update(copy.deepcopy(others))
            for name in moments:
                self.inner.state[flat].setdefault(name, torch.zeros_like(flat))
        for number, weight in enumerate(self.weights):
            for name in moments:
                value = states[number][name]
                if cut:
                    self._set_part_of_cut(weight, name, value)
                else:
                    self._set_part_of_whole(weight, name, value)

    def _set_part_of_cut(self, weight: torch.nn.Parameter, name: str, value: torch.Tensor) -> None:
        from deepspeed.utils import safe_get_local_optimizer_state

        mine = safe_get_local_optimizer_state(weight, name)
        rank = process_part()[0]
        part = value.flatten()[rank * mine.numel() : (rank + 1) * mine.numel()]  # the last one may be shorter
        mine.flatten()[: part.numel()].copy_(part)

    def _set_part_of_whole(self, weight: torch.nn.Parameter, name: str, value: torch.Tensor) -> None:
        place: Any = weight._hp_mapping  # type: ignore[attr-defined] # where DeepSpeed keeps which part of the weight
        if place is None:
            return  # all of it is another process's
        (flat,) = self.engine.optimizer.single_partition_of_fp32_groups
        here, there = place.hp_fragment_address, place.lp_fragment_address
        part = value.flatten().narrow(0, there.start, there.numel)
        self.inner.state[flat][name].narrow(0, here.start, here.numel).copy_(part)


def is_cut(tensor: Any) -> bool:
    """Whether stage 3 has cut ``tensor``."""
    return hasattr(tensor, "ds_id")


def put_together(tensor: Any) -> torch.Tensor:
    """The whole of a weight that stage 3 has cut, made by all processes."""
    import deepspeed

    with deepspeed.zero.GatheredParameters([tensor]):
        whole: torch.Tensor = tensor.detach().clone()
    return whole


def import_deepspeed(device: torch.device) -> Any:
    """The library, ready for ``device``, over the processes that have joined already."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    with silently():
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        if device.type == "cpu":
            # its own way through shared memory needs a C++ compiler, and speeds up nothing that is used here
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if not deepspeed.comm.is_initialized():
            deepspeed.init_distributed(dist_init_required=False)
    return deepspeed


@contextlib.contextmanager
def silently() -> Iterator[None]:
    """Keep what DeepSpeed prints and warns of at its start off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
