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
