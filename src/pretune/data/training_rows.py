"""Token rows to train on, for every kind of answer: the same words and tokens that an evaluation scores."""

from __future__ import annotations

from collections.abc import Sequence

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Example
from pretune.data.rendering import render, render_conversation


def encode_training_rows(
    encoder: Encoder, examples: Sequence[Example], *, task: Task, format_: Format
) -> list[Encoded]:
    """Encode examples for training, at most ``encoder.max_length`` tokens each.

    A prompt is followed by its right answer and the end-of-text token, which are learnt; of a conversation all replies
    are; of a plain text everything is. Conversations whose first exchange is too long are left out.
    """
    if task.answer == "chat":
        rows = encoder.encode_conversations([render_conversation(example, format_, task) for example in examples])
        return [row for row in rows if row is not None]
    if task.answer == "language":
        return encoder.encode_texts([example.target for example in examples])
    prompts = [render(example, format_, task) for example in examples]
    return encoder.encode_many([(prompt, prompt.completions[prompt.gold]) for prompt in prompts], end=True)
