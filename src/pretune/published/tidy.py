"""Any results in the columns of the results table: CSV, JSONL or Parquet, one row per measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretune.errors import suggest
from pretune.published.records import Origin, Published, name_family, read_rows, take_number, take_text
from pretune.results.schema import (
    BOOLEAN,
    INTEGER,
    KINDS,
    METRIC_COLUMNS,
    REAL,
    RELATIONS,
    STATES,
    metrics_frame,
)

NAME = "tidy"
REQUIRED = ("family", "checkpoint", "eval_task", "metric", "value")
TRUTHS = {"true": True, "false": False, "1": True, "0": False}
CHOICES = {"kind": KINDS, "state": STATES, "relation": RELATIONS}
DEFAULTS = {"kind": "evaluate", "state": "base", "eval_format": "default", "scorer": "sum"}


def read_tidy(path: Path) -> Published:
    """Read a table whose columns are those of :mod:`pretune.results.schema`.

    ``family, checkpoint, eval_task, metric`` and ``value`` are needed; what else is absent takes a default (an
    evaluation of a base model in the format ``default``) or is null. Raises :class:`DataError` naming file, line and
    field.
    """
    rows = []
    for origin, row in read_rows(path, required=REQUIRED):
        unknown = [name for name in row if name not in METRIC_COLUMNS]
        if unknown:
            raise origin.fail(
                f"'{unknown[0]}' is not a column of the results table: {suggest(unknown[0], METRIC_COLUMNS)}"
            )
        typed = DEFAULTS | {name: _convert(row, name, origin) for name in row if row[name] is not None}
        for name in REQUIRED:
            if name not in typed:
                raise origin.fail(f"field '{name}' is empty")
        typed["run_id"] = f"{origin.name(NAME)}:{typed['run_id']}" if "run_id" in typed else origin.name(NAME)
        typed["family"] = name_family(str(typed["family"]), NAME)
        rows.append(typed)
    return Published(table=metrics_frame(rows), primary={})


def _convert(row: dict[str, Any], name: str, origin: Origin) -> object:
    kind = METRIC_COLUMNS[name]
    if kind in (INTEGER, REAL):
        number = take_number(row, name, origin, whole=kind == INTEGER)
        return int(number) if kind == INTEGER else number
    if kind == BOOLEAN:
        value = row[name] if isinstance(row[name], bool) else TRUTHS.get(str(row[name]).lower())
        if value is None:
            raise origin.fail(f"field '{name}' is {row[name]!r}, neither true nor false")
        return value
    text = take_text(row, name, origin)
    if text not in CHOICES.get(name, (text,)):
        raise origin.fail(f"field '{name}' is {text!r}: {suggest(text, CHOICES[name])}")
    return text
