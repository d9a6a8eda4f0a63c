"""Where rows come from: the Hub (or a mirror of it), a local folder, or the embedded miniature."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.config.science import Task
from pretune.data.columns import check_label_names
from pretune.data.examples import ASSISTANT, Example
from pretune.data.files import Rows, read_folder
from pretune.data.readers import choose_reader
from pretune.data.readers_choice import with_letters
from pretune.errors import DataError

log = logging.getLogger(__name__)


SAMPLE_SEED = 20_240_813
"""Fixed, so that ``task.sample_rows`` means the same rows in every run."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The usable examples of one split, with the number of rows left out.

    ``dropped``: rows without a gold answer; ``empty``: rows with a gold answer but an empty input or option.
    """

    name: str
    examples: tuple[Example, ...]
    dropped: int
    empty: int = 0


def load_split(task: Task, split: str, *, other_splits: tuple[str, ...] = ()) -> Split:
    """Read one split of ``task``; ``a+b`` reads several, one after the other.

    Rows without a gold answer, and rows with an empty input or option, are dropped and counted. Raises
    :class:`~pretune.errors.DataError` when all of them are (a hidden test set): the message names ``other_splits``
    that the task could use instead.
    """
    rows = read_rows(task, split)
    reader = choose_reader(task)
    read = [reader(row, task, str(index)) for index, row in enumerate(rows)]
    labelled = [example for example in read if example is not None]
    examples = tuple(prepare(task, example) for example in labelled if is_complete(example))
    dropped, empty = len(rows) - len(labelled), len(labelled) - len(examples)
    if not examples:
        if not rows:
            raise DataError(f"task={task.name}: split '{split}' is empty")
        if labelled:
            raise DataError(f"task={task.name}: all {empty} labelled rows of split '{split}' have an empty input")
        candidates = (task.labelled_splits if task.source == "hub" else ()) or other_splits
        usable = ", ".join(name for name in candidates if name and name != split) or "a labelled split"
        raise DataError(f"task={task.name}: all {len(rows)} rows of split '{split}' have hidden labels; use {usable}")
    if dropped:
        log.info("%s/%s: %d of %d rows without a gold answer dropped", task.name, split, dropped, len(rows))
    if empty:
        log.info("%s/%s: %d of %d rows with an empty input or option dropped", task.name, split, empty, len(rows))
    return Split(name=split, examples=examples, dropped=dropped, empty=empty)


def sampled(count: int, wanted: int | None) -> Sequence[int]:
    """Indices of ``wanted`` of ``count`` rows, drawn with a fixed seed and in order; all where that is no fewer."""
    if wanted is None or wanted >= count:
        return range(count)
    return sorted(random.Random(SAMPLE_SEED).sample(range(count), wanted))


def read_rows(task: Task, split: str) -> Rows:
    """The raw rows of ``split`` (``a+b`` joins), or their sample; an example's id is its row's number here."""
    rows = [row for part in split.split("+") for row in SOURCES[task.source](task, part)]
    return [rows[index] for index in sampled(len(rows), task.sample_rows)]


def is_complete(example: Example) -> bool:
    """Whether every input text and every option says something, and a conversation does not begin with a reply."""
    replies_to_nothing = bool(example.turns) and example.turns[0].role == ASSISTANT
    return all(example.fields.values()) and all(example.options) and not replies_to_nothing


def prepare(task: Task, example: Example) -> Example:
    """The example in the form that the task asks for."""
    return with_letters(task, example) if task.letters else example


def fingerprint(examples: tuple[Example, ...]) -> str:
    """SHA-256 of the content of examples, in order."""
    digest = hashlib.sha256()
    for example in examples:
        row: list[Any] = [example.id, dict(example.fields), list(example.options), example.gold, example.target]
        if example.turns:
            row.append([[turn.role, turn.text] for turn in example.turns])
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()


def _read_pico(task: Task, split: str) -> Rows:
    from pretune.pico.tasks import rows

    return rows(task.name, split)


def _read_hub(task: Task, split: str) -> Rows:
    from datasets import logging as datasets_logging
    from datasets.exceptions import DatasetNotFoundError
    from datasets.utils.logging import disable_progress_bar

    from pretune.checkpoints.hub import check_data_set, explain_hub_errors
    from pretune.data.remote import load_dataset

    datasets_logging.set_verbosity_error()
    disable_progress_bar()
    streaming = task.stream_rows is not None
    with explain_hub_errors(f"task={task.name}: data set {task.repo}", missing=DataError):
        check_data_set(str(task.repo), task.revision)
        try:
            data = load_dataset(
                task.repo,
                task.config,
                split=split,
                revision=task.revision,
                streaming=streaming,
                data_dir=task.data_dir,
            )
        except DatasetNotFoundError as error:
            raise DataError(f"task={task.name}: {error}") from None
        except ValueError as error:  # unknown configuration or split: the message lists the valid ones
            raise DataError(f"task={task.name}: data set {task.repo}: {error}") from None
        check_label_names(task, getattr((data.features or {}).get(task.label), "names", None))
        if streaming:
            return [dict(row) for row in data.take(task.stream_rows)]
        return [dict(row) for row in data.select(sampled(len(data), task.sample_rows))]


def _read_ladder(task: Task, split: str) -> Rows:
    raise DataError(f"task={task.name}: its text belongs to a ladder; give the checkpoint of one")


SOURCES: Mapping[str, Callable[[Task, str], Rows]] = {
    "hub": _read_hub,
    "path": read_folder,
    "pico": _read_pico,
    "ladder": _read_ladder,
}
"""``task.source`` → the function that reads a split's raw rows."""
