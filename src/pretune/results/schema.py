"""The columns of the results table: a contract for every writer and reader.

One row per measurement, the same columns for every kind of cell; a column that does not apply is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1

TEXT, INTEGER, REAL, BOOLEAN = "string", "Int64", "Float64", "boolean"

METRIC_COLUMNS: Mapping[str, str] = {
    "run_id": TEXT,
    "kind": TEXT,
    "family": TEXT,
    "checkpoint": TEXT,
    "phase": TEXT,
    "step": INTEGER,
    "tokens": INTEGER,
    "params": INTEGER,
    "annealed": BOOLEAN,
    "pretrain_seed": INTEGER,
    "stage": TEXT,
    "train_task": TEXT,
    "train_format": TEXT,
    "train_rows": INTEGER,
    "epochs": INTEGER,
    "optimizer": TEXT,
    "lr": REAL,
    "regularizer": TEXT,
    "regularizer_strength": REAL,
    "seed": INTEGER,
    "state": TEXT,
    "eval_task": TEXT,
    "eval_split": TEXT,
    "relation": TEXT,
    "eval_format": TEXT,
    "shots": INTEGER,
    "scorer": TEXT,
    "probe": TEXT,
    "probe_variant": TEXT,
    "magnitude": REAL,
    "probe_seed": INTEGER,
    "metric": TEXT,
    "value": REAL,
    "ci_low": REAL,
    "ci_high": REAL,
    "n": INTEGER,
}

COLUMN_MEANINGS: Mapping[str, str] = {
    "run_id": "the cell that measured it: name of its folder in `runs/`",
    "kind": "kind of cell",
    "family": "model family, as the catalogue names it",
    "checkpoint": "name of the checkpoint in messages and figures",
    "phase": "training phase that `step` counts in",
    "step": "pre-training step",
    "tokens": "pre-training tokens seen, where they are known",
    "params": "parameters of the model",
    "annealed": "whether the learning rate of the pre-training had reached its end",
    "pretrain_seed": "seed of the pre-training, where a family has several",
    "stage": "kind of training",
    "train_task": "task of the fine-tuning; null in rows of base models",
    "train_format": "prompt format of the fine-tuning",
    "train_rows": "rows of the fine-tuning",
    "epochs": "passes over them",
    "optimizer": "optimizer of the fine-tuning",
    "lr": "its peak learning rate",
    "regularizer": "what kept the fine-tuning near the base",
    "regularizer_strength": "its dial: strength, rank, or number of blocks",
    "seed": "seed of the fine-tuning",
    "state": "before or after fine-tuning",
    "eval_task": "task that was measured",
    "eval_split": "split of its rows",
    "relation": "how it relates to the training task; null in rows of base models",
    "eval_format": "prompt format of the measurement",
    "shots": "examples before each row",
    "scorer": "how an answer was read off the model; `baseline`: the trivial answerer on the same rows",
    "probe": "kind of probe",
    "probe_variant": "what exactly was done: normalisation, kind of quantisation, layer",
    "magnitude": "how much: γ, bits, α",
    "probe_seed": "seed of the probe's randomness",
    "metric": "what `value` is",
    "value": "the measurement: a sample mean, in the metric's own unit (accuracy, ROUGE-L: 0 to 1; losses: nats)",
    "ci_low": "lower end of its 95 % interval over rows",
    "ci_high": "upper end",
    "n": "rows it was measured on",
}
"""Column → what it says, for the reference page."""

KINDS = ("train", "evaluate", "probe")
STATES = ("base", "tuned")
RELATIONS = ("in_domain", "out_of_domain", "cross_task", "validation", "pretraining")
BASELINE_SCORER = "baseline"
"""Value of ``scorer`` in the rows that hold a task's trivial baseline on the evaluated rows."""


def metrics_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a table with exactly the contract's columns and types from partial rows.

    Raises ``ValueError`` naming any key that is not a column: a misspelt column must not vanish silently.
    """
    import pandas as pd

    rows = list(rows)
    unknown = sorted({key for row in rows for key in row} - set(METRIC_COLUMNS))
    if unknown:
        raise ValueError(f"not columns of the results table: {unknown}; valid: {list(METRIC_COLUMNS)}")
    columns = {
        name: pd.array([row.get(name) for row in rows], dtype=dtype)  # type: ignore[call-overload]
        for name, dtype in METRIC_COLUMNS.items()
    }
    return pd.DataFrame(columns)
