"""The forward pass behind every likelihood: what a model is able to do, and log-probabilities of chosen tokens."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from pretune.evaluation.layout import Batch, Branching, Layout
from pretune.evaluation.prefix import Prefix, group_by_prefix, read_prefix
from pretune.modeling import (
    agrees,
    context_length,
    has_plain_head,
    input_device,
    is_out_of_memory,
    relative_difference,
    text_config,
    too_large,
    vocabulary_size,
)

logger = logging.getLogger(__name__)

HEAD_FLOATS = 2**24
"""Logits held at a time (as fp32 64 MiB, and as much for their softmax); the head is applied to as many positions."""

MASKABLE_ATTENTION = ("eager", "sdpa")
"""Attention implementations that take an arbitrary 4-D mask."""

WINDOWED_LAYERS = {
    "full_attention": None,
    "sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
"""Kinds of attention layer that a tree can go through → the setting that says how far they look back."""


Progress = Callable[[int, int], None]
"""Told how many of how many rows are done."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What was found out about one model.

    ``tree``: options can be branches of one sequence. ``prefix``: what rows begin with can be read once for all.
    Either only where no sequence is longer than ``longest`` tokens (``None``: no limit). ``split_head``: the logits
    are nothing but the output embeddings applied to the last hidden states.
    """

    tree: bool
    prefix: bool
    longest: int | None
    split_head: bool

    def fit(self, length: int) -> bool:
        """Whether trees and prefixes may be used in a sequence of ``length`` tokens."""
        return self.longest is None or length <= self.longest


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
    longest = find_longest(model)
    tree = longest != 0 and attention in MASKABLE_ATTENTION and agrees(model, tree_difference)
    prefix = longest != 0 and agrees(model, prefix_difference) and (not tree or agrees(model, prefixed_tree_difference))
    split_head = has_plain_head(model)
    found = Capabilities(tree=tree, prefix=prefix, longest=longest, split_head=split_head)
    if not (tree and prefix and split_head):
        logger.info("%s (attention: %s) is scored by slower exact passes: %s", type(model).__name__, attention, found)
    if split_head:  # with broken weights every comparison fails; that says nothing about the next ones
        _known[model] = (attention, found)
    return found


def find_longest(model: Any) -> int | None:
    """Longest sequence, in tokens, for trees and prefixes: ``None`` no limit, 0 not at all.

    transformers hands a 4-D mask to windowed layers as it is, so a tree must fit into the window, where the window
    does not matter; a prefix too, whose keys are handed over whole.
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


PROBE = tuple(range(3, 80, 7))
"""Token numbers, modulo the vocabulary, of the texts that are tried out."""


def probe_tokens(model: Any) -> tuple[int, ...]:
    """A handful of tokens that the model knows."""
    vocabulary = vocabulary_size(model)
    return tuple(token % vocabulary for token in PROBE)


def tree_difference(model: Any, *, skip: int = 0) -> float:
    """Relative difference between last hidden states of a small tree and of plain sequences."""
    tokens = probe_tokens(model)
    trunk, branches = tokens[:4], (tokens[4:8], tokens[:1], tokens[7:11])
    layout = Layout([Branching(trunk=trunk, branches=branches, starts=(0, 0, 0))], skip=skip)
    prefix = read_prefix(model, layout.prefix) if skip else None
    # [10 - skip, hidden]: the trunk of 4, then two branches of 3; of the middle one nothing is read
    whole = hidden_states(model, layout.batch(layout.longest_first()), prefix)[0]
    worst = 0.0
    for branch, start in ((branches[0], 4), (branches[2], 7)):
        layout = Layout([Branching(trunk=trunk, branches=(branch,), starts=(0,))])
        plain = hidden_states(model, layout.batch(layout.longest_first()))[0, 4:]
        worst = max(worst, relative_difference(whole[start - skip : start - skip + 3], plain))
    return worst


