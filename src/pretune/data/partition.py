"""Who gets which row: training, validation, shots, and the evaluated sample. Always by seed, never overlapping.

The held-out validation rows do not depend on the training seed, so that runs with different seeds are compared on
the same rows; shots come from the rest of the training split and never from evaluated rows.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass

from pretune.config.science import HELD_OUT, Task
from pretune.data.examples import Example
from pretune.data.shots import ShotPool, build_pool
from pretune.data.sources import Split, load_split
from pretune.errors import DataError

VALIDATION_SEED = 20_240_813
"""Fixed, so that every seed of a study is validated on the same rows."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The rows of a task's training split, divided.

    ``evaluation`` are those kept apart for ``task.eval_split=held_out``; ``dropped`` and ``empty`` as in
    :class:`~pretune.data.sources.Split`.
    """

    pool: tuple[Example, ...]
    validation: tuple[Example, ...]
    dropped: int
    empty: int = 0
    evaluation: tuple[Example, ...] = ()


def shuffle(examples: Sequence[Example], seed: int) -> list[Example]:
    """Shuffle by a generator of its own."""
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    return shuffled


def split_training_rows(task: Task, load: LoadSplit) -> Partition:
    """Divide the training split into a pool (training rows, shots) and held-out validation rows."""
    if task.train_split is None:
        raise DataError(f"task={task.name}: has no training split, so neither training rows nor shots")
    training = load(task, task.train_split)
    parts: list[tuple[Example, ...]] = []
    rest = list(training.examples)
    needed = (task.validation_split is None) + (task.eval_split == HELD_OUT)
    if needed:
        if len(rest) <= needed:
            few = "one training row" if len(rest) == 1 else f"{len(rest)} training rows"
            raise DataError(f"task={task.name}: {few} cannot be divided into training and held-out rows")
        rest = shuffle(rest, VALIDATION_SEED)
        count = min(task.validation_rows, max(1, len(rest) // 5))
        parts = [tuple(rest[part * count : (part + 1) * count]) for part in range(needed)]
        rest = rest[needed * count :]
    evaluation = parts.pop() if task.eval_split == HELD_OUT else ()
    if task.validation_split is not None:
        held_out = load(task, task.validation_split)
        parts = [tuple(shuffle(held_out.examples, VALIDATION_SEED)[: task.validation_rows])]
    return Partition(
        pool=tuple(rest),
        validation=parts[0],
        dropped=training.dropped,
        empty=training.empty,
        evaluation=evaluation,
    )


def _reading_key(task: Task) -> str:
    """What determines the rows that are read; the same rows serve a task with another map or number of rows."""
    neutral = dataclasses.replace(task, train_rows=1, validation_rows=1, in_domain=(), out_of_domain=(), cross_task=())
    return repr(neutral)


class LoadSplit:
    """Loads splits and divides them, each once per process."""

    def __init__(self) -> None:
        self._splits: dict[tuple[object, ...], Split] = {}
        self._partitions: dict[str, Partition] = {}
        self._pools: dict[tuple[str, bool], ShotPool] = {}

    def __call__(self, task: Task, split: str) -> Split:
        """The split, from memory when it was read before."""
        if split == HELD_OUT:
            partition = self.partition(task)
            name = f"{task.train_split}[evaluation]"  # not "[held out]", which names the rows used for choosing
            return Split(name=name, examples=partition.evaluation, dropped=partition.dropped, empty=partition.empty)
        key = (_reading_key(task), split)
        if key not in self._splits:
            other = (task.train_split or "", task.validation_split or "", task.eval_split)
            self._splits[key] = load_split(task, split, other_splits=other)
        return self._splits[key]

    def partition(self, task: Task) -> Partition:
        """The task's training split, divided."""
        key = f"{_reading_key(task)} {task.validation_rows}"
        if key not in self._partitions:
            self._partitions[key] = split_training_rows(task, self)
        return self._partitions[key]

    def shot_pool(self, task: Task, *, validation: bool) -> ShotPool:
        """What shots for the held-out validation rows, or for the rows of ``task.eval_split``, are drawn from."""
        key = (f"{_reading_key(task)} {task.validation_rows}", validation)
        if key not in self._pools:
            partition = self.partition(task)
            evaluated = partition.validation if validation else self(task, task.eval_split).examples
            self._pools[key] = build_pool(partition.pool, evaluated)
        return self._pools[key]


def draw_training_rows(partition: Partition, task: Task, *, seed: int) -> list[Example]:
    """The training rows of one seed: ``train_rows`` of the pool, or all of it when it has fewer."""
    return shuffle(partition.pool, seed)[: task.train_rows]


def draw_sample(examples: Sequence[Example], *, limit: int | None, seed: int) -> list[Example]:
    """The evaluated rows: all, or ``limit`` of them drawn by seed, in their own order."""
    if limit is None or limit >= len(examples):
        return list(examples)
    chosen = sorted(random.Random(seed).sample(range(len(examples)), limit))
    return [examples[index] for index in chosen]
