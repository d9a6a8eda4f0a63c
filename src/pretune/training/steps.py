"""Optimizer steps as data: which rows each holds, in which micro-batches, as which tensors.

The rows of every optimizer step are fixed by the seed. Grouping by length happens only inside a step, so that the
size of a micro-batch changes the memory but never which rows are learnt together.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from pretune.data.encoding import Encoded
from pretune.errors import DataError
from pretune.training.packing import row_offsets

MicroBatch = dict[str, Any]
"""``input_ids`` [rows, length], padded on the right; ``rows``, ``columns`` and ``targets`` [supervised]: the positions
whose next token is learnt, and that token. Packed rows lie one after another in a single one, with ``position_ids``
[1, length] that restart, ``lengths`` (numbers) and ``offsets`` [rows + 1] (see :mod:`pretune.training.packing`).

Padding needs no mask: it stands to the right of every token, and attention looks to the left."""


class StepBatch(NamedTuple):
    """All rows of one optimizer step: a tuple, because Lightning takes batches apart and rebuilds them.

    Where several processes share a step, ``micro_batches`` are this process's own, the numbers those of all.
    """

    micro_batches: list[MicroBatch]
    tokens: int
    """Supervised tokens, over which the loss is a mean."""
    positions: int
    """Tokens processed, padding not counted."""
    replay: StepBatch | None = None
    """Pre-training text that is learnt in the same step."""

    @property
    def computed(self) -> int:
        """Positions that this process's forward passes compute, padding counted."""
        own: int = sum(micro["input_ids"].numel() for micro in self.micro_batches)
        return own + (self.replay.computed if self.replay else 0)


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
        packed: bool = False,
        part: tuple[int, int] = (0, 1),
        even: bool = False,
        replay: Callable[[int], Sequence[Encoded]] | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.epochs = epochs
        self.seed = seed
        self.pad_id = pad_id
        self.micro_batch = micro_batch or batch_size
        self.packed = packed
        self.part = part
        self.even = even
        self.replay = replay
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
            batch = self._make([self.rows[index] for index in chosen])
            if self.replay is not None:
                batch = batch._replace(replay=self._make(self.replay(epoch * self.steps_per_epoch + step)))
            yield batch

    def _make(self, rows: Sequence[Encoded]) -> StepBatch:
        return make_step(
            rows,
            pad_id=self.pad_id,
            micro_batch=self.micro_batch,
            packed=self.packed,
            part=self.part,
            even=self.even,
        )

    def rows_of(self, step: int) -> list[int]:
        """Indices of the rows that the optimizer step ``step`` (from 0, over all epochs) learns."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]


def make_step(
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    micro_batch: int,
    packed: bool = False,
    part: tuple[int, int] = (0, 1),
    even: bool = False,
) -> StepBatch:
    """Sort the rows of one step by length, split them into micro-batches and turn those into tensors.

    ``part`` (rank, world size) is the process whose rows are wanted: every world-size-th of them, so that all
    processes get like lengths. With ``even`` all get as many micro-batches, for which some hold nothing to learn.
    """
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    own = ordered[part[0] :: part[1]]
    parts = [own[start : start + micro_batch] for start in range(0, len(own), micro_batch)]
    if even:
        most = -(-len(rows) // part[1])
        idle = Encoded(ids=(pad_id,), context=1)
        parts += [[idle]] * (-(-most // micro_batch) - len(parts))
    return StepBatch(
        micro_batches=[pack(part) if packed else collate(part, pad_id=pad_id) for part in parts],
        tokens=sum(len(row.supervised()) for row in rows),
        positions=sum(len(row.ids) for row in rows),
    )


def row_count(micro: MicroBatch) -> int:
    """Rows of a micro-batch, padded or packed."""
    return len(micro["lengths"]) if "lengths" in micro else len(micro["input_ids"])


def cut_micro_batch(micro: MicroBatch, limit: int) -> Iterator[MicroBatch]:
    """The same rows in micro-batches of at most ``limit`` rows."""
    count = row_count(micro)
    if count <= limit:
        yield micro
        return
    for first in range(0, count, limit):
        yield _cut_packed(micro, first, limit) if "lengths" in micro else _cut_padded(micro, first, limit)


def _cut_padded(micro: MicroBatch, first: int, limit: int) -> MicroBatch:
    ids = micro["input_ids"][first : first + limit]
    wanted = (micro["rows"] >= first) & (micro["rows"] < first + limit)
    found = {name: micro[name][wanted] for name in ("rows", "columns", "targets")}
    return {"input_ids": ids, **found, "rows": found["rows"] - first}


def _cut_packed(micro: MicroBatch, first: int, limit: int) -> MicroBatch:
    lengths = micro["lengths"][first : first + limit]
    begin = sum(micro["lengths"][:first])
    end = begin + sum(lengths)
    wanted = (micro["columns"] >= begin) & (micro["columns"] < end)
    found = {name: micro[name][wanted] for name in ("rows", "columns", "targets")}
    return {
        "input_ids": micro["input_ids"][:, begin:end],
        "position_ids": micro["position_ids"][:, begin:end],
        "lengths": lengths,
        "offsets": micro["offsets"][first : first + len(lengths) + 1] - begin,
        **found,
        "columns": found["columns"] - begin,
    }


def collate(rows: Sequence[Encoded], *, pad_id: int) -> MicroBatch:
    """Pad rows on the right and list their supervised positions.

    The token at ``p`` is predicted at ``p − 1``; the first token of a row has no prediction.
    """
    length = max(len(row.ids) for row in rows)
    padded = [[*row.ids, *[pad_id] * (length - len(row.ids))] for row in rows]
    supervised = [
        (index, position - 1, row.ids[position]) for index, row in enumerate(rows) for position in row.supervised()
    ]
    return {"input_ids": torch.tensor(padded), **describe_supervised(supervised)}


def pack(rows: Sequence[Encoded]) -> MicroBatch:
    """Put rows one after another into one sequence without padding, and list their supervised positions."""
    lengths = [len(row.ids) for row in rows]
    offsets = row_offsets(lengths)
    starts = offsets.tolist()
    supervised = [
        (0, start + position - 1, row.ids[position])
        for start, row in zip(starts, rows, strict=False)
        for position in row.supervised()
    ]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.ids]]),
        "position_ids": torch.tensor([[position for length in lengths for position in range(length)]]),
        "lengths": lengths,
        "offsets": offsets,
        **describe_supervised(supervised),
    }


def describe_supervised(where: Sequence[tuple[int, int, int]]) -> MicroBatch:
    """Tensors of (row, column, target) triples."""
    table = torch.tensor(where, dtype=torch.long).reshape(-1, 3)
    return {"rows": table[:, 0], "columns": table[:, 1], "targets": table[:, 2]}


def make_window_step(input_ids: torch.Tensor, *, micro_batch: int | None = None) -> StepBatch:
    """One pre-training step over windows [rows, length]; every token but the first of each window is supervised."""
    rows, length = input_ids.shape
    batches = []
    for part in torch.split(input_ids, micro_batch or rows):
        row, column = torch.meshgrid(torch.arange(len(part)), torch.arange(length - 1), indexing="ij")
        batches.append(
            {
                "input_ids": part,
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