def prefixed_tree_difference(model: Any) -> float:
    """The same of a tree whose trunk was read, but for its last token, beforehand."""
    return tree_difference(model, skip=3)


def prefix_difference(model: Any) -> float:
    """Relative difference between last hidden states of two rows, of 3 and 1 tokens, after a prefix and as a whole."""
    tokens = probe_tokens(model)
    trunks = (tokens[:7], (*tokens[:4], tokens[9]))
    rows = [Branching(trunk=trunk, branches=(tokens[:1],), starts=(0,)) for trunk in trunks]
    layout = Layout(rows, skip=4)
    prefix = read_prefix(model, layout.prefix)
    together = hidden_states(model, layout.batch(layout.longest_first()), prefix)  # [2, 3, hidden]
    worst = 0.0
    for found, row in zip(together, rows, strict=True):
        plain = Layout([row])
        expected = hidden_states(model, plain.batch(plain.longest_first()))[0, 4:]
        worst = max(worst, relative_difference(found[: len(expected)], expected))
    return worst


ONE_ROW = "use fewer shots, a shorter format, or a device with more memory"
"""What helps where one row of an evaluation is too much."""


@dataclass(kw_only=True)
class Budget:
    """Padded tokens per batch; lowered for good when memory runs out."""

    tokens: int

    @classmethod
    def choose(cls, model: Any, batch_tokens: int | Budget | None) -> Budget:
        """``batch_tokens``, else what suits the device: a CPU's caches, an accelerator's appetite."""
        if isinstance(batch_tokens, Budget):
            return batch_tokens
        if batch_tokens is None:
            batch_tokens = 2048 if input_device(model).type == "cpu" else 16384
        return cls(tokens=batch_tokens)


def model_inputs(model: Any, batch: Batch, prefix: Prefix | None) -> dict[str, Any]:
    """Arguments of a forward pass over ``batch``, whose rows follow ``prefix``."""
    device = input_device(model)
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(batch.ids).to(device), "use_cache": prefix is not None}
    if prefix is not None:
        inputs["past_key_values"] = prefix.cache()
    if batch.branched:
        inputs["position_ids"] = torch.from_numpy(batch.positions).to(device)
        inputs["attention_mask"] = tree_mask(
            torch.from_numpy(batch.segments).to(device),
            before=prefix.length if prefix else 0,
            dtype=model.dtype,
        )
    return inputs


