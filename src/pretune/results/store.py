"""A study on disk: which cells are finished, and how a finished one is published.

::

    study_dir/
      runs/<kind>-<name>-<hash12>/   config.yaml  metrics.parquet  items.parquet  model/  run.json  SHA256SUMS
                                     or failure.json instead
      index/<request key>.json       request key → run_id
      work/<run_id>/                 what an unfinished cell needs to go on (step checkpoints)
      claims/<run_id>.json           who works on it
      damaged/<run_id>.<number>/     what was found damaged, and was made again

A run folder appears complete or not at all: it is written beside its place and renamed into it.
"""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pretune.config.secrets import redact
from pretune.errors import DamagedFile, UsageError
from pretune.results.checksums import NAME as SUMS
from pretune.results.checksums import check_bytes, read_sums, write_sums
from pretune.results.claims import Claim
from pretune.results.links import leads_out
from pretune.results.naming import say_runs
from pretune.results.schema import SCHEMA_VERSION, metrics_frame

log = logging.getLogger(__name__)

ITEMS = "items.parquet"
RECORD = ("run.json", "config.yaml", "metrics.parquet", ITEMS)
"""Files of a run that are compared with their checksums before it counts as finished."""
SMALL = 1 << 20
"""Bytes up to which the items are, too: more than they would make the look at a finished cell slow."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that a finished cell leaves behind, apart from its model."""

    run_id: str
    kind: str
    request_key: str
    identity: str
    request: Mapping[str, Any]
    config: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Iterable[Mapping[str, Any]] = ()
    items: Iterable[Mapping[str, Any]] = ()


