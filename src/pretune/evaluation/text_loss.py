"""Loss on plain text, by windows that slide over each document.

A document is its tokens behind one separator: the end-of-text token, as between documents in pre-training, so that
the first token of the document is predicted too. Each window reads at most ``window`` tokens and starts ``stride``
tokens after the previous one; it counts the tokens that no window before it has predicted. So each token is counted
once, and but for the beginning of a document it is predicted from at least ``window - stride`` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pretune.data.encoding import Encoder
from pretune.evaluation.forward import Budget, evaluating, find_capabilities, score_layout
from pretune.evaluation.layout import Branching, Layout
from pretune.evaluation.likelihood import separator_id


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """Loss on one document: ``nats`` in total over ``tokens`` tokens, which stand for ``bytes`` bytes of UTF-8."""

    nats: float
    tokens: int
    bytes: int


def score_texts(
    model: Any,
    encoder: Encoder,
    texts: Sequence[str],
    *,
    window: int | None = None,
    stride: int | None = None,
    batch_tokens: int | Budget | None = None,
) -> list[TextLoss]:
    """Loss on each of ``texts``; see :func:`choose_windows` for the defaults.

    An empty text has no tokens and no loss.
    """
    window, stride = choose_windows(encoder, window, stride)
    separator = (separator_id(encoder),)
    batch = encoder.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    branchings: list[Branching] = []
    document_of: list[int] = []
    for document, ids in enumerate(batch):
        for branching in slide(separator + tuple(ids), window, stride):
            branchings.append(branching)
            document_of.append(document)
    layout = Layout(branchings)
    with evaluating(model):
        able = find_capabilities(model)
        scores = score_layout(model, layout, batch_tokens=batch_tokens, split_head=able.split_head)
    owners = np.array(document_of, dtype=np.int64)[layout.branch_of]
    nats = np.bincount(owners, weights=-scores, minlength=len(texts))
    return [
        TextLoss(nats=float(total), tokens=len(ids), bytes=len(text.encode()))
        for total, ids, text in zip(nats, batch, texts, strict=True)
    ]


def choose_windows(encoder: Encoder, window: int | None, stride: int | None) -> tuple[int, int]:
    """Window and stride in tokens: the encoder's longest sequence, and half of the window."""
    window = encoder.max_length if window is None else window
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= stride <= window:
        raise ValueError(f"stride={stride}: must lie between 1 and the window of {window} tokens")
    return window, stride


def slide(ids: tuple[int, ...], window: int, stride: int) -> list[Branching]:
    """Windows over ``ids`` (separator first); the branch of each holds the tokens that are counted there."""
    branchings = []
    start, counted = 0, 1
    while counted < len(ids):
        # a window reads `window` tokens; the one after them is predicted without being read
        stop = min(start + window + 1, len(ids))
        branchings.append(Branching(trunk=ids[start:counted], branches=(ids[counted:stop],), starts=(0,)))
        start, counted = start + stride, stop
    return branchings
