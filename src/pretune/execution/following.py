"""Following work that other processes do: the study says what became of a cell, whoever made it."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretune.errors import PretuneError
from pretune.execution.cells import Cell, JobCells
from pretune.execution.display import ProgressDisplay, make_console
from pretune.execution.grid import Grid, describe_job, write_chunk
from pretune.execution.jobs import Job
from pretune.execution.launched import Returned, Task
from pretune.execution.launchers import ChunkLauncher, launch_folder
from pretune.execution.outcomes import BLOCKED, DONE, FAILED, FINISHED, MISSING, CellOutcome, JobOutcome
from pretune.results.identity import make_run_id
from pretune.results.store import Study

log = logging.getLogger(__name__)

ROUNDS = 3
"""After the first round, the jobs of chunks whose process died are tried one by one, at last each by itself: a cell
that kills its process takes no other one along."""


def read_cell(cell: Cell, study: Study, missing_before: Collection[str]) -> CellOutcome:
    """What became of a cell, as the study has it."""
    common: dict[str, Any] = {"key": cell.key, "kind": cell.kind, "state": cell.state, "name": cell.name}
    run_id = study.find_finished(cell.key)
    if run_id is not None:
        if cell.key not in missing_before:
            return CellOutcome(**common, status=FINISHED, run_id=run_id)
        return CellOutcome(**common, status=DONE, run_id=run_id, seconds=read_seconds(study, run_id))
    failure_id = make_run_id(cell.kind, cell.name, cell.key)
    failure = study.find_failure(failure_id)
    if failure is not None:
        return CellOutcome(**common, status=FAILED, run_id=failure_id, error=str(failure.get("error", "")))
    return CellOutcome(**common, status=MISSING)


def read_seconds(study: Study, run_id: str) -> float:
    """How long a finished cell took; 0 where its record does not say."""
    try:
        return float(study.read_run(run_id)["provenance"]["seconds"])
    except (PretuneError, KeyError, TypeError, ValueError):
        return 0.0


def read_outcome(cells: JobCells, study: Study, missing_before: Collection[str]) -> JobOutcome:
    """What became of a job, as the study has it."""
    outcomes = [read_cell(cell, study, missing_before) for cell in cells.all()]
    if any(outcome.kind == "train" and outcome.status == FAILED for outcome in outcomes):
        blocked = ("tuned", MISSING)
        outcomes = [replace(o, status=BLOCKED) if (o.state, o.status) == blocked else o for o in outcomes]
    return describe_job(cells, outcomes)


class Follower:
    """Shows the progress of cells that other processes make; it looks at what is missing only."""

    def __init__(self, grid: Grid, display: ProgressDisplay) -> None:
        self._study, self._display = grid.study, display
        self._cells = grid.missing()

    def look(self) -> None:
        """Tell the display of every cell that has been finished since the last look."""
        for key in [key for key in self._cells if self._study.find_finished(key) is not None]:
            self._display.finish_cell(read_cell(self._cells.pop(key), self._study, {key}))

    def hear(self, returned: Returned) -> None:
        """Tell the display of the failures that a worker returned."""
        for outcome in returned.outcomes:
            for cell in outcome["cells"]:
                if cell["status"] == FAILED:
                    self._display.finish_cell(CellOutcome(**cell))


def launch_chunks(
    launcher: ChunkLauncher, grid: Grid, chunks: Sequence[Sequence[Job]]
) -> list[Sequence[Any] | PretuneError]:
    """Let a launcher work on all chunks; return the outcomes of each, or why there are none.

    With ``fail_fast`` the workers are stopped at the first failure. What the launch wrote (the workers' output) stays
    if something went wrong.
    """
    folder = launch_folder(grid.study.root, launcher.name)
    returns: list[Sequence[Any] | PretuneError] = []
    died: list[Returned] = []
    count = 0
    with ProgressDisplay(make_console(stderr=True), missing=len(grid.missing())) as display:
        follower = Follower(grid, display)
        for number in range(ROUNDS):
            jobs_of = {count + index: jobs for index, jobs in enumerate(chunks)}
            count += len(chunks)
            tasks = [write_task(folder, index, jobs) for index, jobs in jobs_of.items()]
            died = []
            places = 1 if number == ROUNDS - 1 else launcher.places()
            with contextlib.closing(launcher.run(tasks, places=places)) as arriving:
                for returned in arriving:
                    follower.look()
                    if returned is None:
                        continue
                    follower.hear(returned)
                    if returned.died:
                        died.append(returned)
                        log.warning("%s", returned.error)
                    else:
                        returns.append(describe_return(returned, folder))
                    if grid.config.fail_fast and has_failed(returned.outcomes):
                        return returns
            if not died:
                break
            chunks = [[job] for returned in died for job in jobs_of[returned.number]]
    returns += [describe_return(returned, folder) for returned in died]
    if not any(isinstance(part, PretuneError) or has_failed(part) for part in returns):
        shutil.rmtree(folder, ignore_errors=True)
    return returns


def describe_return(returned: Returned, folder: Path) -> Sequence[Any] | PretuneError:
    """The outcomes of a chunk, or why there are none."""
    if returned.error is None:
        return returned.outcomes
    return PretuneError(f"{returned.error} (its output: {folder / f'{returned.number}.log'})")


def write_task(folder: Path, number: int, jobs: Sequence[Job]) -> Task:
    """Write a chunk for a worker."""
    chunk = folder / f"{number}.json"
    write_chunk(chunk, jobs)
    return Task(chunk=chunk, folder=folder, number=number, cwd=Path.cwd())


def has_failed(outcomes: Sequence[Any]) -> bool:
    """Whether a cell of these jobs failed."""
    return any(cell["status"] == FAILED for outcome in outcomes for cell in outcome["cells"])
