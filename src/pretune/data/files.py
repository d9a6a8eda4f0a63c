"""Rows of local files (``task.source=path``): Parquet, JSON (lines or a list), and plain text as documents.

A split is ``<split>.parquet``, ``<split>.jsonl``, ``<split>.txt`` or ``<split>.json`` in the folder, or a sub-folder
``<split>`` of such files (but JSON lists: those there describe the others), read in the order of their names. A folder
that holds nothing but ``*.txt`` is one split of documents, whatever it is called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pretune.config.science import Task
from pretune.data.columns import check_label_names
from pretune.errors import DataError, suggest

Rows = list[dict[str, Any]]

EVERYTHING = "*"
"""Instead of the name of a split: all files of a folder."""


def read_folder(task: Task, split: str) -> Rows:
    """Rows of one split below ``task.path`` (``task.config`` names a folder in between, if given)."""
    folder = Path(str(task.path)).expanduser()
    if not folder.is_dir():
        raise DataError(f"task.path={task.path}: no such folder")
    for place in dict.fromkeys((folder, folder / str(task.config or ""))):
        files = find_files(place, split)
        if files:
            return [row for path in files for row in FORMATS[path.suffix](task, path)]
    there = {path.stem for path in folder.iterdir() if path.suffix in FORMATS or path.is_dir()}
    wanted = ", ".join(f"{split}{suffix}" for suffix in FORMATS)
    found = suggest(split, there) if there else "no data is there at all"
    raise DataError(f"task.path={task.path}: none of {wanted} is there, nor a folder {split}; {found}")


def find_files(folder: Path, split: str) -> list[Path]:
    """The files of a split in ``folder``; of :data:`EVERYTHING`, all files in it and below."""
    if split == EVERYTHING:
        return sorted(path for path in folder.rglob("*") if path.suffix in FORMATS and path.is_file())
    for suffix in FORMATS:
        path = folder / f"{split}{suffix}"
        if path.is_file():
            return [path]
    if (folder / split).is_dir():
        return sorted(path for path in (folder / split).iterdir() if path.suffix in FORMATS and path.suffix != ".json")
    files = sorted(path for path in folder.iterdir() if path.suffix in FORMATS) if folder.is_dir() else []
    files = [path for path in files if path.suffix != ".json"]
    return files if all(path.suffix == ".txt" for path in files) and not is_split(files) else []


def is_split(files: list[Path]) -> bool:
    """Whether text files are named as splits are: then each is a split of its own, not a document."""
    return any(path.stem in ("train", "validation", "test") for path in files)


def read_parquet(task: Task, path: Path) -> Rows:
    """Rows of a Parquet file; the names of a class label's values are checked where the file has them."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"task={task.name}: {path} cannot be read: {error}") from None
    described = (table.schema.metadata or {}).get(b"huggingface")
    if described is not None:
        features = json.loads(described).get("info", {}).get("features", {})
        check_label_names(task, (features.get(task.label) or {}).get("names"))
    return [dict(row) for row in table.to_pylist()]


def read_json_lines(task: Task, path: Path) -> Rows:
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


def read_json_list(task: Task, path: Path) -> Rows:
    """A JSON list of objects."""
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"task={task.name}: {path} is not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"task={task.name}: {path} is not a list of objects")
    return rows


def read_text(task: Task, path: Path) -> Rows:
    """One document, in the task's label column."""
    try:
        return [{task.label or "text": path.read_bytes().decode("utf-8-sig")}]
    except UnicodeDecodeError as error:
        raise DataError(f"task={task.name}: {path} is not UTF-8: {error}") from None


FORMATS: Mapping[str, Callable[[Task, Path], Rows]] = {
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".txt": read_text,
    ".json": read_json_list,
}
"""Ending of a file → the function that reads its rows."""


def hash_path(task: Task) -> str | None:
    """Hash of the files of a ``source=path`` task (content, not place); ``None`` for other sources."""
    if task.source != "path":
        return None
    digest = hashlib.sha256()
    folder = Path(str(task.path)).expanduser()
    for path in sorted(folder.rglob("*")):
        if path.suffix in FORMATS and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
