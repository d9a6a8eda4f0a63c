"""Readers of tasks whose answer is a class, and of those whose columns need no code."""

from __future__ import annotations

from typing import Any

from pretune.config.science import Task
from pretune.data.columns import HIDDEN, Row, column, fields_of, label_column, text_of
from pretune.data.examples import Example
from pretune.errors import DataError, suggest


def read_columns(row: Row, task: Task, row_id: str) -> Example | None:
    """Fields, then a class label (looked up in ``labels``) or a target text, straight from columns."""
    name = label_column(task)
    if task.answer != "classification":
        target = text_of(row, name, task)
        return Example(id=row_id, fields=fields_of(row, task), target=target) if target else None
    return labelled(row, task, row_id, column(row, name, task))


def labelled(row: Row, task: Task, row_id: str, value: Any) -> Example | None:
    """Example of a classification task whose label column holds ``value``; −1 and "" mean hidden."""
    key = str(int(value)) if isinstance(value, bool | float) and float(value).is_integer() else str(value)
    if key in HIDDEN:
        return None
    if key not in task.labels:
        raise DataError(f"task={task.name}: unknown label {value!r} in row {row_id}; {suggest(key, task.labels)}")
    options = tuple(task.labels.values())
    gold = list(task.labels).index(key)
    return Example(id=row_id, fields=fields_of(row, task), options=options, gold=gold, target=options[gold])


def read_stsb(row: Row, task: Task, row_id: str) -> Example | None:
    """Similarity from 0 to 5 as paraphrase above 3.5 (Amuro & Char, appendix); −1 is a hidden label."""
    score = text_of(row, label_column(task), task)
    try:
        similarity = float(score or "nan")
    except ValueError:
        raise DataError(f"task={task.name}: similarity {score!r} of row {row_id} is no number") from None
    if similarity > 5:
        raise DataError(f"task={task.name}: similarity {score} of row {row_id} is above 5")
    return labelled(row, task, row_id, int(similarity > 3.5)) if similarity >= 0 else None
