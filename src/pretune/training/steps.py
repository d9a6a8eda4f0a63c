"""Optimizer steps as data: which rows each holds, in which micro-batches, as which tensors.

The rows of every optimizer step are fixed by the seed. Grouping by length happens only inside a step, so that the
size of a micro-batch changes the memory but never which rows are learnt together.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from pretune.data.encoding import Encoded
from pretune.errors import DataError

MicroBatch = dict[str, torch.Tensor]
"""``input_ids`` and ``attention_mask`` [rows, length]; ``rows``, ``columns`` and ``targets`` [supervised]: the
positions whose next token is learnt, and that token."""


class StepBatch(NamedTuple):
    """All rows of one optimizer step: a tuple, because Lightning takes batches apart and rebuilds them."""

    micro_batches: list[MicroBatch]
    tokens: int
    """Supervised tokens, over which the loss is a mean."""
    positions: int
    """Tokens processed, padding not counted."""


class EpochSteps:
    """Iterable over the optimizer steps of successive epochs; each ``iter()`` yields one epoch.

    Starts at ``start_step`` (counted over all epochs), so that an interrupted training goes on with the very rows it
    would have seen. The last step of an epoch may hold fewer rows.
    """

    def __init__(
        self,
        rows: Sequence[Encoded],
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        pad_id: int,
        micro_batch: int | None,
        start_step: int = 0,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.pad_id = pad_id
        self.micro_batch = micro_batch or batch_size
        self.steps_per_epoch = -(-len(rows) // batch_size)
        self.total_steps = self.steps_per_epoch * epochs
        self._next = start_step

    @property
    def epochs_left(self) -> int:
        """Epochs not finished yet, the one in progress included."""
        return self.epochs - self._next // self.steps_per_epoch

    def order(self, epoch: int) -> list[int]:
        """Row indices in the order in which ``epoch`` sees them."""
        indices = list(range(len(self.rows)))
        random.Random(f"{self.seed}/{epoch}").shuffle(indices)
        return indices

    def __iter__(self) -> Iterator[StepBatch]:
        epoch, first = divmod(self._next, self.steps_per_epoch)
        order = self.order(epoch)
        for step in range(first, self.steps_per_epoch):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            self._next += 1
            yield make_step([self.rows[index] for index in chosen], pad_id=self.pad_id, micro_batch=self.micro_batch)


def make_step(rows: Sequence[Encoded], *, pad_id: int, micro_batch: int) -> StepBatch:
    """Sort the rows of one step by length, split them into micro-batches and turn those into tensors."""
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    parts = [ordered[start : start + micro_batch] for start in range(0, len(ordered), micro_batch)]
    return StepBatch(
        micro_batches=[collate(part, pad_id=pad_id) for part in parts],
        tokens=sum(len(row.supervised()) for row in rows),
        positions=sum(len(row.ids) for row in rows),
    )


def collate(rows: Sequence[Encoded], *, pad_id: int) -> MicroBatch:
    """Pad rows on the right and list their supervised positions.

    The token at ``p`` is predicted at ``p − 1``; the first token of a row has no prediction.
    """
    length = max(len(row.ids) for row in rows)
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), length), dtype=torch.long)
    supervised: list[tuple[int, int, int]] = []
    for index, row in enumerate(rows):
        input_ids[index, : len(row.ids)] = torch.tensor(row.ids)
        attention_mask[index, : len(row.ids)] = 1
        supervised += [(index, position - 1, row.ids[position]) for position in row.supervised()]
    where = torch.tensor(supervised, dtype=torch.long).reshape(-1, 3)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "rows": where[:, 0],
        "columns": where[:, 1],
        "targets": where[:, 2],
    }


def make_window_step(input_ids: torch.Tensor, *, micro_batch: int | None = None) -> StepBatch:
    """One pre-training step over windows [rows, length]; every token but the first of each window is supervised."""
    rows, length = input_ids.shape
    batches = []
    for part in torch.split(input_ids, micro_batch or rows):
        row, column = torch.meshgrid(torch.arange(len(part)), torch.arange(length - 1), indexing="ij")
        batches.append(
            {
                "input_ids": part,
                "attention_mask": torch.ones_like(part),
                "rows": row.reshape(-1),
                "columns": column.reshape(-1),
                "targets": part[:, 1:].reshape(-1),
            }
        )
    return StepBatch(micro_batches=batches, tokens=rows * (length - 1), positions=rows * length)


class WindowSteps:
    """Iterable over pre-training steps: each holds ``batch_size`` windows of a token stream, every token supervised.

    ``windows`` must yield the same sequence each time; ``start_step`` skips the steps already done.
    """

    def __init__(self, windows: Iterator[list[int]], *, batch_size: int, total_steps: int, start_step: int = 0) -> None:
        self.windows = windows
        self.batch_size = batch_size
        self.total_steps = total_steps
        self._next = start_step

    def __iter__(self) -> Iterator[StepBatch]:
        done = self._next * self.batch_size
        if sum(1 for _ in itertools.islice(self.windows, done)) < done:
            raise self._text_ends()
        while self._next < self.total_steps:
            windows = list(itertools.islice(self.windows, self.batch_size))
            if len(windows) < self.batch_size:
                raise self._text_ends()
            self._next += 1
            yield make_window_step(torch.tensor(windows))

    def _text_ends(self) -> DataError:
        return DataError(
            f"the pre-training text ends before the last of {self.total_steps} steps of {self.batch_size} windows"
        )
