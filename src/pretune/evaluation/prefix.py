"""The tokens that many rows begin with: read once, their keys and values put before every batch.

A few-shot prompt is mostly shots, and shots are the same for all rows of a cell. What is shared is decided on
tokens, after each prompt has been tokenised as a whole, so the boundary between shots and row needs no care: a token
that depends on what follows it differs between rows and is simply not part of what they share.

A prefix lives as long as the call that scores or generates. It is never kept, so it cannot meet other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from pretune.modeling import input_device

SHORTEST_PREFIX = 24
"""Shared tokens that are worth a cache: below, the copies and the mask cost what the tokens would."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prefix:
    """Keys and values, each [1, heads, length, head size] per layer, of ``length`` tokens."""

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self) -> Cache:
        """A cache for one forward pass over rows that follow the prefix, however many."""
        return Cache(layers=[PassingLayer(keys, values) for keys, values in self.layers])


def read_prefix(model: Any, ids: Sequence[int]) -> Prefix:
    """Run the prefix through the model, without gradients (:func:`~pretune.evaluation.forward.evaluating`).

    Raises ``ValueError`` for a model whose memory of a text is not keys and values of all its tokens in each layer.
    """
    cache = DynamicCache()  # without the model's configuration: a layer with a window would forget what rows may see
    tokens = torch.tensor([list(ids)], device=input_device(model))
    model.base_model(input_ids=tokens, past_key_values=cache, use_cache=True)
    layers = []
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if keys is None or values is None or keys.shape[-2] != len(ids):
            raise ValueError(f"{type(model).__name__} keeps no keys and values of every token")
        layers.append((keys, values))
    if not layers:
        raise ValueError(f"{type(model).__name__} keeps no keys and values")
    return Prefix(length=len(ids), layers=tuple(layers))


class PassingLayer(DynamicLayer):
    """One layer's prefix for a single pass: it is put before the rows' own keys and values, which are not kept."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of prefix and rows: each [rows, heads, prefix + length, head size]."""
        rows = len(key_states)
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


class GrowingLayer(DynamicLayer):
    """One layer's keys and values while rows are decoded, written into room set aside for them.

    A cache that is concatenated anew at every step copies all it holds for each generated token. ``room`` tokens may
    follow the prefix, if there is one.
    """

    def __init__(self, room: int, prefix: tuple[torch.Tensor, torch.Tensor] | None = None) -> None:
        super().__init__()
        self._room = room
        self._prefix = prefix
        self._used = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append, and return everything that is held: each [rows, heads, length so far, head size]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._all = [self._set_aside(index, states) for index, states in enumerate((key_states, value_states))]
            self._used = self._prefix[0].shape[-2] if self._prefix else 0
        start, self._used = self._used, self._used + key_states.shape[-2]
        for everything, states in zip(self._all, (key_states, value_states), strict=True):
            everything[..., start : self._used, :] = states
        return self._show()

    def _set_aside(self, index: int, states: torch.Tensor) -> torch.Tensor:
        rows, heads, _, size = states.shape
        before = self._prefix[index] if self._prefix else states[:1, :, :0]
        length = before.shape[-2]
        result = states.new_empty(rows, heads, length + self._room, size)
        result[..., :length, :] = before
        return result

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (everything[..., : self._used, :] for everything in self._all)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens held, those of the prefix included from the start."""
        if self.is_initialized:
            return self._used
        return self._prefix[0].shape[-2] if self._prefix else 0

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows ``indices``."""
        self._all = [everything[indices] for everything in self._all]
        self._show()


def growing_cache(prefix: Prefix | None, room: int) -> Cache:
    """A cache for decoding rows of at most ``room`` tokens after ``prefix``."""
    if prefix is None:
        return Cache(layer_class_to_replicate=partial(GrowingLayer, room))
    return Cache(layers=[GrowingLayer(room, layer) for layer in prefix.layers])


def group_by_prefix(sequences: Sequence[Sequence[int]], shortest: int = SHORTEST_PREFIX) -> list[tuple[int, list[int]]]:
    """Sort token sequences into groups that begin alike: (length of what they share, their numbers) each.

    At least one token of each sequence is left after the prefix, to predict the next one from. Sequences that share
    fewer than ``shortest`` tokens with any other make up the first group, with length 0, if there are any. A group is
    divided again where its parts share so much more that fewer tokens are read in all: prompts that lost a shot to
    fit into the context do not spoil the prefix of the others.
    """
    shared = divide_group(sequences, list(range(len(sequences))), 0, shortest)
    alone = sorted(set(range(len(sequences))).difference(*(numbers for _, numbers in shared)))
    return ([(0, alone)] if alone else []) + shared


def divide_group(
    sequences: Sequence[Sequence[int]], numbers: list[int], known: int, shortest: int
) -> list[tuple[int, list[int]]]:
    """Groups among the sequences ``numbers``, which share ``known`` tokens, that share ``shortest`` more."""
    parts: dict[tuple[int, ...], list[int]] = {}
    for number in numbers:
        if len(sequences[number]) > known + shortest:
            parts.setdefault(tuple(sequences[number][known : known + shortest]), []).append(number)
    groups = []
    for members in parts.values():
        if len(members) > 1:
            length = common_length([sequences[number] for number in members])
            smaller = divide_group(sequences, members, length, shortest)
            better = count_spared(smaller) > count_spared([(length, members)])
            groups += smaller if better else [(length, members)]
    return groups


def count_spared(groups: Sequence[tuple[int, Sequence[int]]]) -> int:
    """Tokens that need not be read because each group's prefix is read once."""
    return sum(length * (len(members) - 1) for length, members in groups)


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all ``sequences`` begin with, at most all but the last of the shortest."""
    # what the extremes in lexicographic order share, all share
    first, last = min(sequences, key=tuple), max(sequences, key=tuple)
    limit = min(len(sequence) for sequence in sequences) - 1
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b or i == limit), limit)
