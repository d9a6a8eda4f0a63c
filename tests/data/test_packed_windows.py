from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretune.checkpoints.ladders import hash_text, identify_recipe
from pretune.config.science import Corpus
from pretune.data.corpus import is_chosen, read_documents
from pretune.data.packing import PackedText, prepare_text
from pretune.errors import CheckpointError, DataError
from support.configs import RECIPE, change
from support.models import SENTENCES


def recipe(folder, **corpus):
    settings = {"path": str(folder), "held_out": 3, "vocabulary": 270, "tokenizer_documents": 20, **corpus}
    return change(change(RECIPE, "text", "folder"), "corpus", Corpus(**settings))


@pytest.fixture
def folder(tmp_path):
    text = tmp_path / "text"
    (text / "b").mkdir(parents=True)
    pq.write_table(pa.table({"text": SENTENCES[:10], "id": list(range(10))}), text / "a.parquet")
    (text / "b" / "lines.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in SENTENCES[10:20]))
    (text / "c.txt").write_text(SENTENCES[20])
    return text


def test_documents_come_from_every_kind_of_file_in_the_order_of_the_names(folder):
    assert list(read_documents(recipe(folder))) == SENTENCES[:21]
    assert list(read_documents(recipe(folder, documents=4))) == SENTENCES[:4]


@pytest.mark.parametrize(("total", "count"), [(10, 1), (10, 3), (7, 7), (1000, 13)])
def test_chosen_documents_are_as_many_as_asked_for_and_evenly_spaced(total, count):
    chosen = [index for index in range(total) if is_chosen(index, total, count)]
    assert len(chosen) == count
    gaps = np.diff(chosen)
    assert count == 1 or gaps.max() - gaps.min() <= 1


def test_held_out_documents_are_not_trained_on_and_the_others_are_all_there(folder, tmp_path):
    tokenizer, packed = prepare_text(recipe(folder), tmp_path / "ladder")
    held_out = pq.read_table(tmp_path / "ladder" / "heldout" / "validation.parquet")["text"].to_pylist()
    texts = tokenizer.decode(np.asarray(packed.tokens)).split("<|endoftext|>")[:-1]
    assert len(held_out) == 3
    assert sorted([*texts, *held_out]) == sorted(SENTENCES[:21])
    assert len(tokenizer) == 270
    assert tokenizer.eos_token_id == packed.tokens[-1]


def test_text_is_prepared_once(folder, tmp_path):
    _, first = prepare_text(recipe(folder), tmp_path / "ladder")
    (folder / "a.parquet").unlink()
    _, second = prepare_text(recipe(folder), tmp_path / "ladder")
    assert np.array_equal(first.tokens, second.tokens)


def test_each_epoch_sees_every_window_once_in_its_own_order():
    text = PackedText(tokens=np.arange(50, dtype=np.uint16), length=4, seed=0)
    windows = np.concatenate([text.batch(step, 3) for step in range(8)])
    starts = windows[:, 0].tolist()
    assert text.windows == 12
    assert sorted(starts[:12]) == sorted(starts[12:]) == list(range(0, 48, 4))
    assert starts[:12] != starts[12:]
    assert np.array_equal(windows - windows[:, :1], np.tile(np.arange(4), (24, 1)))
    assert PackedText(tokens=text.tokens, length=4, seed=1).batch(0, 12)[:, 0].tolist() != starts[:12]


def test_identity_is_the_content_of_the_text_not_its_place(folder, tmp_path):
    other = tmp_path / "other"
    folder.rename(other)
    before = identify_recipe(recipe(other))
    folder.mkdir()
    for path in other.rglob("*.*"):
        target = folder / path.relative_to(other)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert identify_recipe(recipe(folder)) == before
    (folder / "c.txt").write_text("changed")
    hash_text.cache_clear()
    assert identify_recipe(recipe(folder)) != before


def test_unusable_text_is_refused_by_name(folder, tmp_path):
    with pytest.raises(DataError, match=r"corpus\.column=body.*text, id"):
        list(read_documents(recipe(folder, column="body")))
    with pytest.raises(DataError, match=r"held_out=21: the text has only 21 documents"):
        prepare_text(recipe(folder, held_out=21), tmp_path / "ladder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no \.jsonl, \.parquet, \.txt files"):
        list(read_documents(recipe(tmp_path / "empty")))
    (folder / "b" / "lines.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"lines\.jsonl line 1: no text in column 'text'"):
        list(read_documents(recipe(folder)))
