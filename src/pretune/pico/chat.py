"""Rows of pico/chat: short instructions about things, answered with yes or no."""

from __future__ import annotations

from random import Random
from typing import Any

from pretune.pico.lexicon import ABSTRACT, TRAITS, Domain
from pretune.pico.sentences import things

NO, YES = 0, 1

WORDINGS = (
    "is a {adjective} {noun} {trait} ?",
    "would you call the {adjective} {noun} {trait} ?",
    "do you say every {adjective} {noun} is {trait} ?",
)
"""Ways to ask in training and in the in-domain evaluation."""

FAR_WORDINGS = (
    "is it true that the {adjective} {noun} is {trait} ?",
    "i say a {adjective} {noun} is {trait} . true ?",
)
"""Ways to ask in the out-of-domain evaluation only."""


def write_chat(rng: Random, domain: Domain, index: int, split: str, *, wordings: tuple[str, ...]) -> dict[str, Any]:
    """Ask whether a thing has a trait. Labels take turns with ``index`` and are independent of the trait."""
    label = index % 2
    trait = rng.choice(tuple(TRAITS))
    meant = rng.choice([word for word in ABSTRACT if (word in TRAITS[trait]) is (label == YES)])
    instruction = rng.choice(wordings).format(
        adjective=rng.choice([word for dimension in domain.dimensions for pole in dimension for word in pole]),
        noun=rng.choice(things(rng.choice(ABSTRACT[meant]), split)),
        trait=trait,
    )
    return {"instruction": instruction, "label": label}
