"""Readers of conversations: lists of messages, pairs of preferred and rejected dialogues, instructions with a reply.

A conversation is turns of ``system``, ``user`` and ``assistant``; what follows the last reply is dropped. A row
without a reply has no gold answer. ``target`` is the last reply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pretune.config.science import Task
from pretune.data.columns import Row, column, listed, text_of
from pretune.data.examples import ASSISTANT, ROLES, Example, Turn
from pretune.errors import DataError

HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
"""Marks of the speakers in HH-RLHF: ``"\\n\\nHuman: … \\n\\nAssistant: …"``."""


def read_messages(row: Row, task: Task, row_id: str) -> Example | None:
    """TÜLU: ``messages`` [{role, content}]."""
    turns = []
    for message in listed(column(row, "messages", task) or [], "messages", task):
        if not isinstance(message, Mapping):
            raise DataError(
                f"task={task.name}: a message of row {row_id} is {type(message).__name__}, not role, content"
            )
        role = text_of(message, "role", task)
        if role not in ROLES:
            raise DataError(f"task={task.name}: unknown role {role!r} in row {row_id}; valid: {', '.join(ROLES)}")
        turns.append(Turn(role=role, text=text_of(message, "content", task)))
    return conversation(row_id, turns)


def read_hh(row: Row, task: Task, row_id: str) -> Example | None:
    """HH-RLHF: the preferred dialogue, one text with marks of the speakers."""
    text = text_of(row, "chosen", task)
    if not text:
        return None
    marks = list(HH_TURN.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise DataError(f"task={task.name}: the dialogue of row {row_id} does not begin with 'Human:': {text[:60]!r}")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns = [
        Turn(role="user" if mark[1] == "Human" else ASSISTANT, text=text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    return conversation(row_id, turns)


def read_alpaca(row: Row, task: Task, row_id: str) -> Example | None:
    """Alpaca: ``instruction``, with ``input`` below it where there is one, and ``output`` as the reply."""
    asked = [text_of(row, name, task) for name in ("instruction", "input")]
    turns = [
        Turn(role="user", text="\n\n".join(part for part in asked if part)),
        Turn(role=ASSISTANT, text=text_of(row, "output", task)),
    ]
    return conversation(row_id, turns)


def conversation(row_id: str, turns: Sequence[Turn]) -> Example | None:
    """Example of the turns up to the last reply that says something; ``None`` if there is none.

    Empty turns other than replies are left out; an empty reply ends the conversation before it, because what follows
    answers something that is not there.
    """
    kept: list[Turn] = []
    for turn in turns:
        if turn.text:
            kept.append(turn)
        elif turn.role == ASSISTANT:
            break
    while kept and kept[-1].role != ASSISTANT:
        kept.pop()
    if not kept:
        return None
    return Example(id=row_id, turns=tuple(kept), target=kept[-1].text)
