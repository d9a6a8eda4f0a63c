"""Overlap of rows with a text: what counts as found, what touches the answer, what is too short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pretune.data.contamination import find_overlaps, grams, row_words, words_of
from pretune.data.examples import Example, Turn

WORDS = [f"w{number}" for number in range(40)]


def example(text: str, target: str = "", name: str = "0") -> Example:
    return Example(id=name, fields={"context": text}, target=target)


def one(row: Example, *texts: str, n: int = 5):
    (overlap,) = find_overlaps([row], texts, n=n)
    return overlap


def test_a_row_that_stands_in_the_text_is_found_whatever_its_case_and_marks():
    row = example("The robin, it is said, sings", "at dawn")
    overlap = one(row, "nothing here", "… and THE ROBIN it is said sings -- at dawn! He added")
    assert (overlap.found, overlap.total) == (4, 4)
    assert (overlap.answer_found, overlap.answer_total) == (2, 2)
    assert overlap.share == 1
    assert overlap.passage == "the robin it is said sings at dawn"


def test_only_n_grams_with_a_word_of_the_answer_touch_it():
    row = example(" ".join(WORDS[:10]), " ".join(WORDS[10:12]))
    overlap = one(row, " ".join(WORDS[:10]))
    assert (overlap.found, overlap.total) == (6, 8)
    assert (overlap.answer_found, overlap.answer_total) == (0, 2)
    overlap = one(row, " ".join(WORDS[6:11]))
    assert (overlap.found, overlap.answer_found) == (1, 1)


def test_an_n_gram_does_not_run_over_the_end_of_a_document():
    row = example(" ".join(WORDS[:5]), "")
    assert one(row, " ".join(WORDS[:3]), " ".join(WORDS[3:5])).found == 0


def test_short_rows_are_looked_up_as_a_whole_and_very_short_ones_not_at_all():
    seven, three = example(" ".join(WORDS[:7]), ""), example("a b c", "")
    first, second = find_overlaps([seven, three], [" ".join(WORDS[:9]), "a b c"], n=13)
    assert (first.found, first.total) == (1, 1)
    assert (second.found, second.total) == (0, 0)


def test_conversations_and_original_listings():
    talk = Example(id="0", turns=(Turn(role="user", text="a b"), Turn(role="assistant", text="c")), target="c")
    assert row_words(talk) == (("a", "b", "c"), 2)
    row = Example(id="0", fields={"context": "a", "listing_io": "b c"}, target="d")
    assert row_words(row) == (("a", "d"), 1)


def test_words_of_other_scripts_are_words():
    assert words_of("Ünïcode_x 鳥が 42%") == ("ünïcode", "x", "鳥が", "42")


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30), st.integers(2, 8))
def test_found_n_grams_are_those_of_both(row, text, n):
    overlap = one(example(" ".join(row)), " ".join(text), n=n)
    size = min(n, len(row))
    if len(row) < min(6, n):
        assert overlap.total == 0
    else:
        there = set(grams(tuple(text), size))
        assert overlap.found == sum(gram in there for gram in grams(tuple(row), size))
