"""Token rows to train on, for every kind of answer: the same words and tokens that an evaluation scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render, render_conversation
from pretune.errors import PromptTooLong

log = logging.getLogger(__name__)


def encode_training_rows(
    encoder: Encoder, examples: Sequence[Example], *, task: Task, format_: Format
) -> list[Encoded]:
    """Encode examples for training, at most ``encoder.max_length`` tokens each.

    A prompt is followed by its right answer and the end-of-text token, which are learnt; of a conversation all replies
    are; of a plain text everything is. Conversations whose first exchange is too long are left out, and so are prompts
    that do not fit even without their body.
    """
    if task.answer == "chat":
        rows = encoder.encode_conversations([render_conversation(example, format_, task) for example in examples])
        return [row for row in rows if row is not None]
    if task.answer == "language":
        return encoder.encode_texts([example.target for example in examples])
    prompts = [render(example, format_, task) for example in examples]
    pairs = [(prompt, prompt.completions[prompt.gold]) for prompt in prompts]
    try:
        return encoder.encode_many(pairs, end=True)
    except PromptTooLong as error:
        log.warning("%s; such rows are left out of the training", error)
    return [row for pair in pairs for row in encode_if_it_fits(encoder, pair)]


def encode_if_it_fits(encoder: Encoder, pair: tuple[Prompt, str]) -> list[Encoded]:
    """The encoded pair, or nothing."""
    try:
        return encoder.encode_many([pair], end=True)
    except PromptTooLong:
        return []
