"""The headline: each task's primary metric before and after fine-tuning, over pre-training."""

from __future__ import annotations

import pandas as pd

from pretune.analysis.comparison import PAIR, compare
from pretune.analysis.metrics import Primary, find_text_tasks

DEFAULT_FORMAT = "default"


def build_headline(
    table: pd.DataFrame,
    primary: Primary,
    *,
    eval_format: str | None = None,
    shots: int | None = None,
    every_rate: bool = False,
) -> pd.DataFrame:
    """Return one row per (checkpoint, training, evaluated task) in one format and at one number of shots.

    Columns as :func:`pretune.analysis.comparison.compare` has them, with ``base``, ``tuned`` and ``gain`` in the
    units of the table. Pre-training text is left out (:func:`build_forgetting` has it).

    Tuned models are read in the format they were trained in, unless ``eval_format`` names another one; where that
    format was not evaluated, in ``default``, else in the first. Tasks without fine-tuning (``train_task`` null)
    are read in the commonest training format, by the same rule. ``shots``: unless given, the
    number that most checkpoints of a curve were evaluated with, the fewest of several.
    """
    joined = compare(table, primary, every_rate=every_rate)
    joined = joined[~joined["eval_task"].isin(find_text_tasks(table))]
    return pick_evaluation(joined, eval_format=eval_format, shots=shots)


def pick_evaluation(joined: pd.DataFrame, *, eval_format: str | None = None, shots: int | None = None) -> pd.DataFrame:
    """Keep one format and one number of shots of every curve of a comparison, as :func:`build_headline` says."""
    if joined.empty:
        return joined
    counts = joined["train_format"].dropna().value_counts()
    commonest = str(counts.index[0]) if len(counts) else DEFAULT_FORMAT
    wanted = joined["train_format"].fillna(commonest)
    if eval_format is not None:
        wanted = wanted.mask(wanted.notna(), eval_format)
    current = joined["eval_format"].fillna("")
    # 0: the wanted format, 1: "default", 2 …: the others by name; the smallest that a curve has is read.
    rank = current.rank(method="dense") + 1
    rank = rank.mask(current == DEFAULT_FORMAT, 1).mask((current == wanted).fillna(False), 0)
    curve = [joined[name] for name in PAIR if name not in ("eval_format", "shots", "eval_split")]
    kept = rank == rank.groupby(curve, dropna=False).transform("min")
    if shots is not None:
        kept &= (joined["shots"].fillna(0) == shots).astype(bool)
    picked = joined[kept]
    curve = [picked[name] for name in PAIR if name not in ("eval_format", "shots", "eval_split")]
    number = picked["shots"].fillna(0)
    scored = picked["tuned"].notna() | (picked["train_task"].isna() & picked["base"].notna())
    covered = scored.groupby([*curve, number], dropna=False).transform("sum")
    most = covered == covered.groupby(curve, dropna=False).transform("max")
    fewest = number.where(most).groupby(curve, dropna=False).transform("min")
    return picked[number == fewest].reset_index(drop=True)
