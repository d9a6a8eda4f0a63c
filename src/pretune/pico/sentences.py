"""Sentences of the small language: what they say, how to say it in other words, and how to say something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random

from pretune.pico.lexicon import KIND_OF, KINDS, PREPOSITIONS, SYNONYM, Domain

SLOTS = ("adjective", "noun", "verb", "preposition", "place")
HELD_OUT_SHARE = 4
"""One scene in this many is never described in pre-training."""

GENERAL = 0.9
"""How often a restatement calls a thing by its kind."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one sentence says: some thing did something somewhere."""

    adjective: str
    noun: str
    verb: str
    preposition: str
    place: str

    def __str__(self) -> str:
        return f"the {self.adjective} {self.noun} {self.verb} {self.preposition} the {self.place}"


def draw_scene(rng: Random, domain: Domain) -> Scene:
    """Draw a scene; its noun is a thing, never a kind."""
    return Scene(
        adjective=rng.choice(rng.choice(rng.choice(domain.dimensions))),
        noun=rng.choice(KINDS[rng.choice(domain.kinds)]),
        verb=rng.choice(rng.choice(domain.verbs)),
        preposition=rng.choice(rng.choice(PREPOSITIONS)),
        place=rng.choice(rng.choice(domain.places)),
    )


def things(kind: str, split: str) -> tuple[str, ...]:
    """Names for things of ``kind`` in the rows of ``split``.

    Training rows use half of the names, and the kind itself; evaluation uses the other half, so that what is learnt
    about a robin helps with a duck only if both are known to be birds.
    """
    half = len(KINDS[kind]) // 2
    return (kind, *KINDS[kind][:half]) if split == "train" else KINDS[kind][half:]


def is_held_out(scene: Scene) -> bool:
    """Whether pre-training never describes this scene in these words: one scene in four, by a hash of its words."""
    return blake2b(str(scene).encode(), digest_size=1).digest()[0] % HELD_OUT_SHARE == 0


def draw_held_out(rng: Random, domain: Domain) -> Scene:
    """Draw a scene that the pre-training documents never describe."""
    return draw_with(rng, domain)


def draw_with(rng: Random, domain: Domain, **words: str) -> Scene:
    """Draw a scene that the pre-training documents never describe, with the given words in their slots."""
    while not is_held_out(scene := replace(draw_scene(rng, domain), **words)):
        pass
    return scene


def draw_seen(rng: Random, domain: Domain) -> Scene:
    """Draw a scene that pre-training documents may describe."""
    while is_held_out(scene := draw_scene(rng, domain)):
        pass
    return scene


def restate(scene: Scene, rng: Random) -> Scene:
    """Say the same in other words: half of the words become their synonyms, and most nouns their kinds.

    The restatement follows from the scene.
    """
    words = {slot: swap(getattr(scene, slot), rng, 0.5) for slot in SLOTS if slot != "noun"}
    noun = KIND_OF.get(scene.noun, scene.noun) if rng.random() < GENERAL else scene.noun
    return Scene(noun=noun, **words)


def swap(word: str, rng: Random, probability: float) -> str:
    """Return the synonym of ``word`` with the given probability, else ``word``."""
    return SYNONYM[word] if rng.random() < probability else word


def name_kind(noun: str) -> str:
    """Kind of a noun; a kind is its own kind."""
    return KIND_OF.get(noun, noun)


def draw_other(word: str, rng: Random, pairs: tuple[tuple[str, str], ...]) -> str:
    """Draw a word of ``pairs`` that is neither ``word`` nor its synonym."""
    return rng.choice([other for pair in pairs if word not in pair for other in pair])


def change_slot(scene: Scene, slot: str, word: str) -> Scene:
    """Return ``scene`` with ``word`` in ``slot``."""
    return replace(scene, **{slot: word})


def draw_wrong(said: Scene, again: Scene, slot: str, rng: Random, domain: Domain) -> str:
    """Draw a word for ``slot`` that does not follow from ``said``: a kind where ``again`` has a kind, else a thing."""
    if slot == "noun":
        kinds = [kind for kind in domain.kinds if kind != name_kind(said.noun)]
        return rng.choice(kinds) if again.noun in KINDS else rng.choice(KINDS[rng.choice(kinds)])
    return draw_other(getattr(said, slot), rng, list_pairs(slot, domain))


def list_pairs(slot: str, domain: Domain) -> tuple[tuple[str, str], ...]:
    """Pairs of synonyms that can fill ``slot`` (not the noun's)."""
    if slot == "adjective":
        return tuple(pole for dimension in domain.dimensions for pole in dimension)
    return {"verb": domain.verbs, "place": domain.places, "preposition": PREPOSITIONS}[slot]
