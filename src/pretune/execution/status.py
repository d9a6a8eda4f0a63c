"""``mode=status``: how far a grid is, who works on it, what failed; ``mode=retry``: the failed cells alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator, Sequence

from rich.console import Console
from rich.markup import escape

from pretune.errors import NothingFailed
from pretune.execution.cells import Cell, JobCells
from pretune.execution.display import first_line, make_console
from pretune.execution.grid import Grid
from pretune.execution.outcomes import BLOCKED, FAILED, FINISHED, MISSING
from pretune.execution.plan_display import describe_counts, say_time, total_seconds
from pretune.execution.plan_file import write_plan
from pretune.execution.planned import RUNNING, GridPlan, PlannedCell, find_state, make_plan
from pretune.results.claims import find_lease, read_holders
from pretune.results.identity import make_run_id
from pretune.results.store import Study

MOST_FAILURES = 20
"""Failures that are shown one by one."""
BAR = 40


def keep_failed(grid: Grid) -> Grid:
    """The grid with its failed cells alone, and what could not be made because of them.

    Raises :class:`NothingFailed` when none has failed.
    """
    claimed = read_holders(grid.study.claims)
    jobs = tuple(kept for cells in grid.jobs if (kept := _keep_failed_cells(cells, grid.study, claimed)) is not None)
    if not jobs:
        count = len(grid.missing())
        verb = "is" if count == 1 else "are"
        others = f"; {count:,} {verb} missing: the same command without mode=retry runs them" if count else ""
        raise NothingFailed(f"mode=retry: no cell of this grid has failed{others}")
    return dataclasses.replace(grid, jobs=jobs)


def _keep_failed_cells(cells: JobCells, study: Study, claimed: Collection[str]) -> JobCells | None:
    def failed(cell: Cell) -> bool:
        return find_state(cell, study, claimed) == FAILED

    base = tuple(cell for cell in cells.base if failed(cell))
    if cells.train is not None and failed(cells.train):
        return dataclasses.replace(cells, base=base)
    tuned = tuple(cell for cell in cells.tuned if failed(cell))
    if not base and not tuned:
        return None
    return dataclasses.replace(cells, base=base, train=cells.train if tuned else None, tuned=tuned)


def follow_status(grid: Grid) -> int:
    """Show how far the grid is; with ``plan.follow`` again and again until nothing is left to be made.

    Returns the exit status: 1 where a cell has failed.
    """
    console, pause = make_console(), grid.config.plan.follow
    calibration = None
    while True:
        plan = make_plan(grid, calibration)
        calibration = plan.calibration
        if grid.config.plan.file is not None:
            write_plan(plan, grid.config.plan.file)
        console.print("\n".join(describe_status(plan, grid.study)), soft_wrap=True)
        left = plan.count(RUNNING) + plan.count(MISSING)
        if pause is None or not left:
            return 1 if plan.count(FAILED) else 0
        time.sleep(pause)
        clear(console)


def clear(console: Console) -> None:
    """Make room for the next picture: in a terminal in the same place, elsewhere below."""
    if console.is_terminal:
        console.clear()
    else:
        console.print()


def describe_status(plan: GridPlan, study: Study) -> list[str]:
    """Lines of a status, with rich's markup."""
    total, done = len(plan.cells), plan.count(FINISHED)
    full = round(BAR * done / total)
    counts = describe_counts(plan, (RUNNING, FAILED, BLOCKED, MISSING))
    lines = [f"{'━' * full}[dim]{'─' * (BAR - full)}[/] {done:,} of {total:,} cells{counts}"]
    running = [cell for cell in plan.cells if cell.state == RUNNING]
    left = [cell for cell in plan.cells if cell.state in (RUNNING, MISSING)]
    seconds = total_seconds(plan, left)
    if left and seconds is not None:
        workers = max(len(running), 1)
        by = f"with {workers} at work" if running else "once a process works on it"
        lines.append(f"about {say_time(seconds / workers)} left {by}")
    lines += describe_workers(running)
    lines += describe_failures([cell for cell in plan.cells if cell.state == FAILED], study)
    return lines


def describe_workers(running: Sequence[PlannedCell]) -> Iterator[str]:
    """Who works on what, and whose claim has not changed for longer than a lease."""
    for planned in running:
        if (holder := planned.holder) is not None:
            late = f", [yellow]silent for {say_time(holder.silent)}: it may be dead[/]"
            yield (
                f"  {planned.cell.kind} {escape(planned.cell.name)}: process {holder.pid} on {escape(holder.host)}"
                f"{late if holder.silent > find_lease() else ''}"
            )


def describe_failures(failed: Sequence[PlannedCell], study: Study) -> list[str]:
    """What failed, and how to try it again."""
    lines = [""] if failed else []
    for planned in failed[:MOST_FAILURES]:
        run_id = make_run_id(planned.cell.kind, planned.cell.name, planned.cell.key)
        record = study.find_failure(run_id) or {}
        lines.append(f"[red]failed[/] {escape(planned.cell.name)}: {escape(first_line(str(record.get('error', ''))))}")
    if len(failed) > MOST_FAILURES:
        lines.append(f"… and {len(failed) - MOST_FAILURES} more")
    return [*lines, "the same command with mode=retry tries these again"] if failed else lines
