"""Readers by name: from a data set's row to an :class:`~pretune.data.examples.Example`.

A reader is named by a task's ``reader`` key. It returns ``None`` for a row without a gold answer; such rows are
dropped and counted. To add one, write a function in the module of its kind and enter it in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pretune.config.science import Task
from pretune.data.columns import Reader
from pretune.data.readers_chat import read_alpaca, read_hh, read_messages
from pretune.data.readers_choice import (
    read_hellaswag,
    read_lettered_choices,
    read_named_options,
    read_options,
    read_sciq_choice,
    read_socialiqa_choice,
    read_truthfulqa_choice,
    read_winogrande,
)
from pretune.data.readers_labels import read_columns, read_stsb
from pretune.data.readers_texts import read_gsm8k, read_one_line, read_sciq, read_socialiqa, read_tweetqa
from pretune.errors import DataError, suggest

READERS: Mapping[str, Reader] = {
    "columns": read_columns,
    "options": read_options,
    "stsb": read_stsb,
    "one_line": read_one_line,
    "gsm8k": read_gsm8k,
    "socialiqa": read_socialiqa,
    "socialiqa_choice": read_socialiqa_choice,
    "sciq": read_sciq,
    "sciq_choice": read_sciq_choice,
    "tweetqa": read_tweetqa,
    "lettered_choices": read_lettered_choices,
    "named_options": read_named_options,
    "hellaswag": read_hellaswag,
    "winogrande": read_winogrande,
    "truthfulqa_choice": read_truthfulqa_choice,
    "messages": read_messages,
    "hh": read_hh,
    "alpaca": read_alpaca,
}


def choose_reader(task: Task) -> Reader:
    """Reader of a task by its ``reader`` key."""
    try:
        return READERS[task.reader]
    except KeyError:
        raise DataError(f"task={task.name}: unknown reader '{task.reader}'; {suggest(task.reader, READERS)}") from None
