"""Which cells a table has, and which ones the grid of its own axes lacks."""

from __future__ import annotations

import pandas as pd

from pretune.analysis.choosing import SETTING
from pretune.analysis.cleaning import clean
from pretune.analysis.ladders import CHECKPOINT
from pretune.results.schema import BASELINE_SCORER

_TRAINING = ["train_task", *SETTING, "lr", "seed"]
_EVALUATION = ["eval_task", "eval_split", "eval_format", "shots"]
MISSING = ["kind", "state", "family", "checkpoint", *_TRAINING, "relation", *_EVALUATION]


def count_cells(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of run ids per kind of cell (train, evaluate, probe); only kinds that occur."""
    counts = table.dropna(subset=["kind"]).groupby("kind")["run_id"].nunique()
    return {str(kind): int(number) for kind, number in counts.items()}


def list_missing(table: pd.DataFrame) -> pd.DataFrame:
    """List the cells that would complete the grid of the axes seen in ``table``; columns :data:`MISSING`.

    Within each family: every (training task, setting, learning rate, seed) that was tuned anywhere is expected at
    every checkpoint; every evaluation (task, format, shots) that a training task got anywhere is expected of each of
    its trained models; every evaluation of a base model is expected at every checkpoint. A cell without a finite
    value counts as missing. The grid that was *asked for* is not in the table: what is listed may have been left out
    on purpose, and what is absent on a whole axis cannot be noticed.
    """
    rows = clean(table).table
    rows = rows[(rows["kind"] == "evaluate").fillna(False) & (rows["scorer"] != BASELINE_SCORER).fillna(True)]
    tuned = rows[(rows["state"] == "tuned").fillna(False)]
    base = rows[(rows["state"] == "base").fillna(False)]
    checkpoints = rows[CHECKPOINT].drop_duplicates()

    trainings = tuned[["family", *_TRAINING]].drop_duplicates().merge(checkpoints, on="family")
    trained = tuned[[*CHECKPOINT, *_TRAINING]].drop_duplicates()
    untrained = _lacking(trainings, trained).assign(kind="train", state="tuned")

    keys = ["relation", *_EVALUATION]
    wanted = trained.merge(tuned[["family", "train_task", *keys]].drop_duplicates(), on=["family", "train_task"])
    unevaluated = _lacking(wanted, tuned[[*CHECKPOINT, *_TRAINING, *keys]].drop_duplicates())
    wanted_base = base[["family", *_EVALUATION]].drop_duplicates().merge(checkpoints, on="family")
    base_lacking = _lacking(wanted_base, base[[*CHECKPOINT, *_EVALUATION]].drop_duplicates())
    parts = [
        untrained,
        unevaluated.assign(kind="evaluate", state="tuned"),
        base_lacking.assign(kind="evaluate", state="base"),
    ]
    return pd.concat([part.reindex(columns=MISSING) for part in parts], ignore_index=True)


def _lacking(wanted: pd.DataFrame, present: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``wanted`` that are not in ``present`` (same columns)."""
    marked = wanted.merge(present.assign(_present=True), on=list(present.columns), how="left")
    return marked[marked["_present"].isna()].drop(columns="_present")
