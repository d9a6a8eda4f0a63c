"""Loss on the replies of conversations: exactly the tokens that ``stage=instruct`` trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Exchange
from pretune.evaluation.forward import Budget, evaluating, find_capabilities, score_layout
from pretune.evaluation.layout import Branching, Layout
from pretune.evaluation.text_loss import TextLoss


def score_conversations(
    model: Any,
    encoder: Encoder,
    conversations: Sequence[Sequence[Exchange]],
    *,
    batch_tokens: int | Budget | None = None,
) -> tuple[list[TextLoss], list[Encoded | None]]:
    """Loss on the replies of each conversation, the end-of-text token behind each reply included; and its tokens.

    Conversations whose first exchange does not fit have no tokens and no loss.
    """
    encoded = encoder.encode_conversations(conversations)
    fitting = [row for row in encoded if row is not None]
    firsts = [row.supervised()[0] for row in fitting]
    layout = Layout(
        [
            Branching(trunk=row.ids[:first], branches=(row.ids[first:],), starts=(0,))
            for row, first in zip(fitting, firsts, strict=True)
        ]
    )
    with evaluating(model):
        able = find_capabilities(model)
        scores = score_layout(model, layout, batch_tokens=batch_tokens, split_head=able.split_head)
    ends = np.cumsum(layout.counts)
    fitted = iter(zip(fitting, firsts, ends - layout.counts, strict=True))
    losses = []
    for row, conversation in zip(encoded, conversations, strict=True):
        if row is None:
            losses.append(TextLoss(nats=0.0, tokens=0, bytes=0))
            continue
        _, first, offset = next(fitted)
        learnt = np.array(row.supervised()) - first + offset
        replies = conversation[: len(row.spans)]
        losses.append(
            TextLoss(
                nats=float(-scores[learnt].sum()),
                tokens=len(learnt),
                bytes=sum(len(exchange.reply.encode()) for exchange in replies),
            )
        )
    return losses, encoded
