"""Read W&B's transaction logs (``run-<id>.wandb``): LevelDB's log format around protocol buffers."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    started: float = 0.0
    exit_code: int | None = None
    folder: Path = Path()


def find_runs(study_dir: Path, *, seconds: float = 5.0) -> list[OfflineRun]:
    """Read all offline runs of a study, the oldest first. W&B's service writes the end of a run a little later."""
    limit = time.monotonic() + seconds
    while True:
        files = sorted(study_dir.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_ctime_ns)
        runs = [read_run(path) for path in files]
        if all(run.exit_code is not None for run in runs) or time.monotonic() > limit:
            return sorted(runs, key=lambda run: run.started)
        time.sleep(0.05)


def read_run(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun(folder=path.parent)
    for blob in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(blob)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.name, run.group = record.run.run_id, record.run.display_name, record.run.run_group
            run.job_type, run.project, run.tags = record.run.job_type, record.run.project, tuple(record.run.tags)
            run.started = record.run.start_time.ToNanoseconds() / 1e9
            run.config.update(unpack(record.run.config.update))
        elif kind == "config":
            run.config.update(unpack(record.config.update))
        elif kind == "history":
            run.history.append(unpack(record.history.item))
        elif kind == "summary":
            run.summary.update(unpack(record.summary.update))
        elif kind == "metric":
            run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def unpack(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def records(data: bytes) -> list[bytes]:
    assert data[:4] == b":W&B", data[:7]
    found: list[bytes] = []
    partial = b""
    position = HEADER
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _crc, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        if kind == 0:
            position += left
            continue
        partial += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            found.append(partial)
            partial = b""
    return found