def tree_mask(segments: torch.Tensor, *, before: int, dtype: torch.dtype) -> torch.Tensor:
    """Mask of shape [rows, 1, length, before + length], to be added to the attention scores.

    A token sees the ``before`` tokens of the prefix, the trunk and its own branch, up to itself. Padding sees the
    trunk too; its hidden states are never looked at, but an empty row of a softmax is NaN.
    """
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]  # [rows, query, key]
    trunk = (segments == 0)[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    visible = torch.nn.functional.pad((same | trunk) & causal, (before, 0), value=True)[:, None]
    # what attention turns a boolean mask into, in every layer anew
    return torch.zeros(visible.shape, dtype=dtype, device=segments.device).masked_fill_(
        ~visible, torch.finfo(dtype).min
    )


def hidden_states(model: Any, batch: Batch, prefix: Prefix | None = None) -> torch.Tensor:
    """Last hidden states [rows, length, hidden], after the final normalisation."""
    hidden: torch.Tensor = model.base_model(**model_inputs(model, batch, prefix)).last_hidden_state
    return hidden


def token_log_probabilities(
    model: Any, batch: Batch, prefix: Prefix | None = None, *, split_head: bool
) -> npt.NDArray[np.float64]:
    """Log-probabilities, in nats, of the batch's scored tokens: shape [scored tokens].

    The softmax is computed in fp32 whatever the model's dtype.
    """
    # options of one row share the position that predicts their first token: its logits are computed once
    sources, position_of = np.unique(batch.sources, return_inverse=True)
    result = np.empty(len(position_of), dtype=np.float64)
    if not len(sources):
        return result
    if split_head:
        states = hidden_states(model, batch, prefix).flatten(0, 1)  # [rows · length, hidden]
        head = model.get_output_embeddings()
    else:
        states = model(**model_inputs(model, batch, prefix)).logits.flatten(0, 1)  # [rows · length, vocabulary]
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
        log_probabilities = logits.log_softmax(dim=-1)[rows, targets]
        result[chosen] = log_probabilities.double().cpu().numpy()
    return result


def score_branches(
    model: Any,
    branchings: Sequence[Branching],
    able: Capabilities,
    *,
    batch_tokens: int | Budget | None,
    on_progress: Progress | None = None,
) -> list[npt.NDArray[np.float64]]:
    """Log-probabilities, in nats, of the scored tokens of each branch, numbered through in the order given.

    What branchings begin with is read once, where the model allows it.
    """
    first_branch = np.cumsum([0, *(len(branching.branches) for branching in branchings)])
    groups = [(0, list(range(len(branchings))))]
    if able.prefix:
        short = [number for number, branching in enumerate(branchings) if able.fit(branching.length)]
        groups = [
            (skip, [short[member] for member in members])
            for skip, members in group_by_prefix([branchings[number].trunk for number in short])
        ]
        long = sorted(set(range(len(branchings))).difference(short))
        groups += [(0, long)] if long else []
    budget, done = Budget.choose(model, batch_tokens), 0
    result: list[Any] = [None] * int(first_branch[-1])
    for skip, members in groups:
        layout = Layout([branchings[number] for number in members], skip=skip)
        scores = score_layout(
            model,
            layout,
            batch_tokens=budget,
            split_head=able.split_head,
            on_rows=count_from(done, len(branchings), on_progress),
        )
        done += len(members)
        parts = np.split(scores, np.cumsum(layout.counts)[:-1])
        numbers = itertools.chain(*(range(first_branch[number], first_branch[number + 1]) for number in members))
        for number, part in zip(numbers, parts, strict=True):
            result[number] = part
    return result


def count_from(before: int, total: int, on_progress: Progress | None) -> Callable[[int], None] | None:
    """A listener to the rows done in one group of several: ``before`` rows were done in earlier ones."""
    return None if on_progress is None else lambda rows: on_progress(before + rows, total)


def score_layout(
    model: Any,
    layout: Layout,
    *,
    batch_tokens: int | Budget | None,
    split_head: bool,
    on_rows: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Log-probabilities, in nats, of all scored tokens of ``layout``: shape [scored tokens].

    Batches hold at most ``batch_tokens`` padded tokens (``None``: what suits the device). When memory runs out that
    is halved and the work goes on with the rows that are left. ``on_rows`` is told how many are done. Raises
    :class:`~pretune.errors.TooLargeForMemory` when a single row is too much.
    """
    budget = Budget.choose(model, batch_tokens)
    result = np.full(layout.scored_tokens, np.nan)
    rows = layout.longest_first()
    prefix = read_prefix(model, layout.prefix) if layout.prefix else None
    while len(rows):
        chosen = layout.first_batch(rows, budget.tokens)
        scores = None
        try:
            batch = layout.batch(chosen)
            scores = token_log_probabilities(model, batch, prefix, split_head=split_head)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(chosen) == 1:
                raise too_large(int(layout.lengths[chosen[0]]), ONE_ROW) from error
        # outside of the except clause, where the traceback still holds the tensors of the failed pass
        if scores is None:
            budget.tokens = int(layout.lengths[chosen[0]]) * (len(chosen) // 2)
            release_memory()
            logger.warning("out of memory with %d rows in a batch: going on with %d tokens", len(chosen), budget.tokens)
            continue
        result[batch.scored] = scores
        rows = rows[len(chosen) :]
        if on_rows is not None:
            on_rows(len(layout.lengths) - len(rows))
    return result


def release_memory() -> None:
    """Give cached blocks back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
