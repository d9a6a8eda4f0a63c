"""A study of very many finished cells: reading its table, and recognising that a cell is finished.

    python benchmarks/many_cells.py [cells] [folder]

Publishes simulated evaluations (16 rows of metrics, 100 items each; no results) and prints the seconds of
``pretune.results.load`` from the files of the runs alone, from the compacted file, and with a tenth of the cells newer
than that (commands write it anew before there are more); of the compaction; and the milliseconds that the look at one
finished cell takes, checksums included. The folder is used again where it holds the cells already.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pretune.results
from pretune.results.store import Record, Study

LIMITS = {"load": 10.0, "look": 1e-3}
"""Seconds that reading the table as commands leave it, and looking at one cell, may take with 20,000 cells."""


def make_record(number: int, **changes: Any) -> Record:
    """A simulated evaluation, or another cell (``changes``) with its metrics."""
    columns = {
        "family": "olmo1b", "checkpoint": f"step{number}", "step": number, "eval_task": "mnli", "eval_split": "test",
        "eval_format": "default", "shots": 0, "state": "base",
    }  # fmt: skip
    metrics = [
        {**columns, "scorer": f"scorer{index % 4}", "metric": f"metric{index // 4}", "value": index / 16, "n": 100}
        for index in range(16)
    ]
    items = [
        {"eval_task": "mnli", "scorer": "sum", "item": str(index), "choices": ["yes", "no"], "scores": [-1.0, -2.0]}
        for index in range(100)
    ]
    key = f"{number:064x}"
    values: dict[str, Any] = {
        "run_id": f"evaluate-olmo1b-step{number}-on-mnli-default-{key[-12:]}", "kind": "evaluate", "request_key": key,
        "identity": key, "request": {"kind": "evaluate", "task": {"name": "mnli"}}, "config": columns,
        "facts": {"primary": ["accuracy", "sum"]}, "metrics": metrics, "items": items,
    }  # fmt: skip
    return Record(**{**values, **changes})


def fill(study: Study, cells: int) -> None:
    """Publish the cells that are missing, without forcing each to the disk."""
    fsync, os.fsync = os.fsync, lambda descriptor: None
    try:
        for number in range(cells):
            record = make_record(number)
            if not (study.runs / record.run_id).exists():
                claim = study.claim(record.run_id)
                claim.try_acquire()
                study.publish(record, claim)
                claim.release()
    finally:
        os.fsync = fsync


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    """Make the study, measure, compare with the limits."""
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        fill(Study(root), cells)
        for path in (root / "compacted").glob("*"):
            path.unlink()
        apart, table = timed(lambda: pretune.results.load(root))
        writing, _ = timed(lambda: pretune.results.compact(root))
        together, again = timed(lambda: pretune.results.load(root))
        assert table.equals(again)
        for number in range(0, cells, 10):
            os.utime(root / "runs" / make_record(number).run_id / "metrics.parquet")
        mixed, again = timed(lambda: pretune.results.load(root))
        assert table.equals(again)
        study, keys = Study(root), [make_record(number).request_key for number in range(cells)]
        first, found = timed(lambda: [study.find_finished(key) for key in keys])
        assert None not in found
        second, _ = timed(lambda: [study.find_finished(key) for key in keys])
    print(f"{cells:,} cells, {len(table):,} rows")
    print(
        f"load: {apart:.1f} s from their own files; {together:.2f} s after compaction (which took {writing:.1f} s), "
        f"{mixed:.1f} s with a tenth of the cells newer"
    )
    print(f"look at a finished cell: {first / cells * 1e3:.3f} ms the first time, {second / cells * 1e3:.3f} ms again")
    if max(mixed, together) > LIMITS["load"] or first / cells > LIMITS["look"]:
        sys.exit("slower than promised")


if __name__ == "__main__":
    main()
