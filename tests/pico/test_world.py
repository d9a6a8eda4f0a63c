"""The micro-world: words, sentences and what follows from what."""

from __future__ import annotations

from random import Random

import pytest

from pretune.pico.lexicon import (
    FAR,
    KIND_OF,
    KINDS,
    NEAR,
    OPPOSITES,
    SYNONYM,
    WORLD,
    corpus_words,
    related,
)
from pretune.pico.sentences import (
    SLOTS,
    add_detail,
    contradict,
    draw_held_out,
    draw_scene,
    draw_seen,
    is_held_out,
    replace_one,
    restate,
)


def test_every_word_has_one_meaning() -> None:
    nouns = [noun for members in KINDS.values() for noun in members]
    words = [*KINDS, *nouns, *SYNONYM]
    assert len(words) == len(set(words))
    assert all(SYNONYM[SYNONYM[word]] == word for word in SYNONYM)
    assert all(word in OPPOSITES[other] for word, others in OPPOSITES.items() for other in others)
    assert len(corpus_words()) == len(set(corpus_words()))


def test_near_and_far_share_no_word() -> None:
    def words(domain: object) -> set[str]:
        rng = Random(0)
        scenes = [draw_scene(rng, domain) for _ in range(2000)]  # type: ignore[arg-type]
        return {getattr(scene, slot) for scene in scenes for slot in SLOTS if slot != "preposition"}

    assert not words(NEAR) & words(FAR)


def test_drawn_scenes_keep_the_partition() -> None:
    rng = Random(1)
    assert not any(is_held_out(draw_seen(rng, WORLD)) for _ in range(200))
    assert all(is_held_out(draw_held_out(rng, WORLD)) for _ in range(200))


@pytest.mark.parametrize("seed", range(3))
def test_what_follows_and_what_does_not(seed: int) -> None:
    rng = Random(seed)
    for _ in range(200):
        said = draw_scene(rng, WORLD)
        again = restate(said, rng)
        assert all(related(getattr(said, slot), getattr(again, slot)) for slot in SLOTS)
        for change in (add_detail, contradict, replace_one):
            other = change(said, again, rng, WORLD)
            assert sum(not related(getattr(said, slot), getattr(other, slot)) for slot in SLOTS) == 1


def test_a_detail_leaves_open_and_a_contradiction_does_not() -> None:
    rng = Random(5)
    for _ in range(200):
        said = draw_scene(rng, WORLD)
        more = add_detail(said, said, rng, WORLD)
        assert more.adjective not in OPPOSITES[said.adjective]
        against = contradict(said, said, rng, WORLD)
        other_thing = KIND_OF.get(against.noun, against.noun) != KIND_OF[said.noun]
        assert (against.adjective in OPPOSITES[said.adjective]) != other_thing
