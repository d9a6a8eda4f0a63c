from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretune.data.examples import Example
from pretune.data.partition import LoadSplit
from pretune.data.shots import (
    ShotPool,
    build_pool,
    check_leak,
    draw_balanced_shots,
    draw_row_shots,
    draw_shots,
    normalise,
)
from pretune.data.sources import SOURCES
from pretune.errors import DataError
from support.configs import NLI, change

OPTIONS = ("yes", "maybe", "no")


def row(number: int, text: str | None = None, gold: int | None = None) -> Example:
    target = "x" if gold is None else OPTIONS[gold]
    options = () if gold is None else OPTIONS
    return Example(id=str(number), fields={"premise": text or f"p {number}"}, target=target, options=options, gold=gold)


def rows(count: int, start: int = 0) -> tuple[Example, ...]:
    return tuple(row(number) for number in range(start, start + count))


def classes(counts: tuple[int, int, int]) -> ShotPool:
    golds = [gold for gold, count in enumerate(counts) for _ in range(count)]
    return ShotPool(rows=tuple(row(number, gold=gold) for number, gold in enumerate(golds)))


def ids(examples) -> list[str]:
    return [example.id for example in examples]


def test_shots_are_fixed_by_seed_and_come_from_the_pool():
    pool = build_pool(rows(30), rows(5, start=100))
    shots = draw_shots(pool, 4, seed=0)
    assert shots == draw_shots(pool, 4, seed=0)
    assert shots != draw_shots(pool, 4, seed=1)
    assert set(ids(shots)) <= set(ids(rows(30)))
    assert draw_shots(pool, 0, seed=0) == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
def test_fewer_shots_are_the_beginning_of_more(few, many, seed):
    few, many = sorted((few, many))
    pool, evaluated = classes((4, 4, 4)), rows(3, start=100)
    assert draw_shots(pool, few, seed=seed) == draw_shots(pool, many, seed=seed)[:few]
    assert draw_balanced_shots(pool, few, seed=seed) == draw_balanced_shots(pool, many, seed=seed)[:few]
    for less, more in zip(
        draw_row_shots(pool, few, evaluated, seed=seed), draw_row_shots(pool, many, evaluated, seed=seed), strict=True
    ):
        assert less == more[:few]
        assert len(set(ids(more))) == many


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.integers(0, 999), st.tuples(*[st.integers(5, 40)] * 3))
def test_balanced_shots_have_each_class_as_often_as_the_number_allows(count, seed, sizes):
    shots = draw_balanced_shots(classes(sizes), count, seed=seed)
    counts = Counter(shot.gold for shot in shots)
    assert len(shots) == len(set(ids(shots))) == count
    assert max(counts.values(), default=0) - min((counts[gold] for gold in range(3)), default=0) <= 1


def test_balanced_shots_do_not_always_end_with_the_same_class():
    last = Counter(draw_balanced_shots(classes((9, 9, 9)), 3, seed=seed)[-1].gold for seed in range(60))
    assert len(last) == 3
    assert max(last.values()) < 35


def test_balanced_shots_of_rows_without_classes_are_plain_ones():
    pool = build_pool(rows(20), ())
    assert draw_balanced_shots(pool, 5, seed=2) == draw_shots(pool, 5, seed=2)
    own = tuple(
        Example(id=str(i), fields={"q": f"q {i}"}, options=("a", f"b {i}"), gold=0, target="a") for i in range(9)
    )
    pool = ShotPool(rows=own)
    assert draw_balanced_shots(pool, 5, seed=2) == draw_shots(pool, 5, seed=2)


