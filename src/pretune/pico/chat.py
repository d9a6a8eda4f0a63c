"""Rows of pico/chat: short instructions about things, answered with yes or no."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from pretune.pico.lexicon import KINDS, QUESTIONS
from pretune.pico.sentences import things

NO, YES = 0, 1

WORDINGS = ("can a {adjective} {noun} {ability} ?", "does the {noun} {ability} ?", "would you see a {noun} {ability} ?")
"""Ways to ask in training and in the in-domain evaluation."""

FAR_WORDINGS = ("is it true that the {noun} can {ability} ?",)
"""Ways to ask in the out-of-domain evaluation only."""


def write_chat(split: str, adjectives: tuple[str, ...], wordings: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield rows without end; labels take turns and are independent of the ability that is asked for.

    Training and evaluation are about different things, so that an answer about a robin helps with a crow only if
    both are known to be birds.
    """
    rng = Random(f"pico chat {split} {len(wordings)}")
    while True:
        for label in (YES, NO):
            ability = rng.choice(tuple(QUESTIONS))
            able = QUESTIONS[ability]
            kind = rng.choice(able if label == YES else tuple(kind for kind in KINDS if kind not in able))
            instruction = rng.choice(wordings).format(
                adjective=rng.choice(adjectives), noun=rng.choice(things(kind, split)), ability=ability
            )
            yield {"instruction": instruction, "label": label}
