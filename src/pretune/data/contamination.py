"""Overlap of evaluated rows with a text: word n-grams that both contain.

Words are runs of letters and digits in lower case. Of each row all n-grams of its input and answer are looked up in the
text; a row with fewer than n words is looked up as a whole, if it has at least :data:`SHORTEST` words. An n-gram
touches the answer when at least one of its words is the answer's: only those give away what is scored (n = 13 as in
Brown et al. 2020, appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pretune.data.examples import Example

SHORTEST = 6
"""Words that a row must have to be looked up: shorter texts occur by chance."""

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What of one row is found: ``found`` of ``total`` n-grams, ``answer_found`` of the ``answer_total`` that touch the
    answer. ``total`` is 0 for a row that is too short.
    """

    id: str
    found: int
    total: int
    answer_found: int
    answer_total: int
    passage: str = ""
    """The longest run of words of the row that is found."""

    @property
    def share(self) -> float:
        """Share of the row's n-grams that are found."""
        return self.found / self.total if self.total else 0.0


def words_of(text: str) -> Words:
    """Words of a text: lower case, letters and digits only."""
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def row_words(example: Example) -> tuple[Words, int]:
    """Words of a row's input and answer, and the number of those of the input."""
    if example.turns:
        asked = " ".join(turn.text for turn in example.turns[:-1])
    else:
        asked = " ".join(text for name, text in example.fields.items() if not name.startswith("listing"))
    before = words_of(asked)
    return before + words_of(example.target), len(before)


def find_overlaps(examples: Sequence[Example], texts: Iterable[str], *, n: int) -> list[Overlap]:
    """Look up the n-grams of every example in ``texts``, which are read once and not kept."""
    rows = [row_words(example) for example in examples]
    sizes = [min(n, len(words)) if len(words) >= min(SHORTEST, n) else 0 for words, _ in rows]
    wanted: set[Words] = set()
    for (words, _), size in zip(rows, sizes, strict=True):
        wanted.update(grams(words, size))
    found: set[Words] = set()
    lengths = sorted({size for size in sizes if size})
    for text in texts:
        words = words_of(text)
        for size in lengths:
            found.update(wanted.intersection(grams(words, size)))
    return [
        describe(example.id, words, before, size, found)
        for example, (words, before), size in zip(examples, rows, sizes, strict=True)
    ]


def grams(words: Words, size: int) -> list[Words]:
    """All runs of ``size`` words; none for size 0."""
    return [words[start : start + size] for start in range(len(words) - size + 1)] if size else []


def describe(row_id: str, words: Words, before: int, size: int, found: set[Words]) -> Overlap:
    """Count what of a row was found."""
    hits = [gram in found for gram in grams(words, size)]
    answer = [hit for start, hit in enumerate(hits) if start + size > before]
    best, run = (0, 0), 0
    for start, hit in enumerate(hits):
        run = run + 1 if hit else 0
        if run > best[1]:
            best = (start - run + 1, run)
    passage = " ".join(words[best[0] : best[0] + best[1] - 1 + size]) if best[1] else ""
    return Overlap(
        id=row_id,
        found=sum(hits),
        total=len(hits),
        answer_found=sum(answer),
        answer_total=len(answer),
        passage=passage,
    )
