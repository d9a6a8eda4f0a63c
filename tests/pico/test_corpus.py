"""Pre-training documents."""

from __future__ import annotations

from itertools import islice

import pytest

from pretune.pico.corpus import documents, held_out_documents
from pretune.pico.lexicon import corpus_words

LABELS = {"entailment", "neutral", "contradiction", "same", "different", "yes", "no"}


def test_equal_seeds_give_equal_documents() -> None:
    assert list(islice(documents(seed=3), 50)) == list(islice(documents(seed=3), 50))
    assert list(islice(documents(seed=3), 50)) != list(islice(documents(seed=4), 50))


def test_documents_use_the_words_of_the_corpus_and_no_label() -> None:
    words = {word for text in islice(documents(seed=0), 2000) for word in text.split(" ")}
    assert words == set(corpus_words())
    assert not words & LABELS


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_documents_are_not_in_training(seed: int) -> None:
    held = held_out_documents(200)
    assert len(set(held)) == 200
    assert held == held_out_documents(200)
    assert not set(held) & set(islice(documents(seed=seed), 3000))
    beginnings = {text.split(" . ")[0] for text in held}
    assert not beginnings & {text.split(" . ")[0] for text in islice(documents(seed=seed), 3000)}
