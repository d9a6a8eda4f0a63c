"""The word-level tokenizer."""

from __future__ import annotations

from pathlib import Path

from pretune.pico.lexicon import corpus_words
from pretune.pico.tokenizer import EOS, PAD, UNK, build_tokenizer, vocabulary


def test_vocabulary_is_dense_and_begins_with_the_special_tokens() -> None:
    words = vocabulary()
    assert list(words.values()) == list(range(len(words)))
    assert list(words)[:3] == [EOS, PAD, UNK]
    assert set(corpus_words()) <= set(words)


def test_offsets_point_into_the_text_as_given() -> None:
    text = "The  small ROBIN\nstayed ."
    batch = build_tokenizer()(text, return_offsets_mapping=True)
    assert [text[start:end] for start, end in batch["offset_mapping"]] == ["The", "small", "ROBIN", "stayed", "."]
    assert build_tokenizer().decode(batch["input_ids"]) == "the small robin stayed ."


def test_unknown_words_become_unk() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer("small zebra")["input_ids"][1] == tokenizer.unk_token_id


def test_round_trip_through_a_folder(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "the small robin stayed near the garden ."
    assert again.is_fast
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (again.eos_token, again.pad_token, again.unk_token) == (EOS, PAD, UNK)
    assert again.get_vocab() == tokenizer.get_vocab()
