from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.evaluation.text_loss import score_texts
from support.models import SENTENCES, close, make_encoder, make_model

TEXTS = [SENTENCES[0], "", "☃ unicode é", " ".join(SENTENCES[1:6]), "x"]


def direct_loss(model, encoder, text: str, window: int, stride: int) -> float:
    """Each token once: by the first window, in order of their starts, whose input ends before it or later."""
    ids = [encoder.tokenizer.eos_token_id, *encoder.tokenizer(text)["input_ids"]]
    total, done, start = 0.0, 1, 0
    while done < len(ids):
        piece = ids[start : start + window]
        with torch.inference_mode():
            logs = model(torch.tensor([piece])).logits[0].double().log_softmax(-1)
        last = min(start + window, len(ids) - 1)
        for target in range(done, last + 1):
            total -= logs[target - 1 - start, ids[target]].item()
        done, start = last + 1, start + stride
    return total


@pytest.mark.parametrize(("window", "stride"), [(None, None), (16, 8), (16, 16), (7, 3), (5, 1)])
@pytest.mark.parametrize("name", ["olmo", "neox", "mistral"])
def test_equals_a_direct_computation(name, window, stride):
    model, encoder = make_model(name), make_encoder()
    found = score_texts(model, encoder, TEXTS, window=window, stride=stride)
    for text, loss in zip(TEXTS, found, strict=True):
        width = window or encoder.max_length
        assert close(loss.nats, direct_loss(model, encoder, text, width, stride or width // 2))
        assert loss.tokens == len(encoder.tokenizer(text)["input_ids"])
        assert loss.bytes == len(text.encode())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.permutations(range(len(TEXTS))), st.sampled_from([1, 40, 10_000]))
def test_does_not_depend_on_batch_or_order(order, batch_tokens):
    model, encoder = make_model(), make_encoder()
    whole = score_texts(model, encoder, TEXTS, window=16)
    again = score_texts(model, encoder, [TEXTS[i] for i in order], window=16, batch_tokens=batch_tokens)
    assert all(close(loss.nats, whole[index].nats) for loss, index in zip(again, order, strict=True))


def test_an_untrained_model_loses_the_log_of_its_vocabulary():
    model = make_model(std=1e-6)
    loss = score_texts(model, make_encoder(), TEXTS[:1])[0]
    assert loss.nats / loss.tokens == pytest.approx(math.log(400), abs=1e-3)


def test_windows_are_checked():
    with pytest.raises(ValueError, match="stride=9"):
        score_texts(make_model(), make_encoder(), TEXTS, window=8, stride=9)
    assert score_texts(make_model(), make_encoder(), []) == []


def token_by_token(model, encoder, text: str, window: int, stride: int) -> float:
    """One forward pass for each token, over exactly what the window that counts it has read before it."""
    ids = [encoder.tokenizer.eos_token_id, *encoder.tokenizer(text)["input_ids"]]
    total = 0.0
    for target in range(1, len(ids)):
        start = 0 if target <= window else stride * math.ceil((target - window) / stride)
        with torch.inference_mode():
            logits = model(torch.tensor([ids[start:target]])).logits[0, -1].double()
        total -= logits.log_softmax(-1)[ids[target]].item()
    return total


@pytest.mark.parametrize("words", [0, 1, 2, 5, 6, 7, 8, 13, 40])
@pytest.mark.parametrize("stride", [1, 2, 5, 6])
def test_documents_shorter_and_longer_than_the_window_token_by_token(words, stride):
    model, encoder = make_model(), make_encoder()
    ids = encoder.tokenizer(" ".join(SENTENCES[:6]))["input_ids"][:words]
    text = encoder.tokenizer.decode(ids)
    (loss,) = score_texts(model, encoder, [text], window=6, stride=stride)
    assert close(loss.nats, token_by_token(model, encoder, text, 6, stride))
    assert loss.tokens == len(encoder.tokenizer(text)["input_ids"])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30), st.integers(1, 9), st.integers(0, 8))
def test_any_text_token_by_token_with_its_bytes(text, window, overlap):
    model, encoder = make_model(), make_encoder()
    stride = max(window - overlap, 1)
    (loss,) = score_texts(model, encoder, [text], window=window, stride=stride)
    assert close(loss.nats, token_by_token(model, encoder, text, window, stride))
    assert loss.bytes == len(text.encode("utf-8"))
    assert loss.tokens == len(encoder.tokenizer(text)["input_ids"])
