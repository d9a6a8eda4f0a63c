"""Readers of tasks whose answer is a text to be written.

The reference study listed all answers without saying which one the question should be about. Its wording is kept for
``format=paper/…`` in the fields ``listing`` (default), ``listing_instruct`` and ``listing_io``, with its missing
spaces (``format_generalization.py`` of its code).
"""

from __future__ import annotations

from collections.abc import Sequence

from pretune.config.science import Task
from pretune.data.columns import HIDDEN, Row, column, fields_of, label_column, one_of, text_of, texts_in
from pretune.data.examples import Example


def read_socialiqa(row: Row, task: Task, row_id: str) -> Example | None:
    """Context and the right answer → the question."""
    right = text_of(row, "label", task)
    if right in HIDDEN:
        return None
    answers = [text_of(row, f"answer{letter}", task) for letter in "ABC"]
    subject = answers[one_of(right, ("1", "2", "3"), row_id, task)]
    as_listed = list_answers(answers, glued="C")
    return question(row, task, row_id, subject, as_listed, as_listed, "".join(answers))


def read_sciq(row: Row, task: Task, row_id: str) -> Example | None:
    """Supporting text and the right answer → the question. Rows without supporting text are left out."""
    right = text_of(row, "correct_answer", task)
    answers = [right, *(text_of(row, f"distractor{number}", task) for number in (1, 2, 3))]
    if not right:
        return None
    by_default, instruct = list_answers(answers, glued="D"), list_answers(answers, glued="CD")
    return question(row, task, row_id, right, by_default, instruct, "".join(answers))


def read_tweetqa(row: Row, task: Task, row_id: str) -> Example | None:
    """Tweet and its first answer → the question."""
    answers = texts_in(column(row, "Answer", task) or [], "Answer", task)
    subject = answers[0] if answers else ""
    return question(row, task, row_id, subject, subject, subject, subject) if subject else None


def question(
    row: Row, task: Task, row_id: str, subject: str, listing: str, listing_instruct: str, listing_io: str
) -> Example | None:
    """Example of question generation: what the question is about, and the reference study's listings of answers."""
    target = text_of(row, label_column(task), task)
    fields = {
        **fields_of(row, task),
        "subject": subject,
        "listing": listing,
        "listing_instruct": listing_instruct,
        "listing_io": listing_io,
    }
    return Example(id=row_id, fields=fields, target=target) if target else None


def list_answers(answers: Sequence[str], *, glued: str) -> str:
    """All answers in one line, ``Answer A: … Answer B: …``, without the space before the letters in ``glued``."""
    text = ""
    for letter, answer in zip("ABCD", answers, strict=False):
        space = "" if not text or letter in glued else " "
        text += f"{space}Answer {letter}: {answer}"
    return text


def read_gsm8k(row: Row, task: Task, row_id: str) -> Example | None:
    """GSM8K: question → worked solution; one without the mark of its final answer cannot be compared."""
    target = text_of(row, label_column(task), task)
    return Example(id=row_id, fields=fields_of(row, task), target=target) if "####" in target else None


def read_one_line(row: Row, task: Task, row_id: str) -> Example | None:
    """Fields and a target whose line breaks become spaces: a generated answer ends with its line."""
    target = " ".join(text_of(row, label_column(task), task).split())
    return Example(id=row_id, fields=fields_of(row, task), target=target) if target else None
