"""Rows whose answer is written: pico/summary and pico/question."""

from __future__ import annotations

from random import Random
from typing import Any

from pretune.pico.lexicon import SYNONYM, Domain
from pretune.pico.sentences import SLOTS, Scene, draw_with, name_kind, things

QUESTION_WORDS = {"noun": "what", "adjective": "which", "place": "where"}
"""Slot that is asked for → question word."""


def write_summary(rng: Random, domain: Domain, index: int, split: str, *, scenes: int = 3) -> dict[str, Any]:
    """A document of ``scenes`` sentences about different kinds; its summary lists their kinds in order."""
    told = [draw_with(rng, domain, noun=rng.choice(things(kind, split))) for kind in rng.sample(domain.kinds, scenes)]
    return {
        "document": " ".join(f"{scene} ." for scene in told),
        "summary": " ".join(name_kind(scene.noun) for scene in told),
    }


def write_question(rng: Random, domain: Domain, index: int, split: str) -> dict[str, Any]:
    """Two sentences, a word of one of them, and the question, in other words, that this word answers.

    The question names what the sentence says besides the answer: each word by its synonym, the thing by its kind.
    """
    slot = tuple(QUESTION_WORDS)[index % len(QUESTION_WORDS)]
    while True:
        told = [draw_with(rng, domain, noun=rng.choice(things(rng.choice(domain.kinds), split))) for _ in range(2)]
        first, second = (getattr(scene, slot) for scene in told)
        if first not in (second, SYNONYM.get(second)):
            break
    asked = told[index // len(QUESTION_WORDS) % 2]
    return {
        "context": " ".join(f"{scene} ." for scene in told),
        "subject": getattr(asked, slot),
        "question": ask(asked, slot),
    }


def ask(scene: Scene, slot: str) -> str:
    """Ask for what fills ``slot`` of ``scene``, in other words than the scene's."""
    rest = (other for other in SLOTS if other not in (slot, "preposition"))
    return " ".join([QUESTION_WORDS[slot], *(_rename(getattr(scene, other)) for other in rest), "?"])


def _rename(word: str) -> str:
    return SYNONYM.get(word) or name_kind(word)
