"""Changing weights in place and putting them back, bit by bit as they were."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from pretune.config.probing import LAYER, TENSORS
from pretune.errors import UsageError, suggest

KINDS: Mapping[str, re.Pattern[str]] = {
    "attention": re.compile(r"attn|attention"),
    "mlp": re.compile(r"mlp|feed_forward|ffn|dense_h_to_4h|dense_4h_to_h"),
    "embeddings": re.compile(r"embed|wte|wpe|lm_head"),
    "norms": re.compile(r"norm|(^|\.)ln_"),
}
"""Group → names of parameters in it. A norm inside an attention block (q_norm) belongs to the norms."""


def select_tensors(model: Any, selectors: Sequence[str]) -> dict[str, torch.nn.Parameter]:
    """Parameters in any of the groups ``selectors``: ``all``, ``attention``, ``mlp``, ``embeddings``, ``norms``,
    ``layer:N``. Tied parameters are one. Raises :class:`UsageError` for unknown and for empty selections.
    """
    parameters = dict(model.named_parameters())
    chosen: dict[str, torch.nn.Parameter] = {}
    for selector in selectors:
        check_selector(selector)
        found = {name: value for name, value in parameters.items() if belongs(name, selector)}
        if not found:
            raise UsageError(f"probe.tensors={selector}: {type(model).__name__} has no such tensors")
        chosen |= found
    return {name: parameters[name] for name in parameters if name in chosen}


def check_selector(selector: str) -> None:
    """Raise :class:`UsageError` for a selector that means nothing."""
    if selector not in TENSORS and not re.fullmatch(LAYER, selector):
        raise UsageError(f"probe.tensors={selector}: {suggest(selector, (*TENSORS, 'layer:N'))}")


def belongs(name: str, selector: str) -> bool:
    """Whether the parameter ``name`` is in the group ``selector``."""
    layer = re.fullmatch(LAYER, selector)
    if layer:
        return re.search(rf"(^|\.)(layers|h|blocks)\.{layer[1]}\.", name) is not None
    if selector == "all":
        return True
    if selector != "norms" and KINDS["norms"].search(name):
        return False
    return KINDS[selector].search(name) is not None


class Weights:
    """The chosen parameters of a model with a copy of what they were; only one change is in place at a time."""

    def __init__(self, model: Any, selectors: Sequence[str] = ("all",)) -> None:
        self.parameters = select_tensors(model, selectors)
        self.kept = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @contextlib.contextmanager
    def changed(self, changes: Iterator[tuple[str, torch.Tensor]]) -> Iterator[None]:
        """Within the body parameter ``name`` holds the tensor of ``changes``; afterwards what it held before."""
        try:
            with torch.no_grad():
                for name, value in changes:
                    self.parameters[name].copy_(value)
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Put every chosen parameter back, bit by bit as it was."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.kept[name])

    def with_noise(self, stds: Mapping[str, float], seed: int) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each parameter plus noise of its standard deviation; equal seeds give proportional noise."""
        for name, kept in self.kept.items():
            if stds[name]:
                yield name, kept + stds[name] * standard_noise(name, kept, seed)


def standard_noise(name: str, like: torch.Tensor, seed: int) -> torch.Tensor:
    """Standard normal numbers of a tensor's shape, fixed by its name and ``seed`` on every device.

    They depend on neither checkpoint nor γ: checkpoints are compared under common random numbers.
    """
    number = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big") >> 1
    generator = torch.Generator().manual_seed(number)
    noise = torch.randn(like.shape, generator=generator, dtype=torch.float32)
    return noise.to(device=like.device, dtype=like.dtype)
