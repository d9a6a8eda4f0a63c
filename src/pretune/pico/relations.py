"""Rows about how two sentences relate: pico/nli, pico/paraphrase and pico/choice."""

from __future__ import annotations

from random import Random
from typing import Any

from pretune.pico.lexicon import KIND_OF, Domain
from pretune.pico.sentences import (
    SLOTS,
    Scene,
    add_detail,
    change_slot,
    contradict,
    draw_held_out,
    draw_wrong,
    replace_one,
    restate,
)

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2
DIFFERENT, SAME = 0, 1
OPTIONS = 4


def write_nli(rng: Random, domain: Domain, index: int) -> dict[str, Any]:
    """Premise and hypothesis; the labels take turns with ``index``, so that they are balanced.

    Entailment: the hypothesis says the same in other words or more generally. Neutral: it adds what the premise
    leaves open, another quality or a more specific thing. Contradiction: the opposite quality or another thing.
    """
    label = index % 3
    premise = draw_held_out(rng, domain)
    if rng.random() < 0.25:
        premise = change_slot(premise, "noun", KIND_OF[premise.noun])
    hypothesis = restate(premise, rng)
    if label == NEUTRAL:
        hypothesis = add_detail(premise, hypothesis, rng, domain)
    elif label == CONTRADICTION:
        hypothesis = contradict(premise, hypothesis, rng, domain)
    return {"premise": f"{premise} .", "hypothesis": f"{hypothesis} .", "label": label}


def write_paraphrase(rng: Random, domain: Domain, index: int) -> dict[str, Any]:
    """Two sentences that are the same up to synonyms, or differ in one word besides; labels take turns."""
    label = index % 2
    first = draw_held_out(rng, domain)
    second = restate(first, rng, change=0.6, general=0.0)
    if label == DIFFERENT:
        second = replace_one(first, second, rng, domain)
    return {"first": f"{first} .", "second": f"{second} .", "label": label}


def write_choice(rng: Random, domain: Domain, index: int, *, scenes: int = 1) -> dict[str, Any]:
    """A beginning as in the corpus and four ways to go on: the right restatement, one with a first word wrong, one
    with a second word wrong, and one with both wrong.

    Options come as such a square because one that differs from each of the others in a word of its own would be
    the best of four with probability 1/8, not 1/4, for a model that only knows which words are frequent.
    All options have the same length; the right one's place takes turns with ``index``.
    """
    said = [draw_held_out(rng, domain) for _ in range(scenes)]
    right = [restate(scene, rng, general=0.7) for scene in said]
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
