"""The tasks of the miniature, as a data set would hold them: rows by task and split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from random import Random
from types import MappingProxyType
from typing import Any

from pretune.errors import DataError, suggest
from pretune.pico.chat import FAR_WORDINGS, WORDINGS, write_chat
from pretune.pico.corpus import held_out_documents
from pretune.pico.lexicon import FAR, NEAR, Domain
from pretune.pico.relations import write_choice, write_nli, write_paraphrase
from pretune.pico.writing import write_question, write_summary

SPLITS = ("train", "test")

Row = dict[str, Any]
Writer = Callable[[Random, Domain, int, str], Row]
Stream = Callable[[str], Iterator[Row]]
"""A split's name → its rows, usually without end."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the rows of one task come from and how many each split holds."""

    stream: Stream
    inputs: tuple[str, ...]
    """Columns that make an item: two rows with equal inputs are the same item."""
    sizes: MappingProxyType[str, int]


def _draw(write: Writer, domain: Domain, split: str, *, name: str, inputs: tuple[str, ...]) -> Iterator[Row]:
    """Yield distinct rows without end, from a stream that is seeded by name and split.

    A row that repeats an item is drawn again at the same index, so that labels stay balanced.
    """
    rng = Random(f"{name} {split}")
    seen: set[tuple[str, ...]] = set()
    for index in count():
        while (item := tuple((row := write(rng, domain, index, split))[column] for column in inputs)) in seen:
            pass
        seen.add(item)
        yield row


def _source(
    name: str, write: Writer, domain: Domain, inputs: tuple[str, ...], *, train: int = 1200, test: int = 300
) -> Source:
    return Source(
        stream=partial(_draw, write, domain, name=name, inputs=inputs),
        inputs=inputs,
        sizes=MappingProxyType({"train": train, "test": test}),
    )


def _text(split: str) -> Iterator[Row]:
    """Held-out documents; the two splits take turns."""
    texts = held_out_documents(400)
    return ({"text": text} for text in texts[SPLITS.index(split) :: 2])


_PAIR, _TWO = ("premise", "hypothesis"), ("first", "second")

SOURCES: MappingProxyType[str, Source] = MappingProxyType(
    {
        "pico/nli": _source("pico/nli", write_nli, NEAR, _PAIR),
        "pico/nli_far": _source("pico/nli_far", write_nli, FAR, _PAIR),
        "pico/paraphrase": _source("pico/paraphrase", write_paraphrase, NEAR, _TWO),
        "pico/paraphrase_far": _source("pico/paraphrase_far", write_paraphrase, FAR, _TWO),
        "pico/summary": _source("pico/summary", write_summary, NEAR, ("document",)),
        "pico/summary_far": _source("pico/summary_far", write_summary, FAR, ("document",)),
        "pico/question": _source("pico/question", write_question, NEAR, ("context", "subject")),
        "pico/question_far": _source("pico/question_far", write_question, FAR, ("context", "subject")),
        "pico/choice": _source("pico/choice", write_choice, NEAR, ("context",)),
        "pico/choice_far": _source("pico/choice_far", partial(write_choice, scenes=2), FAR, ("context",)),
        "pico/chat": _source("pico/chat", partial(write_chat, wordings=WORDINGS), NEAR, ("instruction",)),
        "pico/chat_far": _source(
            "pico/chat_far", partial(write_chat, wordings=FAR_WORDINGS), FAR, ("instruction",), train=200, test=200
        ),
        "pico/text": Source(stream=_text, inputs=("text",), sizes=MappingProxyType({"train": 200, "test": 200})),
    }
)
"""Task → where its rows come from."""


def rows(name: str, split: str) -> list[Row]:
    """Return the rows of a task's split: column ``id`` and the task's own columns.

    Equal calls return equal rows; no item occurs twice, within a split or across splits. Raises
    :class:`DataError` for an unknown task or split.
    """
    if name not in SOURCES:
        raise DataError(f"task.name={name}: no such task of the miniature; {suggest(name, SOURCES)}")
    if split not in SPLITS:
        raise DataError(f"split={split}: {name} has no such split; {suggest(split, SPLITS)}")
    return [dict(row) for row in _build(name)[split]]


@cache
def _build(name: str) -> dict[str, list[Row]]:
    """Build all splits of a task at once, so that no item gets into two of them."""
    source = SOURCES[name]
    seen: set[tuple[str, ...]] = set()
    built: dict[str, list[Row]] = {}
    for split in SPLITS:
        kept: list[Row] = []
        for row in source.stream(split):
            item = tuple(row[column] for column in source.inputs)
            if item not in seen:
                seen.add(item)
                kept.append({"id": f"{split}-{len(kept)}", **row})
            if len(kept) == source.sizes[split]:
                break
        built[split] = kept
    return built
