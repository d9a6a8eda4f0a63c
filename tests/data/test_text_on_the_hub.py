"""Pre-training text that is streamed from the Hub: the same documents every time, and what is wrong is named."""

from __future__ import annotations

import dataclasses

import pytest

from pretune.config.science import Corpus, Recipe
from pretune.data.corpus import read_documents
from pretune.errors import DataError
from support.hub import parquet

ROWS = [{"text": f"document {number}" if number % 4 else "  ", "url": "x"} for number in range(12)]
CORPUS = Corpus(repo="owner/text", config="en")


@pytest.fixture
def served(hub):
    hub.add_dataset("owner/text", {"en": {"train": parquet(ROWS)}})


def read(**changes):
    return list(read_documents(Recipe(text="hub", corpus=dataclasses.replace(CORPUS, **changes))))


def test_documents_are_streamed_in_order_and_empty_ones_left_out(served):
    expected = [row["text"] for row in ROWS if row["text"].strip()]
    assert read() == read() == expected
    assert read(documents=3) == expected[:3]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"split": "tran"}, ["checkpoint.recipe.corpus: data set owner/text", "tran", "train"]),
        ({"column": "txt"}, ["checkpoint.recipe.corpus.column=txt", "text, url"]),
        ({"repo": "owner/none"}, ["pre-training text owner/none", "not found"]),
    ],
)
def test_what_is_wrong_is_named(served, changes, named):
    with pytest.raises(DataError) as caught:
        read(**changes)
    assert all(word in str(caught.value) for word in named), caught.value
