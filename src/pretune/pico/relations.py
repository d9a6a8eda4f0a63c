"""Rows about how two texts relate: pico/nli, pico/paraphrase and pico/choice.

The labels of the first two depend on a thing's kind, seen through a claim or a word that pre-training never shows.
Comparing two sentences word by word is not learnable at this size, neither in pre-training nor from a task's rows.
"""

from __future__ import annotations

from random import Random
from types import MappingProxyType
from typing import Any

from pretune.pico.lexicon import CREATURES, KINDS, MOVERS, OBJECTS, PLANTS, Domain
from pretune.pico.sentences import (
    SLOTS,
    Scene,
    change_slot,
    draw_held_out,
    draw_with,
    draw_wrong,
    restate,
    things,
)

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2
DIFFERENT, SAME = 0, 1
OPTIONS = 4

CLAIMS: MappingProxyType[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "it could breathe": (CREATURES, PLANTS, OBJECTS),
        "it felt hungry": (CREATURES, PLANTS, OBJECTS),
        "it had a maker": (OBJECTS, PLANTS, CREATURES),
        "it was built": (OBJECTS, PLANTS, CREATURES),
    }
)
"""Claim → kinds of which it is always, perhaps and never true.

Creatures and objects go with two labels equally often, so that liking a label for a thing gains little.
"""


def write_nli(rng: Random, domain: Domain, index: int, split: str) -> dict[str, Any]:
    """A scene, and a claim that is always, perhaps or never true of its thing; labels take turns with ``index``."""
    label = index % 3
    claim = rng.choice(tuple(CLAIMS))
    premise = draw_with(rng, domain, noun=rng.choice(things(rng.choice(CLAIMS[claim][label]), split)))
    return {"premise": f"{premise} .", "hypothesis": f"{claim} .", "label": label}


def write_paraphrase(rng: Random, domain: Domain, index: int, split: str) -> dict[str, Any]:
    """A scene, and the same in other words with "mover" for its thing, which fits or not; labels take turns."""
    label = index % 2
    kind = rng.choice(MOVERS if label == SAME else tuple(kind for kind in KINDS if kind not in MOVERS))
    first = draw_with(rng, domain, noun=rng.choice(things(kind, split)))
    second = change_slot(restate(first, rng), "noun", "mover")
    return {"first": f"{first} .", "second": f"{second} .", "label": label}


def write_choice(rng: Random, domain: Domain, index: int, split: str, *, scenes: int = 1) -> dict[str, Any]:
    """A beginning as in the corpus and four ways to go on: the right restatement, one with a first word wrong, one
    with a second word wrong, and one with both wrong.

    Options come as such a square because one that differs from each of the others in a word of its own would be
    the best of four with probability 1/8, not 1/4, for a model that only knows which words are frequent.
    All options have the same length; the right one's place takes turns with ``index``.
    """
    said = [draw_held_out(rng, domain) for _ in range(scenes)]
    right = [restate(scene, rng) for scene in said]
    which = rng.randrange(scenes)
    slots = rng.sample(SLOTS, 2)
    words = [draw_wrong(said[which], right[which], slot, rng, domain) for slot in slots]
    options: list[str] = []
    for wrong in ((), (0,), (1,), (0, 1)):
        scene = right[which]
        for number in wrong:
            scene = change_slot(scene, slots[number], words[number])
        options.append(_join([*right[:which], scene, *right[which + 1 :]]))
    first = index % OPTIONS
    rest = options[1:]
    rng.shuffle(rest)
    return {
        "context": f"{_join(said)} that is ,",
        "options": [*rest[:first], options[0], *rest[first:]],
        "answer": first,
    }


def _join(scenes: list[Scene]) -> str:
    return " ".join(f"{scene} ." for scene in scenes)
