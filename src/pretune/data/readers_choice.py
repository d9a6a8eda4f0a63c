"""Readers of tasks that choose among options given with each row, and the multiple-choice form of any of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import string
from collections.abc import Mapping, Sequence

from pretune.config.science import Task
from pretune.data.columns import HIDDEN, Row, column, fields_of, index_of, label_column, one_of, text_of, texts_in
from pretune.data.examples import Example
from pretune.errors import DataError


def chosen(task: Task, row_id: str, fields: Mapping[str, str], options: Sequence[str], gold: int) -> Example:
    """Example of a choice task."""
    if not 0 <= gold < len(options):
        raise DataError(f"task={task.name}: answer {gold} of row {row_id} is none of its {len(options)} options")
    texts = tuple(option.strip() for option in options)
    return Example(id=row_id, fields=fields, options=texts, gold=gold, target=texts[gold])


def scattered(task: Task, row_id: str, fields: Mapping[str, str], right: str, wrong: Sequence[str]) -> Example:
    """Example of a row that names the right option apart from the wrong ones.

    The order is drawn by the row's own text, so that the right option's place says nothing and never changes.
    """
    texts = [right, *wrong]
    context = "\x1f".join(fields.values())
    order = sorted(range(len(texts)), key=lambda i: hashlib.sha256(f"{context}\x1f{texts[i]}".encode()).digest())
    return chosen(task, row_id, fields, [texts[index] for index in order], order.index(0))


def with_letters(task: Task, example: Example) -> Example:
    """The multiple-choice form: the options are shown as field ``choices``, and their letters are the options."""
    if len(example.options) > len(string.ascii_uppercase):
        raise DataError(f"task={task.name}: row {example.id} has more options than there are letters")
    letters = tuple(string.ascii_uppercase[: len(example.options)])
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, example.options, strict=True))
    gold = 0 if example.gold is None else example.gold
    return dataclasses.replace(
        example, fields={**example.fields, "choices": lines}, options=letters, target=letters[gold]
    )


def read_options(row: Row, task: Task, row_id: str) -> Example | None:
    """Columns ``options`` (list of texts) and ``answer`` (index of the right one)."""
    options, answer = column(row, "options", task), text_of(row, "answer", task)
    if answer in HIDDEN:
        return None
    return chosen(
        task, row_id, fields_of(row, task), texts_in(options, "options", task), index_of(answer, row_id, task)
    )


def read_lettered_choices(row: Row, task: Task, row_id: str) -> Example | None:
    """ARC, OpenBookQA, CommonsenseQA: ``choices`` {text, label} and the letter (or digit) of the right one."""
    choices, key = column(row, "choices", task), text_of(row, label_column(task), task)
    if not isinstance(choices, Mapping):
        raise DataError(f"task={task.name}: column 'choices' holds {type(choices).__name__}, not texts and labels")
    letters = texts_in(column(choices, "label", task), "choices.label", task)
    if not key:
        return None
    if key not in letters:
        raise DataError(f"task={task.name}: answer {key!r} of row {row_id} is none of {letters}")
    texts = texts_in(column(choices, "text", task), "choices.text", task)
    if len(texts) != len(letters):
        raise DataError(f"task={task.name}: row {row_id} has {len(letters)} letters for {len(texts)} options")
    return chosen(task, row_id, fields_of(row, task), texts, letters.index(key))


def read_named_options(row: Row, task: Task, row_id: str) -> Example | None:
    """PIQA: one column for each option, named by ``labels`` (value of the label column → column)."""
    answer = text_of(row, label_column(task), task)
    if answer in HIDDEN:
        return None
    gold = one_of(answer, tuple(task.labels), row_id, task)
    return chosen(task, row_id, fields_of(row, task), [text_of(row, name, task) for name in task.labels.values()], gold)


def read_socialiqa_choice(row: Row, task: Task, row_id: str) -> Example | None:
    """SocialIQA as a choice: context and question → one of three answers."""
    right = text_of(row, "label", task)
    if right in HIDDEN:
        return None
    gold = one_of(right, ("1", "2", "3"), row_id, task)
    context = joined(text_of(row, "context", task), text_of(row, "question", task))
    return chosen(task, row_id, {"context": context}, [text_of(row, f"answer{x}", task) for x in "ABC"], gold)


def read_sciq_choice(row: Row, task: Task, row_id: str) -> Example | None:
    """SciQ as a choice: supporting text (where there is one) and question → one of four answers."""
    right = text_of(row, "correct_answer", task)
    context = joined(text_of(row, "support", task), text_of(row, "question", task))
    wrong = [text_of(row, f"distractor{number}", task) for number in (1, 2, 3)]
    return scattered(task, row_id, {"context": context}, right, wrong) if right else None


def read_truthfulqa_choice(row: Row, task: Task, row_id: str) -> Example | None:
    """TruthfulQA as a choice: the best answer among the incorrect ones (its MC1 setting)."""
    right = text_of(row, "best_answer", task)
    wrong = [text for text in texts_in(column(row, "incorrect_answers", task) or [], "incorrect_answers", task) if text]
    return scattered(task, row_id, fields_of(row, task), right, wrong) if right and wrong else None


def read_winogrande(row: Row, task: Task, row_id: str) -> Example | None:
    """Winogrande: the sentence up to its gap → an option with the rest of the sentence."""
    sentence, answer = text_of(row, "sentence", task), text_of(row, label_column(task), task)
    if answer in HIDDEN:
        return None
    gold = one_of(answer, ("1", "2"), row_id, task)
    before, gap, after = sentence.partition("_")
    if not gap:
        raise DataError(f"task={task.name}: the sentence of row {row_id} has no gap '_': {sentence[:80]!r}")
    options = [text_of(row, name, task) for name in ("option1", "option2")]
    return chosen(task, row_id, {"context": before.strip()}, [option + after for option in options], gold)


def read_hellaswag(row: Row, task: Task, row_id: str) -> Example | None:
    """HellaSwag in cloze form, cleaned as in its authors' evaluation: activity label, context, four endings."""
    label = text_of(row, "label", task)
    if label in HIDDEN:
        return None
    activity, context = text_of(row, "activity_label", task), text_of(row, "ctx", task)
    context = f"{activity}: {context}" if activity else context
    endings = [_clean_hellaswag(ending) for ending in texts_in(column(row, "endings", task), "endings", task)]
    return chosen(task, row_id, {"context": _clean_hellaswag(context)}, endings, index_of(label, row_id, task))


def _clean_hellaswag(text: str) -> str:
    """WikiHow artefacts: bracketed marks such as ``[title]``."""
    text = re.sub(r"\[.*?\]", "", text.replace(" [title]", ". "))
    return re.sub(r" {2,}", " ", text).strip()


def joined(*parts: str) -> str:
    """The parts that are not empty, with a space between them."""
    return " ".join(part for part in parts if part)
