"""Rows of pico/chat: short instructions about things, answered with yes or no."""

from __future__ import annotations

from random import Random
from types import MappingProxyType
from typing import Any

from pretune.pico.lexicon import CREATURES, KINDS, LIGHT, PLANTS, Domain
from pretune.pico.sentences import draw_scene, things

NO, YES = 0, 1

TOPICS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType({"life": (*CREATURES, *PLANTS), "weight": LIGHT})
"""What is asked for → kinds for which the answer is yes."""

Wordings = MappingProxyType[str, tuple[str, ...]]

WORDINGS: Wordings = MappingProxyType(
    {
        "life": ("is a {adjective} {noun} alive ?", "would you say the {adjective} {noun} was alive ?"),
        "weight": ("can you carry a {adjective} {noun} ?", "would you carry the {adjective} {noun} ?"),
    }
)
"""What is asked for → ways to ask in training and in the in-domain evaluation."""

FAR_WORDINGS: Wordings = MappingProxyType(
    {
        "life": ("is it true that every {adjective} {noun} is alive ?",),
        "weight": ("is it true that i can carry the {adjective} {noun} ?",),
    }
)
"""What is asked for → ways to ask in the out-of-domain evaluation only."""


def write_chat(rng: Random, domain: Domain, index: int, split: str, *, wordings: Wordings) -> dict[str, Any]:
    """Ask whether a thing is alive or can be carried; labels take turns with ``index``, topics with every other."""
    label = index % 2
    topic = tuple(wordings)[index // 2 % len(wordings)]
    kind = rng.choice([kind for kind in KINDS if (kind in TOPICS[topic]) is (label == YES)])
    instruction = rng.choice(wordings[topic]).format(
        adjective=draw_scene(rng, domain).adjective, noun=rng.choice(things(kind, split))
    )
    return {"instruction": instruction, "label": label}
