"""Pre-training text: documents that restate and define.

A document goes through a few scenes. It says each in some words and then again in others ("that is , …"), and now
and then it says what a word means. Nothing in it has the form of a task, no label word of a classification task
occurs in it, and it says nothing about things beyond their kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from pretune.pico.facts import WORDINGS, list_facts
from pretune.pico.lexicon import WORLD
from pretune.pico.sentences import Scene, draw_held_out, draw_seen, restate

Draw = Callable[[Random], Scene]

_FACTS = tuple(list_facts())

TELL = 0.8
"""Share of the passages that tell and restate; the others define a word."""


def documents(*, seed: int) -> Iterator[str]:
    """Yield pre-training documents without end; equal seeds give equal streams.

    A document is text of words and punctuation separated by single spaces. Scenes that
    :func:`pretune.pico.sentences.is_held_out` marks never occur in it as they are first said.
    """
    rng = Random(f"pico corpus {seed}")
    while True:
        yield _write_document(rng, lambda rng: draw_seen(rng, WORLD))


def held_out_documents(count: int) -> list[str]:
    """Return ``count`` distinct documents that no training stream contains: each begins with a held-out scene."""
    rng = Random("pico held-out text")
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[_write_document(rng, lambda rng: draw_held_out(rng, WORLD))] = None
    return list(texts)


def _write_document(rng: Random, draw: Draw) -> str:
    """Write three to five passages, the first of them about a scene."""
    return " ".join([_tell(rng, draw), *(_write_passage(rng, draw) for _ in range(rng.randint(2, 4)))])


def _write_passage(rng: Random, draw: Draw) -> str:
    return _tell(rng, draw) if rng.random() < TELL else _define(rng)


def _tell(rng: Random, draw: Draw) -> str:
    """Say a scene, or two, and then the same again in other words."""
    scenes = [draw(rng) for _ in range(1 if rng.random() < 0.9 else 2)]
    said = " . ".join(map(str, scenes))
    again = " . ".join(str(restate(scene, rng)) for scene in scenes)
    return f"{said} . that is , {again} ."


def _define(rng: Random) -> str:
    """Say what a word means."""
    fact = rng.choice(_FACTS)
    return WORDINGS[fact.relation].format(word=fact.word, other=rng.choice(fact.true)) + " ."
