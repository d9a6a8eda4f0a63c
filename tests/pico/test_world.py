"""The micro-world: words, sentences and what follows from what."""

from __future__ import annotations

from random import Random

import pytest

from pretune.pico.lexicon import (
    CREATURES,
    FAR,
    KINDS,
    MOVERS,
    NEAR,
    OBJECTS,
    OPPOSITES,
    PLANTS,
    SYNONYM,
    WORLD,
    Domain,
    corpus_words,
    related,
)
from pretune.pico.sentences import (
    SLOTS,
    draw_held_out,
    draw_scene,
    draw_seen,
    draw_with,
    draw_wrong,
    is_held_out,
    restate,
    things,
)


def test_every_word_has_one_meaning() -> None:
    nouns = [noun for members in KINDS.values() for noun in members]
    words = [*KINDS, *nouns, *SYNONYM]
    assert len(words) == len(set(words))
    assert all(SYNONYM[SYNONYM[word]] == word for word in SYNONYM)
    assert all(word in OPPOSITES[other] for word, others in OPPOSITES.items() for other in others)
    assert len(corpus_words()) == len(set(corpus_words()))


def test_near_and_far_share_no_word() -> None:
    def words(domain: Domain) -> set[str]:
        rng = Random(0)
        scenes = [draw_scene(rng, domain) for _ in range(2000)]
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
        for slot in SLOTS:
            assert not related(getattr(said, slot), draw_wrong(said, again, slot, rng, WORLD))


def test_the_names_of_a_kind_are_split() -> None:
    for kind, nouns in KINDS.items():
        train, test = things(kind, "train"), things(kind, "test")
        assert not set(train) & set(test)
        assert {*train, *test} == {kind, *nouns}


def test_drawn_words_stay_in_their_slots() -> None:
    scene = draw_with(Random(0), FAR, noun="oak", place="yard")
    assert (scene.noun, scene.place) == ("oak", "yard")
    assert is_held_out(scene)


def test_every_kind_is_a_creature_a_plant_or_an_object() -> None:
    assert sorted((*CREATURES, *PLANTS, *OBJECTS)) == sorted(KINDS)
    assert set(MOVERS) <= set(KINDS)
