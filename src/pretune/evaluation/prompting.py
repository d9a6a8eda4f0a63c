"""Prompts that fit: examples after as many of their shots as the context has room for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoder
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render

logger = logging.getLogger(__name__)


def render_fitting(
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    task: Task,
    format_: Format,
    shots: Sequence[Example],
    reserve: int = 0,
) -> tuple[list[Prompt], list[int]]:
    """Put ``examples`` into words after ``shots``; return the prompts and how many shots each of them lost.

    Where prompt, longest completion and ``reserve`` tokens for an answer are too long together, whole shots go
    first, from the front; what is still too long without any is left to the encoder, which shortens the body.
    """
    prompts = [render(example, format_, task, shots=shots) for example in examples]
    dropped = [0] * len(prompts)
    room = encoder.max_length - len(encoder.bos) - reserve
    # a token stands for at least one byte, so a short text needs no counting
    unsure = [i for i, prompt in enumerate(prompts) if shots and len(longest_text(prompt).encode()) > room]
    for count in range(1, len(shots) + 1):
        if not unsure:
            break
        texts = [longest_text(prompts[index]) for index in unsure]
        lengths = [len(ids) for ids in encoder.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]
        unsure = [index for index, length in zip(unsure, lengths, strict=True) if length > room]
        for index in unsure:
            prompts[index] = render(examples[index], format_, task, shots=shots[count:])
            dropped[index] = count
    if any(dropped):
        logger.warning(
            "task=%s format=%s: %d of %d prompts lost shots to fit into %d tokens",
            task.name, format_.name, sum(count > 0 for count in dropped), len(prompts), encoder.max_length,
        )  # fmt: skip
    return prompts, dropped


def longest_text(prompt: Prompt) -> str:
    """The prompt with its longest completion."""
    return prompt.text + max(prompt.completions, key=len)
