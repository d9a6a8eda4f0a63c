"""Columns of a raw row: each is found and of the right kind, or one error says what is there instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pretune.config.science import Task
from pretune.data.examples import Example
from pretune.errors import DataError, suggest

Row = Mapping[str, Any]
Reader = Callable[[Row, Task, str], Example | None]
"""(row, task, row id) → example, or ``None`` for a row without a gold answer."""

HIDDEN = ("-1", "", "None", "nan")
"""Texts of a label that is not given."""


def column(row: Row, name: str, task: Task) -> Any:
    """Value of a column, or an error that lists the columns there are."""
    try:
        return row[name]
    except KeyError:
        raise DataError(f"task={task.name}: the rows have no column '{name}'; {suggest(name, row)}") from None


def text_of(row: Row, name: str, task: Task) -> str:
    """Text of a column, stripped; anything but text or a number is refused."""
    return as_text(column(row, name, task), name, task)


def as_text(value: Any, name: str, task: Task) -> str:
    """A value of column ``name`` as text, stripped: nothing as "", a whole number without a point."""
    if value is None or value != value:  # NaN: how a table of numbers and texts writes "nothing"
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"task={task.name}: column '{name}' holds {type(value).__name__}, not text")
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(value) if whole else value).strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"task={task.name}: column '{name}' holds half of a character "
            f"(U+{ord(text[error.start]):04X} in {text[:40].encode('unicode_escape').decode()}…)"
        ) from None
    return text


def fields_of(row: Row, task: Task) -> dict[str, str]:
    """Template fields of a row by the task's ``fields`` mapping."""
    return {field: text_of(row, name, task) for field, name in task.fields.items()}


def label_column(task: Task) -> str:
    """Name of the task's label column."""
    if task.label is None:
        raise DataError(f"task={task.name}: task.label must name the column of the answer")
    return task.label


def listed(value: Any, name: str, task: Task) -> list[Any]:
    """A column's list, or an error: a text taken for a list would give its letters."""
    if not isinstance(value, list | tuple):
        raise DataError(f"task={task.name}: column '{name}' holds {type(value).__name__}, not a list")
    return list(value)


def texts_in(value: Any, name: str, task: Task) -> list[str]:
    """A column's list of texts, each as :func:`as_text` has it."""
    return [as_text(item, name, task) for item in listed(value, name, task)]


def index_of(answer: str, row_id: str, task: Task) -> int:
    """The index that ``answer`` is the text of."""
    try:
        return int(answer)
    except ValueError:
        raise DataError(f"task={task.name}: answer {answer!r} of row {row_id} is no index of an option") from None


def one_of(value: str, valid: tuple[str, ...], row_id: str, task: Task) -> int:
    """Position of a label among the ``valid`` ones, or an error that names them."""
    if value not in valid:
        raise DataError(f"task={task.name}: unknown label {value!r} in row {row_id}; valid: {', '.join(valid)}")
    return valid.index(value)


def check_label_names(task: Task, names: Sequence[str] | None) -> None:
    """Compare the names that a data set gives its label values with those that the task was written for."""
    if names is not None and task.label_names and tuple(names) != task.label_names:
        raise DataError(
            f"task={task.name}: the data set names its labels {list(names)}, not {list(task.label_names)}: "
            "task.labels may give them wrong words; mend both keys"
        )
