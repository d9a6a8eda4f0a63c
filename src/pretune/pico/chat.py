"""Rows of pico/chat: short instructions about the world, answered with yes or no."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from pretune.pico.facts import Fact, list_facts

NO, YES = 0, 1


WORDINGS: dict[str, tuple[str, ...]] = {
    "kind": ("is the {word} a {other} ?", "is every {word} a kind of {other} ?", "a {word} is a {other} , is it ?"),
    "synonym": ("does {word} mean {other} ?", "is {word} the same as {other} ?", "{word} means {other} , does it ?"),
    "opposite": (
        "is {word} the opposite of {other} ?",
        "are {word} and {other} opposites ?",
        "{word} is not {other} , is it ?",
    ),
}
"""Relation → the ways to ask for it in training and in the in-domain evaluation."""

FAR_WORDINGS: dict[str, tuple[str, ...]] = {
    "kind": ("would you say that the {word} is a {other} ?",),
    "synonym": ("would you say that {word} and {other} are the same ?",),
    "opposite": ("would you say that {word} is the opposite of {other} ?",),
}
"""Relation → ways to ask that occur in the out-of-domain evaluation only."""


def split_facts(split: str) -> list[Fact]:
    """Facts of one split: what evaluation asks about a word does not follow from anything that training asks."""
    facts = list_facts()
    groups = sorted({fact.group for fact in facts})
    rng = Random("pico chat facts")
    rng.shuffle(groups)
    training = set(groups[: len(groups) * 3 // 5])
    chosen = [fact for fact in facts if (fact.group in training) is (split == "train")]
    rng.shuffle(chosen)
    return chosen


def write_chat(split: str, wordings: dict[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split: each fact in each wording once with a true and once with a false answer.

    The first rows go once through all facts, so that a part of them is about as many facts as it can be.
    """
    rng = Random(f"pico chat {split}")
    facts = split_facts(split)
    for turn in range(max(map(len, wordings.values()))):
        for index, fact in enumerate(facts):
            ways = wordings[fact.relation]
            if turn >= len(ways):
                continue
            wording = ways[(turn + index) % len(ways)]
            for label, others in ((YES, fact.true), (NO, fact.false)):
                instruction = wording.format(word=fact.word, other=rng.choice(others))
                yield {"instruction": instruction, "label": label}
