"""Rows of pico/chat: short instructions about things, answered with yes or no."""

from __future__ import annotations

from random import Random
from types import MappingProxyType
from typing import Any

from pretune.pico.lexicon import CREATURES, OBJECTS, PLANTS, Domain
from pretune.pico.sentences import draw_scene, things

NO, YES = 0, 1

TRAITS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {"alive": (*CREATURES, *PLANTS), "lifeless": OBJECTS},
)
"""Trait that pre-training never shows → kinds that have it; every kind has one."""

WORDINGS = (
    "is a {adjective} {noun} {trait} ?",
    "would you say the {adjective} {noun} was {trait} ?",
    "do you call every {adjective} {noun} {trait} ?",
)
"""Ways to ask in training and in the in-domain evaluation."""

FAR_WORDINGS = ("is it true that a {adjective} {noun} is {trait} ?", "i say the {adjective} {noun} is {trait} , true ?")
"""Ways to ask in the out-of-domain evaluation only."""


def write_chat(rng: Random, domain: Domain, index: int, split: str, *, wordings: tuple[str, ...]) -> dict[str, Any]:
    """Ask whether a thing has a trait. Labels take turns with ``index`` and are independent of trait and thing."""
    label = index % 2
    trait = rng.choice(tuple(TRAITS))
    other = next(each for each in TRAITS if each != trait)
    kind = rng.choice(TRAITS[trait if label == YES else other])
    instruction = rng.choice(wordings).format(
        adjective=draw_scene(rng, domain).adjective, noun=rng.choice(things(kind, split)), trait=trait
    )
    return {"instruction": instruction, "label": label}
