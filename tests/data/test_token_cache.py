"""Rows are tokenised once for equal tokenizer, wording, length and content, and again when any of them differs."""

from __future__ import annotations

import os

import pytest

from pretune.data.encoding import Encoded
from pretune.data.token_cache import TokenCache, drop_oldest, pack_rows, read_rows
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


def encode(folder, rows=None, tokens=None):
    rows = make_examples(6) if rows is None else rows
    return encode_rows(rows, CONFIG, make_padded_tokenizer(), longest=128, tokens=tokens or TokenCache(folder))


def test_another_process_reads_the_tokens_from_disk(calls, tmp_path):
    first = encode(tmp_path)
    assert encode(tmp_path) == first
    assert calls == [6]
    assert len(list((tmp_path / "tokens").iterdir())) == 1


@pytest.mark.parametrize("harm", [lambda b: b[:-7], lambda b: b[:90] + bytes([b[90] ^ 4]) + b[91:], lambda b: b""])
def test_a_damaged_file_is_named_set_aside_and_made_again(calls, tmp_path, caplog, harm):
    first = encode(tmp_path)
    (path,) = (tmp_path / "tokens").iterdir()
    path.write_bytes(harm(path.read_bytes()))
    assert encode(tmp_path) == first
    assert calls == [6, 6]
    assert "was damaged: set aside" in caplog.text
    assert path.name in caplog.text
    assert {item.suffix.partition("-")[0] for item in path.parent.iterdir()} == {".npz", ".damaged"}
    assert encode(tmp_path) == first
    assert calls == [6, 6]


def test_a_folder_that_cannot_be_written_costs_a_warning_only(calls, tmp_path, caplog):
    (tmp_path / "tokens").write_text("in the way")
    assert len(encode(tmp_path)) == 6
    assert "tokens are not kept on disk" in caplog.text


def test_files_unused_for_longest_go_first(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    drop_oldest(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_conversations_keep_their_spans(tmp_path):
    rows = [Encoded(ids=(1, 2, 3, 4), context=1, cut=2, spans=((1, 2), (3, 4))), Encoded(ids=(5,), context=0)]
    (tmp_path / "x.npz").write_bytes(pack_rows(rows))
    assert read_rows(tmp_path / "x.npz") == rows
    assert read_rows(tmp_path / "none.npz") is None
