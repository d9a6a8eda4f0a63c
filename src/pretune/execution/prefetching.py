"""``mode=prefetch``: everything that a grid needs from the Hub, for machines that do not reach it."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pretune.checkpoints.downloads import download, missing_files
from pretune.checkpoints.hub import explain_hub_errors
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import Resolved, refuse_equal_weights, resolve
from pretune.config.probing import ProbeConfig
from pretune.config.running import TrainConfig
from pretune.config.science import Task
from pretune.data.partition import LoadSplit
from pretune.errors import DataError, PretuneError, UsageError
from pretune.execution.cells import JobCells, checkpoint_of
from pretune.execution.display import make_console, megabytes
from pretune.execution.evaluating import prepare_evaluation
from pretune.execution.grid import Grid
from pretune.execution.probing import find_reference
from pretune.terminal import say_count

log = logging.getLogger(__name__)

ARROW_COPY = 3
"""Disk for a data set, as a multiple of its (compressed) download: the download and its Arrow copy."""


def prefetch(grid: Grid) -> int:
    """Say what a grid needs, then download it; return the exit status: 1 if something cannot be had.

    What is there already is not downloaded again, and a download that was broken off goes on.
    """
    say = _speaker()
    resolved = _resolve_all(grid)
    refuse_equal_weights(list(resolved.values()))
    wanted = {name: missing_files(str(r.checkpoint.repo), str(r.commit), r.files) for name, r in resolved.items()}
    weights = sum(file.size for files in wanted.values() for file in files)
    tasks = {task.name: task for cells in grid.jobs for task in _tasks_of(cells) if task.source == "hub"}
    data, problems = _size_data(tasks.values())
    absent = sum(bool(files) for files in wanted.values())
    say(f"Weights of {say_count(len(resolved), 'checkpoint')}, {absent} of them to download: {megabytes(weights)}")
    rows = f"Rows of {say_count(len(tasks), 'task')}"
    say(f"{rows}: {megabytes(data)} to download, about {megabytes(data * ARROW_COPY)} on disk")
    _check_room(weights + data * ARROW_COPY)
    for number, (name, item) in enumerate(resolved.items(), start=1):
        size = sum(file.size for file in wanted[name])
        if size:
            say(f"[{number}/{len(resolved)}] {name}: {megabytes(size)} …")
            download(str(item.checkpoint.repo), str(item.commit), item.files)
        else:
            say(f"[{number}/{len(resolved)}] {name}: in the cache")
    problems |= _read_rows(grid, say)
    if problems:
        say("")
        say("Not to be had:")
        for problem in problems:
            say(f"  {problem}")
        return 1
    say("")
    say("All is here: the same command without mode=prefetch now runs with HF_HUB_OFFLINE=1 and this study_dir.")
    return 0


def _speaker() -> Callable[[str], None]:
    console = make_console()
    return lambda text: console.print(text, markup=False, soft_wrap=True)


def _resolve_all(grid: Grid) -> dict[str, Resolved]:
    """Checkpoints of the grid that come from the Hub, by name."""
    refs = RefCache(grid.study)
    checkpoints = {repr(checkpoint): checkpoint for checkpoint in (checkpoint_of(cells.job) for cells in grid.jobs)}
    found = [resolve(checkpoint, refs) for checkpoint in checkpoints.values()]
    for job in (cells.job for cells in grid.jobs):
        if isinstance(job.config, ProbeConfig):
            reference = find_reference(job.config, checkpoint_of(job), refs)
            found += [] if reference is None else [resolve(reference, refs)]
    return {item.name: item for item in found if item.commit is not None}


def _tasks_of(cells: JobCells) -> Iterator[Task]:
    if isinstance(cells.job.config, TrainConfig):
        yield cells.job.config.task
    for cell in cells.all():
        for evaluation in (cell.evaluation, *cell.measured):
            if evaluation is not None:
                yield evaluation.task


def _size_data(tasks: Iterable[Task]) -> tuple[int, dict[str, None]]:
    """Bytes to download for the rows of ``tasks``, streams left out, and what cannot be had."""
    from pretune.data.remote import bytes_to_download

    sizes: dict[tuple[object, ...], int] = {}
    problems: dict[str, None] = {}
    for task in tasks:
        if task.stream_rows is not None:
            continue
        key = (task.repo, task.config, task.revision, task.data_dir)
        try:
            with explain_hub_errors(f"task={task.name}: data set {task.repo}", missing=DataError):
                if key not in sizes:
                    sizes[key] = bytes_to_download(
                        str(task.repo), task.config, revision=task.revision, data_dir=task.data_dir
                    )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one data set, the others can be had
            problems[f"{error}"] = None
    return sum(sizes.values()), problems


def _check_room(needed: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UsageError(
            f"mode=prefetch: needs {megabytes(needed)}, but {cache} has {megabytes(free)} left; "
            "HF_HOME=DIR uses another disk, and a part of the grid needs less"
        )


def _read_rows(grid: Grid, say: Callable[[str], None]) -> dict[str, None]:
    """Read the rows of every cell, as running it would; return what cannot be had."""
    load = LoadSplit()
    problems: dict[str, None] = {}
    read: set[str] = set()
    for cells in grid.jobs:
        measured = [dataclasses.replace(cell, evaluation=each) for cell in cells.all() for each in cell.measured]
        for cell in (*measured, *(cell for cell in cells.all() if not cell.measured)):
            try:
                if cell.evaluation is not None:
                    name = cell.evaluation.task.name
                    prepare_evaluation(cell, cells.job, "", load)
                else:
                    assert isinstance(cells.job.config, TrainConfig)
                    name = cells.job.config.task.name
                    load.partition(cells.job.config.task)
            except PretuneError as error:
                problems[str(error)] = None
                continue
            if name not in read:
                read.add(name)
                say(f"rows of {name}: read")
    return problems
