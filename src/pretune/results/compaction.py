"""One file with the metrics of many finished cells, so that a large study is read at once.

It is a copy: the files of the runs stay what counts. ::

    <study_dir>/compacted/metrics-<first half of its SHA-256>.parquet

Each of its rows is used only while the run's own file is the one it was copied from (by size and time), and the whole
only while its content has the hash of its name. So it may be written, killed, deleted or left from before at any
moment: a reader then reads the files of the runs themselves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.results.schema import SCHEMA_VERSION
from pretune.results.store import Study, flush_folder, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

WORTHWHILE = 500
"""Runs outside the compacted file from which on it is written anew, if they are also a tenth of all."""
FOLDER = "__folder__"
"""Its column that says which run's file a row was copied from."""
KEY = b"pretune"

Stamp = tuple[int, int]
"""Size and time of change of a file of metrics, in bytes and nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """The copied rows, and of which files."""

    table: pa.Table | None = None
    stamps: Mapping[str, Stamp] = field(default_factory=dict)


def stamp_of(path: Path) -> Stamp | None:
    """Stamp of a file of metrics; ``None`` if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def read_compacted(study: Study) -> Compacted:
    """The newest sound compacted file of a study; nothing where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in _files(study):
        try:
            content = path.read_bytes()
            if _name_of(content) != path.name:
                raise ValueError("its content is not what its name says")
            table = pq.read_table(pa.BufferReader(content))
            body: dict[str, Any] = json.loads(table.schema.metadata[KEY])
            if body["schema_version"] != SCHEMA_VERSION:
                continue
            stamps = {str(name): (int(size), int(changed)) for name, (size, changed) in body["stamps"].items()}
            return Compacted(table=table.replace_schema_metadata(), stamps=stamps)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            log.warning("%s is damaged (%s); it is a copy: the files of the runs are read instead", path, error)
    return Compacted()


def write_compacted(study: Study, table: pa.Table, stamps: Mapping[str, Stamp]) -> Path:
    """Write the rows of runs, with the column :data:`FOLDER`, into a new file, and remove those from before."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    body = {"schema_version": SCHEMA_VERSION, "stamps": {name: list(stamp) for name, stamp in stamps.items()}}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(body).encode()}), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    before = _files(study)
    path = _folder(study) / _name_of(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    flush_folder(path.parent)
    for left in [*before, *path.parent.glob(".metrics-*")]:
        if left != path:
            left.unlink(missing_ok=True)
    return path


def is_due(runs: int, outside: int) -> bool:
    """Whether so many of a study's runs outside the compacted file make it worth writing."""
    return outside >= WORTHWHILE and outside * 10 >= runs


def _folder(study: Study) -> Path:
    return study.root / "compacted"


def _files(study: Study) -> list[Path]:
    """Compacted files, the newest first: more than one if somebody was killed between writing and removing."""
    found = [(stamp, path) for path in _folder(study).glob("metrics-*.parquet") if (stamp := stamp_of(path))]
    return [path for _, path in sorted(found, key=lambda item: item[0][1], reverse=True)]


def _name_of(content: bytes) -> str:
    return f"metrics-{hashlib.sha256(content).hexdigest()[:32]}.parquet"
