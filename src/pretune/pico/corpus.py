"""Pre-training text: documents that restate, judge and define.

A document goes through a few scenes. It says one in some words and then again in others ("that is , …"), and now
and then it is a careless speaker that says it again: then something is added or wrong, and a last word tells
(rightly, partly, wrongly). In between, words are defined, or it is reported what is said of them. Nothing in it
has the form of a task, and no label word of a classification task occurs in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from pretune.pico.facts import CLAIMS, list_facts
from pretune.pico.lexicon import KIND_OF, WORLD
from pretune.pico.sentences import (
    Scene,
    add_detail,
    change_slot,
    contradict,
    draw_held_out,
    draw_seen,
    replace_one,
    restate,
)

Draw = Callable[[Random], Scene]

_FACTS = tuple(list_facts())

TELL, DEFINE, REPORT = 0.75, 0.1, 0.15
"""Shares of the kinds of passages."""

JUDGED = 0.55
"""Share of the restatements that are judged."""


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
    chosen = rng.random()
    if chosen < TELL:
        return _tell(rng, draw)
    return _define(rng) if chosen < TELL + DEFINE else _report(rng)


def _tell(rng: Random, draw: Draw) -> str:
    """Say a scene, or two, and then the same again in other words."""
    if rng.random() < JUDGED:
        return _judge(rng, draw)
    scenes = [draw(rng) for _ in range(1 if rng.random() < 0.9 else 2)]
    said = " . ".join(map(str, scenes))
    again = " . ".join(str(restate(scene, rng, general=0.7)) for scene in scenes)
    return f"{said} . that is , {again} ."


def _judge(rng: Random, draw: Draw) -> str:
    """Say a scene, then say it again, perhaps carelessly, and then how that was said."""
    said = draw(rng)
    if rng.random() < 0.25:
        said = change_slot(said, "noun", KIND_OF[said.noun])
    again = restate(said, rng)
    verdict = rng.choice(("rightly", "rightly", "partly", "wrongly"))
    if verdict == "partly":
        again = add_detail(said, again, rng, WORLD)
    elif verdict == "wrongly":
        again = contradict(said, again, rng, WORLD) if rng.random() < 0.6 else replace_one(said, again, rng, WORLD)
    return f"{said} . that is , {again} , {verdict} ."


def _define(rng: Random) -> str:
    """Say what a word means."""
    fact = rng.choice(_FACTS)
    return CLAIMS[fact.relation].format(word=fact.word, other=rng.choice(fact.true)) + " ."


def _report(rng: Random) -> str:
    """Report what is said of a word, and whether that is right."""
    fact = rng.choice(_FACTS)
    right = rng.random() < 0.5
    claim = CLAIMS[fact.relation].format(word=fact.word, other=rng.choice(fact.true if right else fact.false))
    return f"they say that {claim} , {'rightly' if right else 'wrongly'} ."
