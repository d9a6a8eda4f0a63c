"""Shots: worked examples that stand before the evaluated one. From the training split, by seed, never evaluated rows.

A training row whose input is also an evaluated row's, but for case, punctuation and spacing, would show the model its
answer: such rows are left out of what shots are drawn from, and counted. Repeated training rows are drawn once.
"""

from __future__ import annotations

import logging
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from pretune.data.examples import Example
from pretune.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShotPool:
    """Training rows that may be shots for the rows of one split.

    ``overlaps`` are the pairs of ids (training row, evaluated row) with the same text, whose training rows are not
    among ``rows``; neither are the ``repeated`` ones that say what another training row says.
    """

    rows: tuple[Example, ...]
    overlaps: tuple[tuple[str, str], ...] = ()
    repeated: int = 0


def build_pool(training: Sequence[Example], evaluated: Sequence[Example]) -> ShotPool:
    """Leave out of ``training`` what is also ``evaluated``: all rows of the split, whatever sample is drawn of them."""
    taken = {normalise(example): example.id for example in reversed(evaluated)}
    seen: set[str] = set()
    rows, overlaps, repeated = [], [], 0
    for example in training:
        text = normalise(example)
        if text in taken:
            overlaps.append((example.id, taken[text]))
        elif text in seen:
            repeated += 1
        else:
            seen.add(text)
            rows.append(example)
    if overlaps:
        logger.info("%d training rows are not used as shots: they are also evaluated", len(overlaps))
    return ShotPool(rows=tuple(rows), overlaps=tuple(overlaps), repeated=repeated)


def draw_shots(pool: ShotPool, count: int, *, seed: int) -> tuple[Example, ...]:
    """``shot_sampling=fixed``: the same ``count`` shots before every row; fewer are the beginning of more."""
    check_size(pool, count)
    shuffled = list(pool.rows)
    random.Random(seed).shuffle(shuffled)
    return tuple(shuffled[:count])


def draw_balanced_shots(pool: ShotPool, count: int, *, seed: int) -> tuple[Example, ...]:
    """``shot_sampling=balanced``: as :func:`draw_shots`, the classes as equally often as ``count`` allows.

    Round by round each class comes once, in an order drawn anew for each round: so every beginning is balanced too,
    and no class always comes last. Where rows have no options, or options of their own, there are no classes: then it
    is :func:`draw_shots`.
    """
    check_size(pool, count)
    rng = random.Random(seed)
    shuffled = list(pool.rows)
    rng.shuffle(shuffled)
    by_class: dict[int, list[Example]] = {}
    for example in shuffled:
        if example.gold is None or example.options != shuffled[0].options:
            return tuple(shuffled[:count])
        by_class.setdefault(example.gold, []).append(example)
    shots: list[Example] = []
    for turn in range(-(-count // max(len(by_class), 1))):
        classes = sorted(by_class)
        rng.shuffle(classes)
        for gold in classes:
            if len(shots) < count:
                if turn >= len(by_class[gold]):
                    name = by_class[gold][0].target
                    raise DataError(
                        f"shots={count}: only {len(by_class[gold])} training rows of class '{name}' may be shots; "
                        "take fewer shots or shot_sampling=fixed"
                    )
                shots.append(by_class[gold][turn])
    return tuple(shots)


def draw_row_shots(pool: ShotPool, count: int, evaluated: Sequence[Example], *, seed: int) -> list[tuple[Example, ...]]:
    """``shot_sampling=per_row``: shots of its own for each evaluated row, by the seed and the row's id alone.

    A row's shots depend neither on the other rows nor on their order; fewer are the beginning of more.
    """
    check_size(pool, count)
    numbers = range(len(pool.rows))
    drawn = []
    for example in evaluated:
        chosen = distinct(numbers, count, random.Random(f"{seed} {example.id}"))
        drawn.append(tuple(pool.rows[number] for number in chosen))
    return drawn


def distinct(numbers: range, count: int, rng: random.Random) -> list[int]:
    """``count`` different ones of ``numbers``; unlike those of ``random.sample``, fewer are the beginning of more."""
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen.setdefault(rng.choice(numbers))
    return list(chosen)


def check_size(pool: ShotPool, count: int) -> None:
    """Refuse more shots than there are rows for them, and say where the others went."""
    if count <= len(pool.rows):
        return
    message = f"shots={count}: only {len(pool.rows)} training rows may be shots"
    if pool.overlaps:
        training, evaluated = pool.overlaps[0]
        message += (
            f"; {len(pool.overlaps)} others are also evaluated (training row {training} has the text of evaluated row "
            f"{evaluated})"
        )
    if pool.repeated:
        message += f"; {pool.repeated} repeat other training rows"
    raise DataError(f"{message}. Take fewer shots, or another task.train_split")


def check_leak(shots: Sequence[Example], evaluated: Sequence[Example]) -> None:
    """Raise :class:`DataError` naming both rows if the text of a shot is also that of an evaluated row."""
    taken = {normalise(example): example.id for example in reversed(evaluated)}
    for shot in shots:
        text = normalise(shot)
        if text in taken:
            raise DataError(
                f"training row {shot.id}, drawn as a shot, has the text of evaluated row {taken[text]}: {text[:80]!r}. "
                "Draw other shots (shot_seed=…) or leave that row out of the training split"
            )


def normalise(example: Example) -> str:
    """Text of an example's input without case, punctuation, spacing and variants of one character (NFKC)."""
    text = " ".join(example.fields[name] for name in sorted(example.fields)) or example.target
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()
