"""From tokenised options to padded batches: which tokens go through the model and which of them are scored.

A :class:`Branching` is one prompt (the trunk) with the token sequences that may follow it. Its input is

    trunk | branch 0 without its last token | branch 1 without its last token | …

because the last token of a branch is only ever predicted, never read. A branch sees the trunk and itself, and its
positions start where the trunk ends, so every branch is computed as if it alone followed the trunk. Where at most
one branch has an input of its own (options of one token; a single completion) the input is an ordinary sequence,
and plain causal attention computes it without any mask: padding stands on the right, where nothing looks.

Tokens that all trunks begin with (:mod:`pretune.evaluation.prefix`) can be left out of the input: they are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Branching:
    """A trunk of at least one token and its branches.

    Of branch ``k`` the tokens from ``starts[k]`` on are scored.
    """

    trunk: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of the input."""
        return len(self.trunk) + sum(max(len(branch) - 1, 0) for branch in self.branches)

    def split(self) -> list[Branching]:
        """One branching per branch: the same scores from ordinary sequences."""
        return [
            Branching(trunk=self.trunk, branches=(branch,), starts=(start,))
            for branch, start in zip(self.branches, self.starts, strict=True)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Padded input of ``rows`` branchings and the tokens to score in it.

    ``ids``, ``segments`` and ``positions`` have shape [rows, length]; segment 0 is the trunk, ``k + 1`` branch ``k``
    and -1 padding. ``branched`` tells whether any row has more than one branch with input, so that a mask is needed.
    Scored token ``i`` has id ``targets[i]``, is predicted at ``sources[i]`` (index into the flattened
    [rows · length] input) and is number ``scored[i]`` of the layout.
    """

    ids: Integers
    segments: Integers
    positions: Integers
    branched: bool
    sources: Integers
    targets: Integers
    scored: Integers


class Layout:
    """All branchings of one evaluation as flat arrays, from which batches are gathered without a loop over rows.

    ``lengths`` [branchings] are input lengths in tokens, ``counts`` [branches] scored tokens per branch; branches
    are numbered through in the order of the branchings. The first ``skip`` tokens of the trunks, which are the same
    for all, are not part of the input; at least one token of each trunk must be.
    """

    def __init__(self, branchings: Sequence[Branching], *, skip: int = 0) -> None:
        self.prefix = branchings[0].trunk[:skip] if skip else ()
        tokens: list[int] = []
        targets: list[int] = []
        segment_lengths: list[int] = []
        segment_numbers: list[int] = []
        segment_bases: list[int] = []
        lengths, branched, scored_per_row = [], [], []
        counts, starts, trunk_ends, inputs = [], [], [], []
        for branching in branchings:
            trunk = len(branching.trunk) - skip
            tokens.extend(branching.trunk[skip:])
            segment_lengths.append(trunk)
            segment_numbers.append(0)
            segment_bases.append(skip)
            length, with_input, scored = trunk, 0, 0
            for number, (branch, start) in enumerate(zip(branching.branches, branching.starts, strict=True), 1):
                counts.append(len(branch) - start)
                starts.append(start)
                trunk_ends.append(trunk)
                inputs.append(length)
                targets.extend(branch[start:])
                scored += len(branch) - start
                if len(branch) > 1:
                    tokens.extend(branch[:-1])
                    segment_lengths.append(len(branch) - 1)
                    segment_numbers.append(number)
                    segment_bases.append(skip + trunk)
                    length += len(branch) - 1
                    with_input += 1
            lengths.append(length)
            branched.append(with_input > 1)
            scored_per_row.append(scored)

        self.lengths = integers(lengths)
        self.counts = integers(counts)
        self.targets = integers(targets)
        self.scored_tokens = len(targets)
        self._tokens = integers(tokens)
        self._offsets = np.cumsum(self.lengths) - self.lengths
        self._branched = np.array(branched, dtype=bool)
        self._scored_per_row = integers(scored_per_row)
        self._scored_offsets = np.cumsum(self._scored_per_row) - self._scored_per_row
        # [tokens]: segment and position of every input token
        sizes = integers(segment_lengths)
        self._segments = np.repeat(integers(segment_numbers), sizes)
        self._positions = ranges(integers(segment_bases), sizes)
        # [scored tokens]: token j of a branch is predicted by its token j - 1, token 0 by the end of the trunk
        self.branch_of = np.repeat(np.arange(len(counts)), self.counts)
        place = ranges(integers(starts), self.counts)
        after_trunk = integers(trunk_ends)[self.branch_of] - 1
        self._sources = np.where(place == 0, after_trunk, integers(inputs)[self.branch_of] + place - 1)

    def first_batch(self, rows: Integers, budget: int) -> Integers:
        """The first of ``rows`` (branching numbers, longest first) that make at most ``budget`` padded tokens.

        At least one row, even where that row alone is over the budget.
        """
        return rows[: max(budget // int(self.lengths[rows[0]]), 1)]

    def longest_first(self) -> Integers:
        """Numbers of the branchings by falling length: too large a batch shows at once."""
        order: Integers = np.argsort(-self.lengths, kind="stable")
        return order

    def batch(self, rows: Integers) -> Batch:
        """Gather the padded input of ``rows`` and their scored tokens."""
        lengths = self.lengths[rows]
        width = int(lengths.max())
        flat = ranges(self._offsets[rows], lengths)
        inside = np.arange(width) < lengths[:, None]  # [rows, width]
        ids, segments, positions = (np.full(inside.shape, filler, dtype=np.int64) for filler in (0, -1, 0))
        ids[inside], segments[inside], positions[inside] = (
            self._tokens[flat],
            self._segments[flat],
            self._positions[flat],
        )
        scored = ranges(self._scored_offsets[rows], self._scored_per_row[rows])
        row_of = np.repeat(np.arange(len(rows)), self._scored_per_row[rows])
        return Batch(
            ids=ids,
            segments=segments,
            positions=positions,
            branched=bool(self._branched[rows].any()),
            sources=row_of * width + self._sources[scored],
            targets=self.targets[scored],
            scored=scored,
        )


def integers(values: Sequence[int]) -> Integers:
    """``values`` as an int64 array."""
    return np.array(values, dtype=np.int64)


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """``start, start + 1, …`` for each pair, one after another: shape [sum of lengths]."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    result: Integers = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return result
