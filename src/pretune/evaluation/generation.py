"""Greedy answers: a shared beginning read once, batches padded on the left, finished rows leave the batch."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Prompt
from pretune.errors import DataError
from pretune.evaluation.forward import (
    ONE_ROW,
    Capabilities,
    Progress,
    evaluating,
    find_capabilities,
    release_memory,
)
from pretune.evaluation.likelihood import separator_id, with_max_length
from pretune.evaluation.prefix import Prefix, group_by_prefix, growing_cache, read_prefix
from pretune.modeling import input_device, is_out_of_memory, too_large

logger = logging.getLogger(__name__)

COMPACT_BELOW = 0.75
"""Finished rows are removed when less than this share of the batch is left: each removal copies the cache."""


def generate_answers(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    batch_rows: int = 64,
    encoded: Sequence[Encoded] | None = None,
    on_progress: Progress | None = None,
    on_shrink: Callable[[int], None] | None = None,
) -> list[str]:
    """The most likely continuation of each prompt, token by token.

    An answer ends at the end-of-text token, at the prompt's ``stop`` string (not part of the answer; white space
    before the answer does not count) or after ``max_new_tokens``. It comes without special tokens and surrounding
    white space. Prompts are shortened in their body so that the answer fits into the context as well. Only the
    arg-max decides: sampling settings that came with the model's weights play no part. ``encoded`` are the prompts'
    tokens if :func:`encode_prompts` has made them already. ``on_progress`` is told how many of how many answers there
    are. When memory runs out the rows of a batch are halved, ``on_shrink`` is told how many are left, and the work goes
    on; :class:`~pretune.errors.TooLargeForMemory` is raised when a single one is too much.
    """
    encoded = encode_prompts(encoder, prompts, max_new_tokens) if encoded is None else encoded
    answers = [""] * len(prompts)
    finished = 0
    with evaluating(model):
        for skip, members in group_prompts(find_capabilities(model), encoded, max_new_tokens):
            order = sorted(members, key=lambda index: -len(encoded[index].ids))
            prefix = read_prefix(model, encoded[order[0]].ids[:skip]) if skip else None
            plain = skip is None
            while order:
                chosen, texts = order[:batch_rows], None
                decoding = Decoding(model, encoder, [prompts[index].stop for index in chosen])
                tails = [encoded[index].ids[skip or 0 :] for index in chosen]
                try:
                    texts = decoding.run(tails, max_new_tokens, prefix, plain=plain)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if len(chosen) == 1:
                        raise too_large(len(encoded[chosen[0]].ids), ONE_ROW) from error
                if texts is None:
                    batch_rows = max(len(chosen) // 2, 1)
                    if on_shrink is not None:
                        on_shrink(batch_rows)
                    release_memory()
                    logger.warning("out of memory with %d rows in a batch: going on with %d", len(chosen), batch_rows)
                    continue
                for index, text in zip(chosen, texts, strict=True):
                    answers[index] = text
                order = order[len(chosen) :]
                finished += len(chosen)
                if on_progress is not None:
                    on_progress(finished, len(prompts))
    return answers


def group_prompts(
    able: Capabilities, encoded: Sequence[Encoded], max_new_tokens: int
) -> list[tuple[int | None, list[int]]]:
    """Prompts that are decoded after the same prefix: (its length, their numbers) each.

    ``None``: those that the model has to remember in its own way, because it has windows that they do not fit into
    or keeps something else than keys and values.
    """
    fitting = [index for index, row in enumerate(encoded) if able.prefix and able.fit(len(row.ids) + max_new_tokens)]
    groups: list[tuple[int | None, list[int]]] = [
        (skip, [fitting[member] for member in members])
        for skip, members in group_by_prefix([encoded[index].ids for index in fitting])
    ]
    rest = sorted(set(range(len(encoded))).difference(fitting))
    return groups + ([(None, rest)] if rest else [])


def encode_prompts(encoder: Encoder, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Encoded]:
    """Tokens of the prompts alone, with room for the answer; a prompt without tokens starts as a document does."""
    room = encoder.max_length - max_new_tokens
    if room < 1:
        raise DataError(
            f"task.max_new_tokens={max_new_tokens}: leaves no room for a prompt in a context of "
            f"{encoder.max_length} tokens"
        )
    encoded = with_max_length(encoder, room).encode_many([(prompt, "") for prompt in prompts])
    return [row if row.ids else Encoded(ids=(separator_id(encoder),), context=1, cut=row.cut) for row in encoded]


class Decoding:
    """Decodes one batch; ``stops`` holds the stop string of each row (empty: none)."""

    def __init__(self, model: Any, encoder: Encoder, stops: Sequence[str]) -> None:
        self.model = model
        self.tokenizer = encoder.tokenizer
        self.stops = stops
        self.ends = end_ids(model, encoder)
        self._pieces: dict[int, str] = {}
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    def run(
        self,
        prompts: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        prefix: Prefix | None = None,
        *,
        plain: bool = False,
    ) -> list[str]:
        """Answers to ``prompts`` (token ids, none empty) after ``prefix``; ``plain``: with the model's own cache."""
        device = input_device(self.model)
        longest = max(len(prompt) for prompt in prompts)
        filler = min(self.ends, default=0)
        ids = torch.tensor([[filler] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        mask = (torch.arange(longest, device=device) >= longest - lengths[:, None]).long()  # [rows, length]
        before = prefix.length if prefix else 0
        positions = (mask.cumsum(1) - 1).clamp_min(0) + before
        mask = torch.nn.functional.pad(mask, (before, 0), value=1)  # [rows, before + length]
        cache = None if plain else growing_cache(prefix, longest + max_new_tokens)
        active = list(range(len(prompts)))  # the prompt that each row of the batch belongs to
        generated: list[list[int]] = [[] for _ in prompts]
        finished = [False] * len(prompts)
        for step in range(max_new_tokens):
            arguments = {"position_ids": positions} if self._takes_positions else {}
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                **arguments,
                **self._last_only,
            )
            cache = output.past_key_values
            chosen = output.logits[:, -1].argmax(dim=-1)  # [rows]
            for index, token in zip(active, chosen.tolist(), strict=True):
                if not finished[index]:
                    finished[index] = self._take(generated[index], token, self.stops[index])
            left = [row for row, index in enumerate(active) if not finished[index]]
            if not left or step == max_new_tokens - 1:
                break
            positions = positions[:, -1:] + 1
            if len(left) < COMPACT_BELOW * len(active) and hasattr(cache, "batch_select_indices"):
                rows = torch.tensor(left, device=device)
                cache.batch_select_indices(rows)
                chosen, mask, positions = chosen[rows], mask[rows], positions[rows]
                active = [active[row] for row in left]
            ids = chosen[:, None]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        return [cut_answer(self._text(tokens), stop) for tokens, stop in zip(generated, self.stops, strict=True)]

    def _take(self, tokens: list[int], token: int, stop: str) -> bool:
        """Append ``token`` to an answer and tell whether that ends it."""
        if token in self.ends:
            return True
        tokens.append(token)
        return bool(stop) and self._may_end(token, stop) and stop in self._text(tokens).lstrip()

    def _may_end(self, token: int, stop: str) -> bool:
        """Whether ``token`` can complete ``stop``: a look at one token spares decoding the answer at each step."""
        last = stop[-1]
        if not last.isascii() or last == " ":
            return True  # may be spread over several tokens, or be lost when a token is decoded alone
        if token not in self._pieces:
            self._pieces[token] = self._text([token])
        return last in self._pieces[token]

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def cut_answer(text: str, stop: str) -> str:
    """The answer in a generated ``text``: up to ``stop``, without surrounding white space.

    A stop string within the white space before the answer does not end it: a model that starts a new line first has
    not yet answered.
    """
    text = text.lstrip()
    return (text.partition(stop)[0] if stop else text).strip()


def end_ids(model: Any, encoder: Encoder) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's end-of-text token and those that the model's settings name."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = list(named) if isinstance(named, (list, tuple)) else [named]
    return frozenset(int(token) for token in [*ids, encoder.tokenizer.eos_token_id] if token is not None)
