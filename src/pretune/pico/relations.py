"""Rows about how two texts relate: pico/nli, pico/paraphrase and pico/choice."""

from __future__ import annotations

from random import Random
from typing import Any

from pretune.pico.lexicon import ABSTRACT, CLAIMS, Domain
from pretune.pico.sentences import (
    GENERAL,
    SLOTS,
    Scene,
    change_slot,
    draw_about,
    draw_held_out,
    draw_wrong,
    restate,
    things,
)

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2
DIFFERENT, SAME = 0, 1
OPTIONS = 4


def write_nli(rng: Random, domain: Domain, index: int, split: str) -> dict[str, Any]:
    """A scene, and a claim about its thing that is always, sometimes or never true of such things.

    Labels take turns with ``index`` and are independent of the claim.
    """
    label = index % 3
    claim = rng.choice(tuple(CLAIMS))
    premise = draw_about(rng.choice(things(rng.choice(ABSTRACT[CLAIMS[claim][label]]), split)), rng, domain)
    return {"premise": f"{premise} .", "hypothesis": f"{claim} .", "label": label}


def write_paraphrase(rng: Random, domain: Domain, index: int, split: str) -> dict[str, Any]:
    """A scene, and the same in other words with an abstract word for its thing, which may fit or not.

    Labels take turns with ``index`` and are independent of the abstract word.
    """
    label = index % 2
    word = rng.choice(tuple(ABSTRACT))
    meant = word if label == SAME else rng.choice([other for other in ABSTRACT if other != word])
    first = draw_about(rng.choice(things(rng.choice(ABSTRACT[meant]), split)), rng, domain)
    second = change_slot(restate(first, rng), "noun", word)
    return {"first": f"{first} .", "second": f"{second} .", "label": label}


def write_choice(rng: Random, domain: Domain, index: int, split: str, *, scenes: int = 1) -> dict[str, Any]:
    """A beginning as in the corpus and four ways to go on: the right restatement, one with a first word wrong, one
    with a second word wrong, and one with both wrong.

    Options come as such a square because one that differs from each of the others in a word of its own would be
    the best of four with probability 1/8, not 1/4, for a model that only knows which words are frequent.
    All options have the same length; the right one's place takes turns with ``index``.
    """
    said = [draw_held_out(rng, domain) for _ in range(scenes)]
    right = [restate(scene, rng, general=GENERAL) for scene in said]
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