class Study:
    """The results of one study, under one folder. Creating it touches nothing; writing creates folders."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.runs = self.root / "runs"
        self.index = self.root / "index"
        self.work = self.root / "work"
        self.claims = self.root / "claims"
        self.damaged = self.root / "damaged"
        self._sound: set[str] = set()
        self._said: set[str] = set()

    def run_dir(self, run_id: str) -> Path:
        """Folder of a run, finished or not. A name that leads elsewhere (``../x``) is refused."""
        if leads_out(run_id):
            raise UsageError(f"'{run_id}' is not the name of a run")
        return self.runs / run_id

    def find_finished(self, request_key: str) -> str | None:
        """``run_id`` of the finished cell with this request, or ``None``. Costs two file look-ups."""
        try:
            run_id = str(json.loads((self.index / f"{request_key}.json").read_text())["run_id"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            return None  # a damaged entry: the cell is found again by its id
        return run_id if not leads_out(run_id) and self.is_finished(run_id) else None

    def is_finished(self, run_id: str) -> bool:
        """Whether the run folder holds the completion marker, and record and metrics are as they were written.

        Their checksums are compared once for each run and process; those of items and weights when they are read.
        """
        folder = self.runs / run_id
        if not (folder / "run.json").is_file():
            return False
        if run_id not in self._sound:
            try:
                check_record(folder)
            except DamagedFile as error:
                if run_id not in self._said:
                    self._said.add(run_id)
                    log.warning("%s", error)
                return False
            self._sound.add(run_id)
        return True

    def set_aside(self, run_id: str) -> Path:
        """Move a damaged run out of the way, for a look at it; return where it is."""
        self.damaged.mkdir(parents=True, exist_ok=True)
        aside = self.damaged / f"{run_id}.{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.runs / run_id, aside)
            log.warning("%s was damaged: set aside as %s", run_id, aside)
        self._sound.discard(run_id)
        return aside

    def remember(self, request_key: str, run_id: str) -> None:
        """Enter a finished cell into the index."""
        self.index.mkdir(parents=True, exist_ok=True)
        write_atomically(self.index / f"{request_key}.json", json.dumps({"run_id": run_id}).encode())

    def claim(self, run_id: str, request_key: str | None = None) -> Claim:
        """A claim (not yet acquired) on a cell."""
        return Claim(self.claims / f"{run_id}.json", request_key)

    def publish(self, record: Record, claim: Claim, *, model: Path | None = None) -> None:
        """Write a finished cell's folder and put it in place by one rename, if the claim is still ours.

        ``model`` is a folder with the fine-tuned weights that is moved in. A failure record in its place is
        removed. Raises :class:`~pretune.errors.ClaimLost` when the cell was taken over.
        """
        folder = self._start_folder(record.run_id)
        try:
            (folder / "config.yaml").write_text(dump_yaml(record.config))
            frame = metrics_frame({"run_id": record.run_id, "kind": record.kind, **row} for row in record.metrics)
            # without what speeds up large files: a study has thousands of these, and reads them whole
            frame.to_parquet(folder / "metrics.parquet", index=False, use_dictionary=False, write_statistics=False)
            write_items(folder / ITEMS, record.run_id, record.items)
            if model is not None:
                os.replace(model, folder / "model")
            body = {
                "schema_version": SCHEMA_VERSION,
                "run_id": record.run_id,
                "kind": record.kind,
                "status": "finished",
                "request_key": record.request_key,
                "id": record.identity,
                "request": record.request,
                "facts": record.facts,
                "provenance": record.provenance,
            }
            (folder / "run.json").write_text(redact(json.dumps(body, indent=1, ensure_ascii=False, default=str)))
            write_sums(folder)
            flush(folder)
            claim.check()
            self._put_in_place(folder, record.run_id)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.remember(record.request_key, record.run_id)
        self.tidy(record.run_id)

    def tidy(self, run_id: str) -> None:
        """Remove what killed attempts at a cell left behind, and what it worked with if it is finished.

        For the owner of its claim, or for a finished cell.
        """
        if self.is_finished(run_id):
            shutil.rmtree(self.work / run_id, ignore_errors=True)
        for left in self.runs.glob(f".{glob.escape(run_id)}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def sweep(self, *, age: float = 86_400.0) -> None:
        """Remove what killed processes left behind: claims and work of finished cells, half-written small files.

        The latter only when they are ``age`` seconds old, since a living process may be writing them.
        """
        for path in self.claims.glob("*.json"):
            if self.is_finished(path.stem):
                path.unlink(missing_ok=True)
                self.tidy(path.stem)
        for path in (*self.claims.glob("*.json.*"), *self.index.glob(".*")):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()

    def record_failure(self, run_id: str, failure: Mapping[str, Any]) -> None:
        """Leave ``failure.json`` where the run would have been, unless the run is finished."""
        if self.is_finished(run_id):
            return
        folder = self._start_folder(run_id)
        try:
            body = {"run_id": run_id, "status": "failed", "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **failure}
            (folder / "failure.json").write_text(redact(json.dumps(body, indent=1, ensure_ascii=False, default=str)))
            self._put_in_place(folder, run_id)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_failure(self, run_id: str) -> None:
        """Remove the failure record of a cell that has since been finished."""
        folder = self.run_dir(run_id)
        if (folder / "failure.json").is_file() and not self.is_finished(run_id):
            shutil.rmtree(folder, ignore_errors=True)

    def _start_folder(self, run_id: str) -> Path:
        self.runs.mkdir(parents=True, exist_ok=True)
        folder = self.runs / f".{run_id}.{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        return folder

    def _put_in_place(self, folder: Path, run_id: str) -> None:
        target = self.runs / run_id
        if (target / "run.json").is_file() and not self.is_finished(run_id):
            self.set_aside(run_id)
        if target.exists() and not self.is_finished(run_id):
            aside = self.runs / f".{run_id}.{uuid.uuid4().hex[:8]}.old"
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, aside)
            if (aside / "run.json").is_file():  # published between our look and our rename: it goes back
                os.rename(aside, target)
            shutil.rmtree(aside, ignore_errors=True)
        try:
            os.rename(folder, target)  # fails if the target is a folder with content: never published twice
        except OSError:
            if not self.is_finished(run_id):
                raise
        flush_folder(self.runs)

    def finished_runs(self) -> Iterator[Path]:
        """Folders of all finished runs, sorted by name."""
        if not self.runs.is_dir():
            return
        for entry in sorted(os.scandir(self.runs), key=lambda item: item.name):
            if not entry.name.startswith(".") and os.path.isfile(os.path.join(entry.path, "run.json")):
                yield Path(entry.path)

    def failures(self) -> Iterator[Mapping[str, Any]]:
        """All failure records, sorted by run_id."""
        for path in sorted(self.runs.glob("[!.]*/failure.json")):
            try:
                yield _to_object(path.read_bytes())
            except ValueError:
                yield {"run_id": path.parent.name, "error": "unreadable failure record"}

    def find_failure(self, run_id: str) -> Mapping[str, Any] | None:
        """The failure record of a cell; ``None`` if there is none."""
        try:
            return _to_object((self.runs / run_id / "failure.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {"run_id": run_id, "error": "unreadable failure record"}

    def read_run(self, run_id: str) -> dict[str, Any]:
        """Content of ``run.json`` of a finished run."""
        path = self.runs / run_id / "run.json"
        try:
            content = read_checked(path)
            return _to_object(content)
        except FileNotFoundError:
            raise UsageError(f"run={run_id}: no finished run of that name in {self.root}") from None
        except ValueError as error:
            raise DamagedFile(path, str(error)) from None

    def read_config(self, run_id: str) -> dict[str, Any]:
        """Content of ``config.yaml`` of a finished run: plain data, never given to Hydra."""
        path = self.runs / run_id / "config.yaml"
        try:
            return dict(yaml.load(read_checked(path).decode(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except FileNotFoundError:
            raise UsageError(f"run={run_id}: no finished run of that name in {self.root}") from None
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise DamagedFile(path, str(error)) from None

    def find_run(self, prefix: str) -> str:
        """Complete a unique prefix of a ``run_id``; an error lists the candidates."""
        if not leads_out(prefix) and (self.runs / prefix / "run.json").is_file():
            return prefix
        names = [path.name for path in self.finished_runs()]
        matches = [name for name in names if name.startswith(prefix)]
        if len(matches) == 1:
            return matches[0]
        what = f"not unique; {len(matches)} runs begin so" if matches else "no finished run begins so"
        raise UsageError(f"run={prefix}: {what}; {say_runs(matches or names, self.runs, near=prefix)}")


def read_checked(path: Path) -> bytes:
    """Content of a file of a run. Raises :class:`~pretune.errors.DamagedFile` if it is not what was written."""
    content, sums = path.read_bytes(), read_sums(path.parent)
    if sums is not None and path.name not in sums:
        raise DamagedFile(path.parent / SUMS, f"without {path.name}")
    try:
        check_bytes(path, content, (sums or {}).get(path.name))
    except DamagedFile as error:
        if path.name == ITEMS and len(content) > SMALL:
            raise DamagedFile(path, error.reason, remedy="delete its folder and run its command again") from None
        raise
    return content


def check_record(folder: Path) -> None:
    """Raise :class:`~pretune.errors.DamagedFile` unless record, configuration and metrics of a run are sound."""
    found = read_sums(folder)
    sums = found or {}
    for name in RECORD:
        path = folder / name
        try:
            if name == ITEMS and path.stat().st_size > SMALL:
                continue
            content = path.read_bytes()
        except FileNotFoundError:
            if name in sums:
                raise DamagedFile(path, "missing") from None
            continue
        if found is not None and name not in found:
            raise DamagedFile(folder / SUMS, f"without {name}")
        check_bytes(path, content, sums.get(name))
        if name == "run.json" and name not in sums:  # of a version that wrote no checksums
            try:
                _to_object(content)
            except ValueError as error:
                raise DamagedFile(path, str(error)) from None


def _to_object(content: bytes) -> dict[str, Any]:
    """A JSON file that must hold an object; ``ValueError`` when it does not."""
    body = json.loads(content)
    if not isinstance(body, dict):
        raise ValueError(f"a {type(body).__name__} instead of an object")
    return body


def dump_yaml(data: Any) -> str:
    """YAML text of plain data, keys in order."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it into it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(folder: Path) -> None:
    """Force a folder's files to the disk, so that the rename that follows never outruns them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            flush_folder(path)
    flush_folder(folder)


def flush_folder(folder: Path) -> None:
    """Force a folder's names to the disk: after a power cut it must know what was renamed into it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_items(path: Path, run_id: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Write ``items.parquet``: one row per scored example and scorer; nothing when there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"run_id": run_id, **item} for item in items]
    if not rows:
        return
    schema = {
        "run_id": pa.string(),
        "eval_task": pa.string(),
        "eval_format": pa.string(),
        "shots": pa.int64(),
        "scorer": pa.string(),
        "item": pa.string(),
        "choices": pa.list_(pa.string()),
        "scores": pa.list_(pa.float64()),
        "prediction": pa.string(),
        "gold": pa.string(),
        "value": pa.float64(),
    }
    if any("prompt" in row for row in rows):
        schema["prompt"] = pa.string()
    columns = {name: pa.array([row.get(name) for row in rows], type=kind) for name, kind in schema.items()}
    pq.write_table(pa.table(columns), path, compression="zstd")
