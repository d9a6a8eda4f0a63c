"""Where rows come from: the Hub (or a mirror of it), a local folder, or the embedded miniature."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.config.science import Task
from pretune.data.examples import Example
from pretune.data.readers import choose_reader
from pretune.errors import DataError, suggest

log = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The usable examples of one split, with the number of rows left out."""

    name: str
    examples: tuple[Example, ...]
    dropped: int


def load_split(task: Task, split: str, *, other_splits: tuple[str, ...] = ()) -> Split:
    """Read one split of ``task``.

    Rows without a gold answer are dropped and counted. Raises :class:`~pretune.errors.DataError` when all of them
    are (a hidden test set): the message names ``other_splits`` that the task could use instead.
    """
    rows = SOURCES[task.source](task, split)
    reader = choose_reader(task)
    read = [reader(row, task, str(index)) for index, row in enumerate(rows)]
    examples = tuple(example for example in read if example is not None)
    if not examples:
        if not rows:
            raise DataError(f"task={task.name}: split '{split}' is empty")
        usable = ", ".join(name for name in other_splits if name and name != split) or "a labelled split"
        raise DataError(f"task={task.name}: all {len(rows)} rows of split '{split}' have hidden labels; use {usable}")
    dropped = len(rows) - len(examples)
    if dropped:
        log.info("%s/%s: %d of %d rows without a gold answer dropped", task.name, split, dropped, len(rows))
    return Split(name=split, examples=examples, dropped=dropped)


def fingerprint(examples: tuple[Example, ...]) -> str:
    """SHA-256 of the content of examples, in order."""
    digest = hashlib.sha256()
    for example in examples:
        row = [example.id, dict(example.fields), list(example.options), example.gold, example.target]
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()


def _read_pico(task: Task, split: str) -> Rows:
    from pretune.pico.tasks import rows

    return rows(task.name, split)


def _read_path(task: Task, split: str) -> Rows:
    """Rows of ``<path>/<split>.parquet`` or ``.jsonl`` (``task.config`` names a folder in between, if given)."""
    folder = Path(str(task.path)).expanduser()
    for path in (folder / f"{split}.parquet", folder / str(task.config or "") / f"{split}.parquet"):
        if path.is_file():
            import pyarrow.parquet as pq

            try:
                return [dict(row) for row in pq.read_table(path).to_pylist()]
            except (OSError, ValueError) as error:
                raise DataError(f"task={task.name}: {path} cannot be read: {error}") from None
    for path in (folder / f"{split}.jsonl", folder / str(task.config or "") / f"{split}.jsonl"):
        if path.is_file():
            return _read_json_lines(task, path)
    if not folder.is_dir():
        raise DataError(f"task.path={task.path}: no such folder")
    there = [path.stem for path in folder.iterdir() if path.suffix in (".parquet", ".jsonl")]
    raise DataError(f"task.path={task.path}: no {split}.parquet or {split}.jsonl; {suggest(split, there)}")


def _read_json_lines(task: Task, path: Path) -> Rows:
    """One JSON object per line; only a line feed ends a line (U+2028 and its like may stand inside strings)."""
    rows: Rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"task={task.name}: {path} line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"task={task.name}: {path} line {number} is not an object")
        rows.append(row)
    return rows


def hash_path(task: Task) -> str | None:
    """Hash of the files of a ``source=path`` task (content, not place); ``None`` for other sources."""
    if task.source != "path":
        return None
    digest = hashlib.sha256()
    for path in sorted(Path(str(task.path)).expanduser().rglob("*")):
        if path.suffix in (".parquet", ".jsonl"):
            digest.update(path.name.encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read_hub(task: Task, split: str) -> Rows:
    from datasets import load_dataset
    from datasets import logging as datasets_logging
    from datasets.exceptions import DatasetNotFoundError
    from datasets.utils.logging import disable_progress_bar

    from pretune.checkpoints.hub import check_data_set, explain_hub_errors

    datasets_logging.set_verbosity_error()
    disable_progress_bar()
    streaming = task.stream_rows is not None
    with explain_hub_errors(f"task={task.name}: data set {task.repo}", missing=DataError):
        check_data_set(str(task.repo), task.revision)
        try:
            data = load_dataset(task.repo, task.config, split=split, revision=task.revision, streaming=streaming)
        except DatasetNotFoundError as error:
            raise DataError(f"task={task.name}: {error}") from None
        except ValueError as error:  # unknown configuration or split: the message lists the valid ones
            raise DataError(f"task={task.name}: {error}") from None
        if streaming:
            return [dict(row) for row in data.take(task.stream_rows)]
        return [dict(row) for row in data]


SOURCES: Mapping[str, Callable[[Task, str], Rows]] = {"hub": _read_hub, "path": _read_path, "pico": _read_pico}
"""``task.source`` → the function that reads a split's raw rows."""
