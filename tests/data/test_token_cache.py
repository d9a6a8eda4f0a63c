"""Rows are tokenised once for equal tokenizer, wording, length and content, and again when any of them differs."""

from __future__ import annotations

import pytest

from pretune.data.token_cache import TokenCache
from pretune.training.finetune import encode_rows
from support.configs import CONFIG, change
from support.models import make_tokenizer
from support.training import make_examples, make_padded_tokenizer


@pytest.fixture
def calls(monkeypatch):
    """Numbers of rows that were really tokenised."""
    from pretune.data.encoding import Encoder

    seen, encode = [], Encoder.encode_many
    monkeypatch.setattr(
        Encoder, "encode_many", lambda self, pairs, **how: seen.append(len(pairs)) or encode(self, pairs, **how)
    )
    return seen


def test_equal_rows_are_tokenised_once(calls):
    tokens, tokenizer, rows = TokenCache(), make_padded_tokenizer(), make_examples(6)
    first = encode_rows(rows, CONFIG, tokenizer, longest=128, tokens=tokens)
    other_rate = change(CONFIG, "optimizer.lr", 1e-3)
    again = encode_rows(list(rows), other_rate, make_padded_tokenizer(), longest=128, tokens=tokens)
    assert again == first == encode_rows(rows, CONFIG, tokenizer, longest=128)
    assert calls == [6, 6]  # the last call has no cache


@pytest.mark.parametrize(
    "how",
    [
        {"config": change(CONFIG, "format.templates.nli.prompt", "{premise} / {hypothesis} :")},
        {"longest": 64},
        {"tokenizer": make_tokenizer("word")},
        {"rows": make_examples(6, 3)},
    ],
    ids=lambda how: next(iter(how)),
)
def test_whatever_changes_the_tokens_is_tokenised_anew(calls, how):
    tokens = TokenCache()
    usual = {"config": CONFIG, "longest": 128, "tokenizer": make_padded_tokenizer(), "rows": make_examples(6)}
    for asked in (usual, usual | how):
        encode_rows(asked["rows"], asked["config"], asked["tokenizer"], longest=asked["longest"], tokens=tokens)
    assert calls == [6, 6]
