"""How long a plan and a status of a large grid take, before anything is run and with most of it finished.

    python benchmarks/plan_and_status.py [checkpoints] [folder] [repetitions]

Each checkpoint of the grid has 125 cells. Four fifths of them are published (simulated; no results) into a study in
``folder``, which is used again where it holds them already. Prints the seconds of whole commands: median, smallest and
largest. The Hub's address is one where nobody answers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import ROOT, spread
from many_cells import make_record

GRID = ("checkpoint=olmo1b", "task=mnli,rte,paws", "optimizer.lr=1e-5,2e-5,3e-5,4e-5", "logger=none")
LIMIT = 20.0
"""Seconds that a plan of 3,000 cells (24 checkpoints) may take."""


def command(mode: str, checkpoints: int, study: Path) -> float:
    """Seconds of one command."""
    words = (*GRID, f"checkpoint.step={name_steps(checkpoints)}", f"study_dir={study}", f"mode={mode}")
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "train.py", "-m", *words],
        cwd=ROOT, env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return time.perf_counter() - started


def name_steps(checkpoints: int) -> str:
    """The steps of the grid."""
    return ",".join(str(1000 * number) for number in range(1, checkpoints + 1))


def list_grid(checkpoints: int, study: Path) -> Iterator[tuple[Any, Any]]:
    """Each cell of the grid once, with its job."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from pretune.config.expansion import expand
    from pretune.config.library import Library
    from pretune.config.schema import register
    from pretune.execution.grid import plan_grid
    from pretune.execution.session import check_points, complete_jobs

    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(config_name="train", overrides=[], run_mode=RunMode.MULTIRUN)
        words = [*GRID, f"checkpoint.step={name_steps(checkpoints)}", f"study_dir={study}"]
        checked = check_points("train", expand(words, loader=loader, master=master))
        grid = plan_grid(complete_jobs(*checked, Library(loader)))
    seen = set()
    for cells in grid.jobs:
        for cell in cells.all():
            if cell.key not in seen:
                seen.add(cell.key)
                yield cell, cells.job


def fill(checkpoints: int, root: Path) -> int:
    """Publish four of five cells that are missing, without forcing each to the disk; return the number of all."""
    from pretune.config.schema import to_plain
    from pretune.results.identity import make_run_id
    from pretune.results.store import Study

    study, count = Study(root), 0
    fsync, os.fsync = os.fsync, lambda descriptor: None
    try:
        for number, (cell, job) in enumerate(list_grid(checkpoints, root)):
            count += 1
            run_id = make_run_id(cell.kind, cell.name, cell.key[::-1])
            if number % 5 == 4 or (study.runs / run_id).exists():
                continue
            config, facts = to_plain(job.config), {"rows": job.config.task.train_rows}
            if cell.evaluation is not None:
                task = to_plain(cell.evaluation.task)
                config = {"checkpoint": config["checkpoint"], "task": task, "shots": cell.evaluation.shots}
                facts = {"rows": {"rows": 100}}
            provenance = {"seconds": 1.0 + number % 7, "machine": {"device": "cpu"}}
            record = make_record(
                number, run_id=run_id, kind=cell.kind, request_key=cell.key, identity=cell.key[::-1],
                request=cell.request, config=config, facts=facts, provenance=provenance,
            )  # fmt: skip
            claim = study.claim(run_id)
            claim.try_acquire()
            study.publish(record, claim)
            claim.release()
    finally:
        os.fsync = fsync
    return count


def main() -> None:
    """Make the study, measure, compare with the limit."""
    checkpoints = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    repetitions = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(sys.argv[2] if len(sys.argv) > 2 else temporary) / "study"
        cells = fill(checkpoints, root)
        seconds: dict[str, list[float]] = {}
        for _ in range(repetitions):
            for name, study in (("nothing run", Path(temporary) / "none"), ("four fifths finished", root)):
                for mode in ("plan", "status"):
                    seconds.setdefault(f"{mode}, {name}", []).append(command(mode, checkpoints, study))
    for name, measured in seconds.items():
        print(f"{cells:,} cells, {name}: {spread(measured, 1)} s")
    if checkpoints <= 24 and max(max(measured) for measured in seconds.values()) > LIMIT:
        sys.exit("slower than promised")


if __name__ == "__main__":
    main()
