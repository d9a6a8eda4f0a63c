"""Real text to pre-train on: documents of a folder or of the Hub, and those of them that are kept out of training."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from pretune.checkpoints.ladders import list_text_files
from pretune.config.science import Corpus, Recipe
from pretune.errors import DataError


def read_documents(recipe: Recipe) -> Iterator[str]:
    """Documents of the recipe's text, always the same in the same order; empty ones are left out.

    A ``.txt`` file is one document; rows of ``.parquet`` and ``.jsonl`` files are one each (``corpus.column``).
    """
    corpus = recipe.corpus
    texts = _read_folder(corpus) if recipe.text == "folder" else _read_hub(corpus)
    return itertools.islice((text for text in texts if text.strip()), corpus.documents)


def is_chosen(index: int, total: int, count: int) -> bool:
    """Whether document ``index`` of ``total`` is one of the ``count`` that are evenly spaced over all of them."""
    return (index + 1) * count // total > index * count // total


def _read_folder(corpus: Corpus) -> Iterator[str]:
    for path in list_text_files(str(corpus.path)):
        if path.suffix == ".txt":
            yield path.read_text(encoding="utf-8", errors="replace")
        elif path.suffix == ".parquet":
            yield from _read_parquet(path, corpus.column)
        else:
            yield from _read_json_lines(path, corpus.column)


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise DataError(f"checkpoint.recipe.corpus.column={column}: {path} has {', '.join(names)}")
            for batch in file.iter_batches(batch_size=256, columns=[column]):
                yield from (str(value) for value in batch.column(0).to_pylist() if value is not None)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _read_json_lines(path: Path, column: str) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield str(json.loads(line)[column])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} line {number}: no text in column '{column}' ({error})") from None


def _read_hub(corpus: Corpus) -> Iterator[str]:
    from datasets import load_dataset

    from pretune.checkpoints.hub import check_data_set, explain_hub_errors, patiently

    repo = str(corpus.repo)
    with explain_hub_errors(f"pre-training text {repo}", missing=DataError):
        check_data_set(repo, corpus.revision)
        try:
            rows = patiently(
                lambda: load_dataset(repo, corpus.config, split=corpus.split, revision=corpus.revision, streaming=True)
            )
        except ValueError as error:  # unknown configuration or split: the message lists the valid ones
            raise DataError(f"checkpoint.recipe.corpus: data set {repo}: {error}") from None
        for row in rows:
            if corpus.column not in row:
                raise DataError(f"checkpoint.recipe.corpus.column={corpus.column}: {repo} has {', '.join(row)}")
            yield str(row[corpus.column])