def test_a_class_with_too_few_rows_is_an_error():
    with pytest.raises(DataError, match=r"shots=9: only 2 training rows of class 'no'.*shot_sampling=fixed"):
        draw_balanced_shots(classes((9, 9, 2)), 9, seed=0)
    assert len(draw_balanced_shots(classes((9, 9, 2)), 6, seed=0)) == 6


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(8)), st.integers(0, 8))
def test_the_shots_of_a_row_depend_on_nothing_but_the_row(order, kept):
    pool, evaluated = build_pool(rows(50), ()), rows(8, start=100)
    whole = dict(zip(ids(evaluated), draw_row_shots(pool, 4, evaluated, seed=3), strict=True))
    some = [evaluated[index] for index in order][:kept]
    for example, shots in zip(some, draw_row_shots(pool, 4, some, seed=3), strict=True):
        assert shots == whole[example.id]
    assert len({tuple(ids(shots)) for shots in whole.values()}) > 1
    assert list(whole.values()) != draw_row_shots(pool, 4, evaluated, seed=4)


def test_row_shots_use_the_whole_pool():
    pool = build_pool(rows(10), ())
    drawn = draw_row_shots(pool, 2, rows(200, start=100), seed=0)
    assert {shot.id for shots in drawn for shot in shots} == set(ids(rows(10)))
    assert all(len(set(ids(shots))) == 10 for shots in draw_row_shots(pool, 10, rows(5, start=100), seed=0))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_shot_is_evaluated_in_any_spelling(data):
    numbers = data.draw(st.lists(st.integers(0, 9), max_size=8))
    spelling = st.sampled_from(["P {}", "  p,{}!", "p_{}", "ｐ {}", "«p» \n {}"])
    evaluated = [row(100 + i, data.draw(spelling).format(number)) for i, number in enumerate(numbers)]
    pool = build_pool(rows(10), evaluated)
    assert sorted(ids(pool.rows)) == sorted(str(number) for number in set(range(10)) - set(numbers))
    assert {training for training, _ in pool.overlaps} == {str(number) for number in numbers}
    check_leak(pool.rows, evaluated)
    for shots in draw_row_shots(pool, len(pool.rows), evaluated, seed=0):
        check_leak(shots, evaluated)


def test_repeated_training_rows_are_one_candidate():
    pool = build_pool([*rows(3), row(7, "P 1."), row(8, "p 2")], ())
    assert ids(pool.rows) == ["0", "1", "2"]
    assert (pool.repeated, pool.overlaps) == (2, ())


def test_too_many_shots_say_where_the_training_rows_went():
    pool = build_pool([*rows(6), row(6, "p 5")], [row(100, "P 0"), row(101, "p 1"), row(102, "p: 0")])
    with pytest.raises(DataError) as caught:
        draw_shots(pool, 5, seed=0)
    for part in (
        "shots=5: only 4 training rows",
        "2 others are also evaluated (training row 0 has the text of evaluated row 100)",
        "1 repeat other training rows",
        "fewer shots",
    ):
        assert part in str(caught.value)


def test_leak_check_names_both_rows_and_says_how_to_go_on():
    check_leak(rows(3), rows(3, start=10))
    with pytest.raises(
        DataError, match=r"training row 1, drawn as a shot, has the text of evaluated row 10.*shot_seed"
    ):
        check_leak(rows(3), [row(10, "P: 1")])


def test_texts_without_fields_are_compared_by_themselves():
    assert normalise(Example(id="0", target="A b.")) == normalise(Example(id="1", target="a  B")) == "a b"


def test_the_pool_is_made_of_the_whole_split_once_per_split(monkeypatch):
    def read(task, split):
        start = {"train": 0, "validation": 35}[split]
        return [{"premise": f"p {i}", "hypothesis": "h", "label": i % 3} for i in range(start, start + 40)]

    monkeypatch.setitem(SOURCES, "hub", read)
    load, task = LoadSplit(), change(NLI, "validation_rows", 4)
    pool = load.shot_pool(task, validation=False)
    assert pool is load.shot_pool(task, validation=False)
    pooled = len(load.partition(task).pool)
    overlapping = {training for training, _ in pool.overlaps}
    assert overlapping <= {"35", "36", "37", "38", "39"}
    assert len(pool.rows) == pooled - len(overlapping)
    held_out = load.shot_pool(task, validation=True)
    assert len(held_out.rows) == pooled
