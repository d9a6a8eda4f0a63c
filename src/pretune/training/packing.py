"""Padding-free batches: rows one after another in a single sequence, none of which sees another.

transformers builds a dense [length, length] mask for restarting position ids with sdpa: exact, but quadratic in the
length of all rows together. Here each row is attended to by a causal call of its own (on a GPU by one call of
torch's variable-length kernel), which needs no mask at all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from pretune.modeling import agrees, input_device, relative_difference, text_config, vocabulary_size

ATTENTION = "pretune_packed"
"""Name under which transformers knows the attention of packed rows."""

UNSUPPORTED = ("softcap", "sliding_window", "position_bias", "s_aux", "indices")
"""Arguments of attention functions that change the result and that this one does not implement."""


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    lengths: Sequence[int] | None = None,
    offsets: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row of a packed sequence, in the signature of transformers' attention functions.

    ``query`` [1, heads, length, width], ``key`` and ``value`` [1, key heads, length, width]; ``lengths``: tokens of
    each row, ``offsets`` [rows + 1] their running sum on the device. Raises ``ValueError`` for a kind of attention
    that it does not implement.
    """
    ignored = [name for name in UNSUPPORTED if kwargs.get(name) is not None]
    if lengths is None or attention_mask is not None or ignored:
        raise ValueError(f"packed attention cannot honour {ignored or 'a mask, or rows without lengths'}")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if offsets is not None and query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        longest = max(lengths)
        q, k, v = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
        causal = (-1, 0)
        output: Any = varlen_attn(q, k, v, offsets, offsets, longest, longest, scale=scaling, window_size=causal)
        return output[None], None
    parts = zip(*(torch.split(states, list(lengths), dim=2) for states in (query, key, value)), strict=True)
    outputs = [
        torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, is_causal=True)
        for q, k, v in parts
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


@functools.cache
def _register() -> None:
    """Make the attention known to transformers; the mask that goes with it is none."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


@contextlib.contextmanager
def attending_to_packed_rows(model: Any) -> Iterator[None]:
    """Let ``model`` use the attention of packed rows in the body."""
    _register()
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def packing_difference(model: Any) -> float:
    """Relative difference between hidden states of packed rows and of the same rows one by one."""
    vocabulary = vocabulary_size(model)
    rows = [[(5 * i + 3 * j + 1) % vocabulary for i in range(length)] for j, length in enumerate((7, 3, 5))]
    device, lengths = input_device(model), [len(row) for row in rows]
    single = [model.base_model(input_ids=torch.tensor([row], device=device), use_cache=False) for row in rows]
    expected = torch.cat([output.last_hidden_state[0] for output in single])
    with attending_to_packed_rows(model):
        packed = model.base_model(
            input_ids=torch.tensor([sum(rows, [])], device=device),
            position_ids=torch.cat([torch.arange(length, device=device) for length in lengths])[None],
            use_cache=False,
            lengths=lengths,
            offsets=row_offsets(lengths).to(device),
        )
    return relative_difference(packed.last_hidden_state[0], expected)


def row_offsets(lengths: Sequence[int]) -> torch.Tensor:
    """Where each of the packed rows begins, and where the last one ends: int32 [rows + 1]."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def can_pack(model: Any) -> bool:
    """Whether packed rows give this model's own hidden states: tried on a few tokens, without dropout.

    Attention within a window is refused unseen: so few tokens would not tell.
    """
    config = text_config(model)
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if windowed or any("sliding" in str(kind) for kind in getattr(config, "layer_types", None) or ()):
        return False
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return agrees(model, packing_difference)
    finally:
        model.train(training)
