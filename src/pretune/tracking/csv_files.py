"""Tracking into plain files, ``<study_dir>/logs/<run id>/``.

``run.json`` (name, group, job type, tags, configuration) is there from the start, ``steps.csv`` grows while the run
trains, ``summary.json`` and one CSV file per table come as they are given; ``summary.json`` has ``state`` (finished
or failed) once the run has ended.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pretune.tracking.guarding import Guard
from pretune.tracking.runs import (
    AXES,
    STEP_AXIS,
    RunInfo,
    Scalar,
    TrackedRun,
    UntrackedRun,
    check_folder,
    finite,
    plain,
    safe_id,
)

if TYPE_CHECKING:
    import pandas as pd


class CsvTracker:
    """``logger=csv``. A folder that cannot be written is one warning; the work goes on."""

    def __init__(self, study_dir: Path) -> None:
        self.folder = Path(study_dir) / "logs"
        self.guard = Guard("CSV log")
        self._open: list[CsvRun] = []

    def start(self, info: RunInfo) -> TrackedRun:
        """Make the run's folder; a resumed run adds to what it has, another one starts afresh."""
        if self.guard.given_up:
            return UntrackedRun()
        with self.guard.protect(f"starting run {info.id}") as attempt:
            run = CsvRun(info, self.folder / safe_id(info.id), self.guard)
        if attempt.failed:
            self.guard.failures += 1
            return UntrackedRun()
        self._open.append(run)
        return run

    def close(self) -> None:
        """Finish, as failed, the runs that nobody has finished."""
        for run in self._open:
            run.finish(failed=True)
        self._open.clear()


class CsvRun:
    """One run's files."""

    def __init__(self, info: RunInfo, folder: Path, guard: Guard) -> None:
        check_folder(folder)
        self.info = info
        self.folder = folder
        self.guard = guard
        self.summary: dict[str, Any] = {axis: plain(info.config[axis]) for axis in AXES if axis in info.config}
        self._loggers: tuple[Any, ...] | None = None
        self._finished = False
        described = {
            "id": info.id,
            "name": info.name,
            "group": info.group,
            "job_type": info.job_type,
            "tags": list(info.tags),
            "config": {key: finite(value) for key, value in info.config.items()},
        }
        _write_json(folder / "run.json", described)
        self._steps = StepsFile(folder / "steps.csv", resume=info.resume)

    @property
    def loggers(self) -> Sequence[Any]:
        """One Lightning logger."""
        if self._loggers is None:
            from pretune.tracking.lightning_logger import ForwardingLogger

            self._loggers = (ForwardingLogger("csv", self.folder.name, self._record),)
        return self._loggers

    def summarize(self, values: Mapping[str, Scalar]) -> None:
        """Set final metrics and write ``summary.json``."""
        self.summary.update({key: finite(value) for key, value in values.items()})
        self._write_summary()

    def add_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write ``<name>.csv``."""
        if not self._finished:
            with self.guard.protect(f"writing table {name}"):
                frame.to_csv(self.folder / f"{safe_id(name)}.csv", index=False)

    def add_drawing(self, name: str, text: str) -> None:
        """Write ``<name>.svg`` or ``<name>.html``."""
        if not self._finished:
            with self.guard.protect(f"writing {name}"):
                ending = "html" if text.lstrip()[:9].lower() == "<!doctype" else "svg"
                (self.folder / f"{safe_id(name)}.{ending}").write_text(text, encoding="utf-8")

    def finish(self, *, failed: bool = False) -> None:
        """Close ``steps.csv`` and note how the run ended."""
        if self._finished:
            return
        self.summary["state"] = "failed" if failed else "finished"
        self._write_summary()
        self._finished = True
        with self.guard.protect("closing steps.csv"):
            self._steps.close()

    def _write_summary(self) -> None:
        if not self._finished:
            with self.guard.protect("writing summary.json"):
                _write_json(self.folder / "summary.json", self.summary)

    def _record(self, values: Mapping[str, Any]) -> None:
        if not self._finished:
            with self.guard.protect("writing steps.csv"):
                self._steps.append({key: plain(value) for key, value in values.items()})


class StepsFile:
    """A CSV file whose columns are the union of its rows' keys, ``trainer/step`` first.

    Rows are appended; a row with a key never seen before rewrites the file once with the wider header. A resumed run
    trains again from its last saved step: older rows from that step on are dropped at the first new row.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.columns: list[str] = [STEP_AXIS]
        self._file: TextIO | None = None
        self._repeats = resume and path.exists()
        if self._repeats:
            with path.open(newline="", encoding="utf-8") as file:
                self.columns = list(csv.DictReader(file).fieldnames or [STEP_AXIS])
        else:
            self._rewrite([])

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; values are numbers or strings, missing ones stay empty."""
        new = [key for key in row if key not in self.columns]
        if new or self._repeats:
            kept = self._read()
            if self._repeats and STEP_AXIS in row:
                kept = [old for old in kept if _step_of(old) < float(row[STEP_AXIS])]
                self._repeats = False
            self.columns += new
            self._rewrite(kept)
        if self._file is None:
            self._file = self.path.open("a", newline="", encoding="utf-8", buffering=1)
        csv.DictWriter(self._file, self.columns).writerow(row)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> list[dict[str, Any]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.close()
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, self.path)


def _step_of(row: Mapping[str, Any]) -> float:
    try:
        return float(row[STEP_AXIS])
    except (KeyError, TypeError, ValueError):
        return -1.0


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
