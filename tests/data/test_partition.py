from __future__ import annotations

import pytest

from pretune.data.examples import Example
from pretune.data.partition import (
    LoadSplit,
    draw_sample,
    draw_training_rows,
    split_training_rows,
)
from pretune.data.sources import SOURCES, Split
from pretune.errors import DataError
from support.configs import NLI, change

TASK = change(change(NLI, "train_rows", 30), "validation_rows", 10)


def rows(count: int, word: str = "p", start: int = 0) -> tuple[Example, ...]:
    return tuple(Example(id=str(i), fields={"premise": f"{word} {i}"}, target="x") for i in range(start, start + count))


def loading(**splits):
    """A loader of splits that are in memory."""
    return lambda task, name: Split(name=name, examples=splits[name], dropped=len(name))


def ids(examples) -> list[str]:
    return [example.id for example in examples]


def test_validation_rows_are_apart_from_training_rows_and_cover_the_split():
    partition = split_training_rows(TASK, loading(train=rows(100)))
    assert len(partition.validation) == 10
    assert set(ids(partition.validation)).isdisjoint(ids(partition.pool))
    assert sorted(ids(partition.pool + partition.validation)) == sorted(ids(rows(100)))
    assert partition.dropped == len("train")


def test_validation_rows_are_the_same_for_every_seed_and_training_rows_are_not():
    partitions = [split_training_rows(change(TASK, "train_rows", count), loading(train=rows(100))) for count in (5, 30)]
    assert partitions[0].validation == partitions[1].validation
    drawn = [draw_training_rows(partitions[1], TASK, seed=seed) for seed in (0, 0, 1)]
    assert ids(drawn[0]) == ids(drawn[1])
    assert set(ids(drawn[0])) != set(ids(drawn[2]))
    for chosen in drawn:
        assert len(set(ids(chosen))) == 30
        assert set(ids(chosen)).isdisjoint(ids(partitions[1].validation))


def test_fewer_rows_than_asked_for_are_all_used():
    partition = split_training_rows(TASK, loading(train=rows(12)))
    assert len(partition.validation) == 2  # at most a fifth
    assert sorted(ids(draw_training_rows(partition, TASK, seed=3))) == sorted(ids(partition.pool))


def test_split_of_its_own_is_used_for_validation():
    task = change(TASK, "validation_split", "validation")
    splits = loading(train=rows(20), validation=rows(50, "v", 1000))
    partition = split_training_rows(task, splits)
    assert partition.pool == rows(20)
    assert len(partition.validation) == 10
    assert set(ids(partition.validation)) <= set(ids(rows(50, "v", 1000)))
    assert split_training_rows(task, splits).validation == partition.validation


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(DataError, match="one training row cannot be divided"):
        split_training_rows(TASK, loading(train=rows(1)))
    with pytest.raises(DataError, match="2 training rows cannot be divided"):
        split_training_rows(change(TASK, "eval_split", "held_out"), loading(train=rows(2)))
    assert len(split_training_rows(TASK, loading(train=rows(2))).validation) == 1
    with pytest.raises(DataError, match="has no training split"):
        split_training_rows(change(TASK, "train_split", None), loading())


def test_sample_is_drawn_by_seed_and_keeps_the_rows_own_order():
    examples = rows(50)
    drawn = draw_sample(examples, limit=20, seed=0)
    numbers = [int(example.id) for example in drawn]
    assert len(drawn) == 20
    assert numbers == sorted(numbers)
    assert numbers != list(range(20))
    assert drawn == draw_sample(examples, limit=20, seed=0)
    assert drawn != draw_sample(examples, limit=20, seed=1)
    assert draw_sample(examples, limit=None, seed=0) == draw_sample(examples, limit=99, seed=0) == list(examples)


def test_splits_are_read_once(monkeypatch):
    calls = []

    def read(task, split):
        calls.append((task.name, split))
        return [{"premise": "p", "hypothesis": "h", "label": 0 if split == "train" else -1}]

    monkeypatch.setitem(SOURCES, "hub", read)
    load = LoadSplit()
    assert load(NLI, "train") is load(NLI, "train")
    assert calls == [("nli", "train")]
    with pytest.raises(DataError, match="use train, validation"):
        load(NLI, "test")
    load(change(NLI, "label", "label"), "train")
    load(change(NLI, "labels", {"0": "yes"}), "train")  # another reading of the same rows
    assert len(calls) == 3


def test_rows_held_out_for_evaluation_are_neither_trained_on_nor_chosen_on(monkeypatch):
    monkeypatch.setitem(
        SOURCES, "hub", lambda *_: [{"premise": f"p{i}", "hypothesis": "h", "label": 0} for i in range(100)]
    )
    task = change(TASK, "eval_split", "held_out")
    load = LoadSplit()
    partition, split = load.partition(task), load(task, "held_out")
    assert split.name == "train[evaluation]"
    assert split.examples == partition.evaluation
    groups = [ids(partition.pool), ids(partition.validation), ids(partition.evaluation)]
    assert [len(group) for group in groups] == [80, 10, 10]
    assert len({*groups[0], *groups[1], *groups[2]}) == 100
    assert load.partition(TASK).validation == partition.validation  # they do not depend on it
    own = split_training_rows(change(task, "validation_split", "v"), loading(train=rows(50), v=rows(20, "v", 1000)))
    assert (len(own.pool), len(own.validation), len(own.evaluation)) == (40, 10, 10)
