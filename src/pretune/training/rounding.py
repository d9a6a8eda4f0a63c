"""Optimizer steps on bf16 weights that do not lose what is learnt.

bf16 has eight bits of precision: an update below 1/512 of a weight vanishes when it is added and rounded to the
nearest value. At a learning rate of 2e-6 that is most of AdamW's updates. ``stochastic`` rounds up or down with the
probability that makes the mean right (Zamirai et al., arXiv 2010.06192); ``kahan`` keeps what rounding took away in
a second bf16 number per weight and adds it next time (ibid.); ``nearest`` rounds as torch would, and measures the
share of updates that are lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch

from pretune.config.science import Optimizer
from pretune.training.optimizers import build_optimizer

log = logging.getLogger(__name__)

TOLERABLE_LOSS = 0.1
"""Share of updates lost to rounding above which a run warns."""


class RoundedUpdates(torch.optim.Optimizer):
    """Runs an optimizer in fp32 (moments and arithmetic) on weights that are stored in bf16.

    One parameter at a time is widened, updated and rounded, so that at no time more than one exists in fp32.
    """

    def __init__(self, config: Optimizer, parameters: Iterable[torch.nn.Parameter], *, rounding: str) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        super().__init__(trained, {"lr": config.lr})
        self.rounding = rounding
        self.wide = [torch.nn.Parameter(torch.empty(0, device=p.device)) for p in trained]
        self.inner = [build_optimizer(config, [wide]) for wide in self.wide]
        self.residue = [torch.zeros_like(p) for p in trained] if rounding == "kahan" else []
        self._lost: list[torch.Tensor] = []
        self._moved: list[torch.Tensor] = []
        self._warned = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        (group,) = self.param_groups
        for index, parameter in enumerate(group["params"]):
            if parameter.grad is not None:
                self._update(index, parameter, group["lr"])
        return value

    def _update(self, index: int, parameter: torch.nn.Parameter, lr: float) -> None:
        wide, inner = self.wide[index], self.inner[index]
        before = parameter.detach().float()
        wide.data = before.clone()
        if self.residue:
            wide.data += self.residue[index].float()
        wide.grad = parameter.grad.float() if parameter.grad is not None else None
        for group in inner.param_groups:
            group["lr"] = lr
        inner.step()
        if self.rounding == "stochastic":
            parameter.copy_(round_stochastically(wide.data))
        else:
            parameter.copy_(wide.data)
        if self.residue:
            self.residue[index] = (wide.data - parameter.float()).bfloat16()
        if self.rounding == "nearest":
            moved = wide.data != before
            self._moved.append(moved.sum())
            self._lost.append((moved & (parameter.float() == before)).sum())
        wide.data, wide.grad = wide.data.new_empty(0), None

    def take_lost_share(self) -> float | None:
        """Share of updates lost since the last call (``rounding=nearest``); warns once when it is more than a tenth."""
        if not self._moved:
            return None
        lost, moved = (float(torch.stack(counts).sum(dtype=torch.float64)) for counts in (self._lost, self._moved))
        self._lost, self._moved = [], []
        share = lost / max(moved, 1.0)
        if share > TOLERABLE_LOSS and not self._warned:
            self._warned = True
            log.warning(
                "%.0f %% of the updates are lost to rounding: the weights are bf16 and the learning rate is small; "
                "trainer.rounding=stochastic or kahan keeps them, trainer.precision=bf16-mixed needs neither",
                100 * share,
            )
        return share

    def state_dict(self) -> dict[str, Any]:
        """State of the inner optimizers, and what Kahan's summation keeps."""
        return {"inner": [inner.state_dict() for inner in self.inner], "residue": self.residue}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        for inner, state in zip(self.inner, state_dict["inner"], strict=True):
            inner.load_state_dict(state)
        self.residue = [
            kept.to(mine.device)
            for kept, mine in zip(state_dict["residue"], self.param_groups[0]["params"], strict=False)
        ]


def round_stochastically(values: torch.Tensor) -> torch.Tensor:
    """Round fp32 to bf16, up or down with the probability of its distance; uses torch's generator of the device.

    bf16 is the upper half of fp32: adding uniform noise below the last kept bit and cutting does it, for either sign.
    """
    bits = values.view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device)
    rounded = torch.where(torch.isfinite(values), (bits + noise) & -65536, bits)
    return rounded.view(torch.float32).bfloat16()
