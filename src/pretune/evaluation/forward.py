"""The forward pass behind every likelihood: what a model is able to do, and log-probabilities of chosen tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from pretune.evaluation.layout import Batch, Branching, Layout
from pretune.modeling import agrees, context_length, has_plain_head, input_device, relative_difference, text_config

logger = logging.getLogger(__name__)

HEAD_FLOATS = 2**25
"""Logits held at a time (as fp32: 128 MiB); the head is applied to as many positions as fit."""

MASKABLE_ATTENTION = ("eager", "sdpa")
"""Attention implementations that take an arbitrary 4-D mask."""

WINDOWED_LAYERS = {
    "full_attention": None,
    "sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
"""Kinds of attention layer that a tree can go through → the setting that says how far they look back."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What was found out about one model.

    ``tree``: options can be branches of one sequence, if it is no longer than ``tree_length`` tokens (``None``: no
    limit). ``split_head``: the logits are nothing but the output embeddings applied to the last hidden states.
    """

    tree: bool
    tree_length: int | None
    split_head: bool


_known: WeakKeyDictionary[torch.nn.Module, tuple[str, Capabilities]] = WeakKeyDictionary()


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout and autograd off, and the training mode back on afterwards if it was on."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def find_capabilities(model: Any) -> Capabilities:
    """Find out, once per model, what its forward pass allows. The model must be in evaluation mode.

    What the configuration says is checked first; then a handful of tokens go through the model, because only
    that shows whether a mask and positions are obeyed and whether something stands between the hidden states and
    the logits (a soft cap, a scale). Whatever is in doubt is answered with "no": the other way is always exact.
    """
    attention = str(getattr(text_config(model), "_attn_implementation", "eager"))
    known = _known.get(model)
    if known is not None and known[0] == attention:
        return known[1]
    tree_length = find_tree_length(model)
    tree = tree_length != 0 and attention in MASKABLE_ATTENTION and agrees(model, tree_difference)
    split_head = has_plain_head(model)
    found = Capabilities(tree=tree, tree_length=tree_length if tree else None, split_head=split_head)
    if not (tree and split_head):
        logger.info("%s (attention: %s) is scored by slower exact passes: %s", type(model).__name__, attention, found)
    if split_head:  # with broken weights every comparison fails; that says nothing about the next ones
        _known[model] = (attention, found)
    return found


def find_tree_length(model: Any) -> int | None:
    """Longest tree in tokens: ``None`` no limit, 0 not at all.

    transformers hands a 4-D mask to windowed layers as it is, so a tree must fit into the window, where the window
    does not matter.
    """
    config = text_config(model)
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "alibi", False):
        return 0
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - set(WINDOWED_LAYERS):
        return 0
    settings = {WINDOWED_LAYERS[kind] for kind in kinds} - {None}
    if not kinds and getattr(config, "use_sliding_window", True):
        settings = {"sliding_window"}
    windows = [getattr(config, str(name), None) for name in settings]
    limits = [window for window in windows if isinstance(window, int)]
    positions = context_length(model)
    # buffers of some models hold no more positions than this, even where positions restart
    return min([*limits, *([positions] if positions else [])], default=None)


def tree_difference(model: Any) -> float:
    """Relative difference between last hidden states of a small tree and of plain sequences."""
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    tokens = [(7 * i + 3) % vocabulary for i in range(11)]
    tree = Branching(
        trunk=tuple(tokens[:4]),
        branches=(tuple(tokens[4:8]), tuple(tokens[:1]), tuple(tokens[7:11])),
        starts=(0, 0, 0),
    )
    layout = Layout([tree])
    batch = layout.batch(layout.longest_first())
    whole = hidden_states(model, batch)[0]  # [10, hidden]: trunk of 4, then two branches of 3
    worst = 0.0
    for branch, start in ((tree.branches[0], 4), (tree.branches[2], 7)):
        layout = Layout([Branching(trunk=tree.trunk, branches=(branch,), starts=(0,))])
        plain = hidden_states(model, layout.batch(layout.longest_first()))[0, 4:]
        worst = max(worst, relative_difference(whole[start : start + 3], plain))
    return worst


def choose_batch_tokens(model: Any) -> int:
    """Padded tokens per batch: on a CPU few enough for its caches, on an accelerator enough to keep it busy."""
    return 2048 if input_device(model).type == "cpu" else 16384


def model_inputs(model: Any, batch: Batch) -> dict[str, Any]:
    """Arguments of a forward pass over ``batch``."""
    device = input_device(model)
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(batch.ids).to(device), "use_cache": False}
    if batch.branched:
        inputs["position_ids"] = torch.from_numpy(batch.positions).to(device)
        attention = str(getattr(text_config(model), "_attn_implementation", "eager"))
        inputs["attention_mask"] = tree_mask(
            torch.from_numpy(batch.segments).to(device), additive=attention == "eager", dtype=model.dtype
        )
    return inputs


def tree_mask(segments: torch.Tensor, *, additive: bool, dtype: torch.dtype) -> torch.Tensor:
    """Mask of shape [rows, 1, length, length]: a token sees the trunk and its own branch, up to itself.

    Padding sees the trunk too; its hidden states are never looked at, but an empty row of a softmax is NaN.
    """
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]  # [rows, query, key]
    trunk = (segments == 0)[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    visible = ((same | trunk) & causal)[:, None]
    if not additive:
        return visible
    return torch.zeros(visible.shape, dtype=dtype, device=segments.device).masked_fill_(
        ~visible, torch.finfo(dtype).min
    )


def hidden_states(model: Any, batch: Batch) -> torch.Tensor:
    """Last hidden states [rows, length, hidden], after the final normalisation."""
    hidden: torch.Tensor = model.base_model(**model_inputs(model, batch)).last_hidden_state
    return hidden


def token_log_probabilities(model: Any, batch: Batch, *, split_head: bool) -> npt.NDArray[np.float64]:
    """Log-probabilities, in nats, of the batch's scored tokens: shape [scored tokens].

    The softmax is computed in fp32 whatever the model's dtype.
    """
    # options of one row share the position that predicts their first token: its logits are computed once
    sources, position_of = np.unique(batch.sources, return_inverse=True)
    result = np.empty(len(position_of), dtype=np.float64)
    if not len(sources):
        return result
    if split_head:
        states = hidden_states(model, batch).flatten(0, 1)  # [rows · length, hidden]
        head = model.get_output_embeddings()
    else:
        states = model(**model_inputs(model, batch)).logits.flatten(0, 1)  # [rows · length, vocabulary]
        head = torch.nn.Identity()
    states = states[torch.from_numpy(sources).to(states.device)]  # [positions, …]
    order = np.argsort(position_of, kind="stable")
    ordered = position_of[order]
    vocabulary = int(getattr(text_config(model), "vocab_size", 0)) or 1
    step = max(HEAD_FLOATS // vocabulary, 1)
    for start in range(0, len(sources), step):
        logits = head(states[start : start + step]).float()  # [step, vocabulary]
        low, high = np.searchsorted(ordered, (start, start + step))
        chosen = order[low:high]
        rows = torch.from_numpy(position_of[chosen] - start).to(logits.device)
        targets = torch.from_numpy(batch.targets[chosen]).to(logits.device)
        log_probabilities = logits[rows, targets] - logits.logsumexp(dim=-1)[rows]
        result[chosen] = log_probabilities.double().cpu().numpy()
    return result


def score_layout(model: Any, layout: Layout, *, batch_tokens: int | None, split_head: bool) -> npt.NDArray[np.float64]:
    """Log-probabilities, in nats, of all scored tokens of ``layout``: shape [scored tokens].

    Batches hold at most ``batch_tokens`` padded tokens (``None``: see :func:`choose_batch_tokens`); when memory
    runs out the budget is halved and the work goes on with the rows that are left. Raises the memory error when a
    single row is too much.
    """
    result = np.full(layout.scored_tokens, np.nan)
    rows = layout.longest_first()
    budget = choose_batch_tokens(model) if batch_tokens is None else batch_tokens
    while len(rows):
        chosen = layout.first_batch(rows, budget)
        scores = None
        try:
            batch = layout.batch(chosen)
            scores = token_log_probabilities(model, batch, split_head=split_head)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(chosen) == 1:
                raise
        # outside of the except clause, where the traceback still holds the tensors of the failed pass
        if scores is None:
            budget = int(layout.lengths[chosen[0]]) * (len(chosen) // 2)
            release_memory()
            logger.warning("out of memory with %d rows in a batch: going on with %d tokens", len(chosen), budget)
            continue
        result[batch.scored] = scores
        rows = rows[len(chosen) :]
    return result


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the device or the machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return any(sign in text for sign in ("out of memory", "can't allocate memory", "alloc_failed"))


def release_memory() -> None:
    """Give cached blocks back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
