"""Readers: from a data set's row to an :class:`~pretune.data.examples.Example`.

A reader is named by a task's ``reader`` key. It returns ``None`` for a row without a gold answer; such rows are
dropped and counted. To add one, write a function here and enter it in :data:`READERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pretune.config.science import Task
from pretune.data.examples import Example
from pretune.errors import DataError, suggest

Row = Mapping[str, Any]
Reader = Callable[[Row, Task, str], Example | None]

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
    value = column(row, name, task)
    if value is None:
        return ""
    if not isinstance(value, str | int | float):
        raise DataError(f"task={task.name}: column '{name}' holds {type(value).__name__}, not text")
    return str(value).strip()


def fields_of(row: Row, task: Task) -> dict[str, str]:
    """Template fields of a row by the task's ``fields`` mapping."""
    return {field: text_of(row, name, task) for field, name in task.fields.items()}


def label_column(task: Task) -> str:
    """Name of the task's label column."""
    if task.label is None:
        raise DataError(f"task={task.name}: task.label must name the column of the answer")
    return task.label


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


def read_options(row: Row, task: Task, row_id: str) -> Example | None:
    """Columns ``options`` (list of texts) and ``answer`` (index of the right one)."""
    options, answer = column(row, "options", task), text_of(row, "answer", task)
    if answer in HIDDEN:
        return None
    return chosen(task, row_id, fields_of(row, task), listed(options, "options", task), index_of(answer, row_id, task))


def listed(value: Any, name: str, task: Task) -> list[Any]:
    """A column's list, or an error: a text taken for a list would give its letters."""
    if not isinstance(value, list | tuple):
        raise DataError(f"task={task.name}: column '{name}' holds {type(value).__name__}, not a list")
    return list(value)


def index_of(answer: str, row_id: str, task: Task) -> int:
    """The index that ``answer`` is the text of."""
    try:
        return int(answer)
    except ValueError:
        raise DataError(f"task={task.name}: answer {answer!r} of row {row_id} is no index of an option") from None


def chosen(task: Task, row_id: str, fields: Mapping[str, str], options: list[str], gold: int) -> Example:
    """Example of a choice task."""
    if not 0 <= gold < len(options):
        raise DataError(f"task={task.name}: answer {gold} of row {row_id} is none of its {len(options)} options")
    texts = tuple(str(option).strip() for option in options)
    return Example(id=row_id, fields=fields, options=texts, gold=gold, target=texts[gold])


def read_stsb(row: Row, task: Task, row_id: str) -> Example | None:
    """Similarity from 0 to 5 as paraphrase above 3.5 (Amuro & Char, appendix); −1 is a hidden label."""
    score = text_of(row, label_column(task), task)
    try:
        similarity = float(score or "nan")
    except ValueError:
        raise DataError(f"task={task.name}: similarity {score!r} of row {row_id} is no number") from None
    return labelled(row, task, row_id, int(similarity > 3.5)) if similarity >= 0 else None


def read_socialiqa(row: Row, task: Task, row_id: str) -> Example | None:
    """Context and the right answer → the question."""
    right = text_of(row, "label", task)
    if right in HIDDEN:
        return None
    if right not in ("1", "2", "3"):
        raise DataError(f"task={task.name}: unknown label {right!r} in row {row_id}; valid: 1, 2, 3")
    subject = text_of(row, f"answer{'ABC'[int(right) - 1]}", task)
    target = text_of(row, label_column(task), task)
    return Example(id=row_id, fields={**fields_of(row, task), "subject": subject}, target=target) if target else None


def read_tweetqa(row: Row, task: Task, row_id: str) -> Example | None:
    """Tweet and its first answer → the question."""
    answers = listed(column(row, "Answer", task) or [], "Answer", task)
    target = text_of(row, label_column(task), task)
    if not answers or not target:
        return None
    return Example(id=row_id, fields={**fields_of(row, task), "subject": str(answers[0]).strip()}, target=target)


def read_lettered_choices(row: Row, task: Task, row_id: str) -> Example | None:
    """ARC and OpenBookQA: ``choices`` {text, label} and the letter (or digit) of the right one."""
    choices, key = column(row, "choices", task), text_of(row, label_column(task), task)
    if not isinstance(choices, Mapping):
        raise DataError(f"task={task.name}: column 'choices' holds {type(choices).__name__}, not texts and labels")
    letters = [str(letter) for letter in listed(column(choices, "label", task), "choices.label", task)]
    if not key:
        return None
    if key not in letters:
        raise DataError(f"task={task.name}: answer {key!r} of row {row_id} is none of {letters}")
    texts = listed(column(choices, "text", task), "choices.text", task)
    return chosen(task, row_id, fields_of(row, task), texts, letters.index(key))


def read_hellaswag(row: Row, task: Task, row_id: str) -> Example | None:
    """HellaSwag in cloze form, cleaned as in its authors' evaluation: activity label, context, four endings."""
    label = text_of(row, "label", task)
    if label in HIDDEN:
        return None
    context = f"{text_of(row, 'activity_label', task)}: {text_of(row, 'ctx', task)}"
    endings = [_clean_hellaswag(str(ending)) for ending in listed(column(row, "endings", task), "endings", task)]
    return chosen(task, row_id, {"context": _clean_hellaswag(context)}, endings, index_of(label, row_id, task))


def _clean_hellaswag(text: str) -> str:
    """WikiHow artefacts: bracketed marks such as ``[title]``."""
    text = re.sub(r"\[.*?\]", "", text.replace(" [title]", ". "))
    return re.sub(r" {2,}", " ", text).strip()


READERS: Mapping[str, Reader] = {
    "columns": read_columns,
    "options": read_options,
    "stsb": read_stsb,
    "socialiqa": read_socialiqa,
    "tweetqa": read_tweetqa,
    "lettered_choices": read_lettered_choices,
    "hellaswag": read_hellaswag,
}


def choose_reader(task: Task) -> Reader:
    """Reader of a task by its ``reader`` key."""
    try:
        return READERS[task.reader]
    except KeyError:
        raise DataError(f"task={task.name}: unknown reader '{task.reader}'; {suggest(task.reader, READERS)}") from None
