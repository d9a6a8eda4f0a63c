"""Prompts that fit: examples after as many of their shots as the context has room for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoder
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render

logger = logging.getLogger(__name__)

Shots = Sequence[Example] | Sequence[Sequence[Example]]
"""The same shots for all rows, or the shots of each row."""


def render_fitting(
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    task: Task,
    format_: Format,
    shots: Shots,
    reserve: int = 0,
) -> tuple[list[Prompt], list[int]]:
    """Put ``examples`` into words after ``shots``; return the prompts and how many shots each of them lost.

    A prompt fits when it does with each of its completions, and with ``reserve`` tokens for an answer of the model.
    While it does not, whole shots go, from the front; what is still too long without any is left to the encoder, which
    shortens the body.
    """
    before = shots_of_rows(shots, len(examples))
    prompts = [render(example, format_, task, shots=own) for example, own in zip(examples, before, strict=True)]
    dropped = [0] * len(prompts)
    unsure = [index for index, own in enumerate(before) if own and may_not_fit(encoder, prompts[index], reserve)]
    while unsure:
        lengths = measure(encoder, [prompts[index] for index in unsure], reserve)
        unsure = [
            index
            for index, length in zip(unsure, lengths, strict=True)
            if length > encoder.max_length and dropped[index] < len(before[index])
        ]
        for index in unsure:
            dropped[index] += 1
            prompts[index] = render(examples[index], format_, task, shots=before[index][dropped[index] :])
    if any(dropped):
        logger.warning(
            "task=%s format=%s: %d of %d prompts lost shots to fit into %d tokens",
            task.name, format_.name, sum(count > 0 for count in dropped), len(prompts), encoder.max_length,
        )  # fmt: skip
    return prompts, dropped


def shots_of_rows(shots: Shots, rows: int) -> Sequence[Sequence[Example]]:
    """The shots of each of ``rows`` rows."""
    if shots and not isinstance(shots[0], Example):
        if len(shots) != rows:
            raise ValueError(f"shots of {len(shots)} rows were given for {rows} rows")
        return cast(Sequence[Sequence[Example]], shots)
    return [cast(Sequence[Example], shots)] * rows


def may_not_fit(encoder: Encoder, prompt: Prompt, reserve: int) -> bool:
    """Whether the tokens must be counted: a token stands for at least one character of ASCII text, or begins it."""
    longest = max(map(len, prompt.completions))
    safe = len(prompt.text) + max(longest, reserve) + 1 + len(encoder.bos) <= encoder.max_length
    return not (safe and prompt.text.isascii() and all(map(str.isascii, prompt.completions)))


def measure(encoder: Encoder, prompts: Sequence[Prompt], reserve: int) -> list[int]:
    """Tokens that each prompt needs, with its longest completion or with ``reserve`` tokens, whichever is more."""
    texts = [prompt.text + completion for prompt in prompts for completion in ("", *prompt.completions)]
    counted = iter(map(len, encoder.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]))
    lengths = []
    for prompt in prompts:
        alone = next(counted) + reserve
        lengths.append(len(encoder.bos) + max(alone, *(next(counted) for _ in prompt.completions)))
    return lengths
