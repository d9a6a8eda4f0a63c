"""Log-likelihoods of given completions: every scorer of a row from one forward pass.

Prompt and completion are tokenised jointly, exactly as in training. Options that continue the same prompt tokens
are computed as branches of one sequence wherever the model allows it (:mod:`pretune.evaluation.forward`), else as
one sequence each; both are exact, and neither depends on what else is in the batch.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Prompt
from pretune.errors import DataError
from pretune.evaluation.forward import Budget, Capabilities, Progress, evaluating, find_capabilities, score_branches
from pretune.evaluation.layout import Branching


@dataclass(frozen=True, kw_only=True)
class OptionScores:
    """Likelihoods of the options of one row, each tuple in the order of ``Prompt.completions``.

    ``sum``: log-likelihood of the whole completion in nats. ``first_token``: log-probability of its first token.
    ``tokens``, ``bytes``: its length. ``ambiguous``: whether another option starts with the same token, so that
    ``first_token`` cannot tell them apart. ``constrained``: 0 for the option that greedy decoding among the options
    arrives at, for others minus the number of tokens in which they part from it (:func:`follow_options`).
    ``unconditional``: log-likelihood of the completion as a text of its own (:func:`score_alone`; empty: not
    measured). ``cut``: tokens removed from the body of the prompt to make it fit. An empty completion is certain:
    0 nats.
    """

    sum: tuple[float, ...]
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    first_token: tuple[float, ...]
    ambiguous: tuple[bool, ...]
    constrained: tuple[float, ...]
    unconditional: tuple[float, ...] = ()
    cut: int = 0

    @property
    def per_token(self) -> tuple[float, ...]:
        """``sum`` divided by the number of tokens."""
        return tuple(score / max(length, 1) for score, length in zip(self.sum, self.tokens, strict=True))

    @property
    def per_byte(self) -> tuple[float, ...]:
        """``sum`` divided by the number of bytes: comparable between tokenizers."""
        return tuple(score / max(length, 1) for score, length in zip(self.sum, self.bytes, strict=True))

    @property
    def pmi(self) -> tuple[float, ...]:
        """What the prompt adds to the log-likelihood of the option: pointwise mutual information, in nats."""
        return tuple(score - alone for score, alone in zip(self.sum, self.unconditional, strict=True))


def score_options(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    *,
    batch_tokens: int | Budget | None = None,
    on_progress: Progress | None = None,
) -> list[OptionScores]:
    """Score all completions of ``prompts``; batches hold about ``batch_tokens`` tokens, padding included
    (``None``: what suits the device).

    Raises :class:`DataError` when a prompt does not fit into the context even without its body.
    """
    rows = encode_options(encoder, prompts)
    branchings = [branching for options in rows for branching in branch_out(options, encoder)]
    with evaluating(model):
        able = find_capabilities(model)
        parts = [part for branching in branchings for part in divide(branching, able)]
        # branches are numbered through in the order of rows and options, split or not
        scored = iter(score_branches(model, parts, able, batch_tokens=batch_tokens, on_progress=on_progress))
    result = []
    for prompt, options in zip(prompts, rows, strict=True):
        logs = [next(scored) for _ in options]
        result.append(
            OptionScores(
                sum=tuple(float(log.sum()) for log in logs),
                tokens=tuple(len(option.completion) for option in options),
                bytes=tuple(len(completion.encode()) for completion in prompt.completions),
                first_token=tuple(float(log[0]) if len(log) else 0.0 for log in logs),
                ambiguous=find_ambiguous(options),
                constrained=follow_options(options, logs),
                cut=max((option.cut for option in options), default=0),
            )
        )
    return result


def score_alone(
    model: Any, encoder: Encoder, prompts: Sequence[Prompt], *, batch_tokens: int | Budget | None = None
) -> list[tuple[float, ...]]:
    """Log-likelihood, in nats, of each completion of ``prompts`` where a document begins, without its prompt.

    Every distinct completion is scored once: the labels of a classification task cost next to nothing.
    """
    texts = list(dict.fromkeys(text for prompt in prompts for text in prompt.completions))
    alone = score_options(
        model,
        encoder,
        [Prompt(text="", completions=(text,), gold=0) for text in texts],
        batch_tokens=batch_tokens,
    )
    of_text = {text: score.sum[0] for text, score in zip(texts, alone, strict=True)}
    return [tuple(of_text[text] for text in prompt.completions) for prompt in prompts]


def encode_options(encoder: Encoder, prompts: Sequence[Prompt]) -> list[list[Encoded]]:
    """Tokenise every completion of every prompt behind its prompt, all in one call of the tokenizer.

    Where a prompt had to be shortened it is shortened for all options as for the longest: they are compared
    after the same text.
    """
    pairs = [(prompt, completion) for prompt in prompts for completion in prompt.completions]
    encoded = iter(encoder.encode_many(pairs))
    rows = [[next(encoded) for _ in prompt.completions] for prompt in prompts]
    for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        if len(row) > 1 and any(option.cut for option in row):
            longest = max(len(option.completion) for option in row)
            rows[index] = [
                with_max_length(encoder, encoder.max_length - longest + len(option.completion)).encode(
                    prompt, completion
                )
                for completion, option in zip(prompt.completions, row, strict=True)
            ]
    return rows


def with_max_length(encoder: Encoder, max_length: int) -> Encoder:
    """The same encoder for sequences of at most ``max_length`` tokens."""
    resized = copy(encoder)
    resized.max_length = max_length
    return resized


def branch_out(options: Sequence[Encoded], encoder: Encoder) -> list[Branching]:
    """Join the options of a row where their tokens agree, at most up to where the first completion begins.

    The first token of a text has no prediction, so where nothing precedes a completion the token that separates
    documents is put before all options of the row. Options that do not even begin alike stay apart.
    """
    lead: tuple[int, ...] = ()
    shared = min(option.context for option in options)
    if shared == 0:
        lead = (separator_id(encoder),)
    first = options[0].ids[:shared]
    for option in options[1:]:
        if option.ids[:shared] != first:
            shared = next(i for i, (a, b) in enumerate(zip(first, option.ids, strict=False)) if a != b)
            first = first[:shared]
    if not lead and not shared:
        return [
            Branching(trunk=option.ids[: option.context], branches=(option.completion,), starts=(0,))
            for option in options
        ]
    joined = Branching(
        trunk=lead + first,
        branches=tuple(option.ids[shared:] for option in options),
        starts=tuple(option.context - shared for option in options),
    )
    return [joined]


def divide(branching: Branching, able: Capabilities) -> list[Branching]:
    """The branching as it is if the model can take it as a tree, else one sequence per option."""
    if able.tree and able.fit(branching.length):
        return [branching]
    return branching.split()


def separator_id(encoder: Encoder) -> int:
    """The token that stands before a text: end-of-text, as between documents in pre-training, else its begin."""
    for token in (encoder.tokenizer.eos_token_id, encoder.tokenizer.bos_token_id):
        if token is not None:
            return int(token)
    raise DataError("the first token of a text cannot be scored: the tokenizer has no end-of-text or begin token")


def find_ambiguous(options: Sequence[Encoded]) -> tuple[bool, ...]:
    """Which options share their first token with another one (after the same prompt tokens)."""
    heads = [(option.context, option.ids[option.context]) if option.completion else None for option in options]
    counts = Counter(heads)
    return tuple(head is not None and counts[head] > 1 for head in heads)


def follow_options(options: Sequence[Encoded], logs: Sequence[npt.NDArray[np.float64]]) -> tuple[float, ...]:
    """Decode greedily among ``options``, whose tokens have the log-probabilities ``logs``; see ``OptionScores``.

    At each step the most likely of the tokens that continue an option is taken, and the first option that is
    complete is the answer. Nothing but the scored tokens is needed for that: they are all tokens it can meet.
    """
    left, depth = list(range(len(options))), 0
    while all(len(options[number].completion) > depth for number in left):
        best = max(left, key=lambda number: float(logs[number][depth]))
        step = (options[best].context, options[best].completion[depth])
        left = [number for number in left if (options[number].context, options[number].completion[depth]) == step]
        depth += 1
    answer = options[next(number for number in left if len(options[number].completion) == depth)]
    return tuple(-float(depth + len(option.completion) - 2 * common_tokens(option, answer)) for option in options)


def common_tokens(option: Encoded, other: Encoded) -> int:
    """How many tokens two completions begin with in common, after prompts of the same length."""
    if option.context != other.context:
        return 0
    pairs = zip(option.completion, other.completion, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
