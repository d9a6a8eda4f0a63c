"""A grid: all jobs of one command, run in this process, with every failure collected."""

from __future__ import annotations

import contextlib
import json
import logging
import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.checkpoints.ledger import WeightLedger
from pretune.checkpoints.resolution import label_of, refuse_equal_weights
from pretune.config.probing import ProbeConfig
from pretune.config.running import SESSION_KEYS, EvaluateConfig, TrainConfig
from pretune.errors import HubUnreachable, PretuneError, UsageError
from pretune.execution.cells import Cell, ContentHashes, JobCells, list_cells
from pretune.execution.jobs import Job
from pretune.execution.outcomes import BUSY, DONE, FAILED, FINISHED, CellOutcome, JobOutcome, Listener
from pretune.execution.rows import training_columns
from pretune.execution.storage import Foothold, check_cache
from pretune.results.identity import digest
from pretune.results.store import Study, write_atomically
from pretune.results.table import compact_when_due
from pretune.tracking import Tracker

if TYPE_CHECKING:
    from pretune.execution.hands import Hands

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The jobs of one command with their cells, in order of work."""

    study: Study
    jobs: tuple[JobCells, ...]

    @property
    def config(self) -> TrainConfig | EvaluateConfig | ProbeConfig:
        """Configuration of the first job: the keys that are not swept are the same in all."""
        return self.jobs[0].job.config

    @property
    def group(self) -> str:
        """Name of the grid for the tracker: study and hash of its axes."""
        keys = sorted({cell.key for cells in self.jobs for cell in cells.all() if cell.kind == "train"})
        keys = keys or sorted({cell.key for cells in self.jobs for cell in cells.all()})
        return self.config.logger.group or f"{self.study.root.name}-{digest(keys)[:8]}"

    def missing(self) -> dict[str, Cell]:
        """The cells that are not finished, by their request keys."""
        distinct = {cell.key: cell for cells in self.jobs for cell in cells.all()}
        return {key: cell for key, cell in distinct.items() if self.study.find_finished(key) is None}


def check_session_keys(jobs: Sequence[Job]) -> None:
    """Refuse a sweep over keys that hold for the whole command."""
    for key in SESSION_KEYS:
        values = list(dict.fromkeys(str(operator.attrgetter(key)(job.config)) for job in jobs))
        if len(values) > 1:
            raise UsageError(f"{key}={','.join(values)}: holds for the whole command and cannot be swept")


def warn_of_equal_columns(grid: Grid) -> None:
    """Say when trainings differ only in keys that the results table has no column for."""
    seen: dict[str, set[str]] = {}
    for cells in grid.jobs:
        config = cells.job.config
        if cells.train is not None and isinstance(config, TrainConfig):
            columns = {**training_columns(config, config.task.train_rows), "label": label_of(config.checkpoint)}
            columns |= {name: getattr(config.checkpoint, name) for name in ("family", "phase", "step", "pretrain_seed")}
            seen.setdefault(digest(columns), set()).add(cells.train.key)
    same = max((len(keys) for keys in seen.values()), default=0)
    if same > 1:
        log.warning(
            "%d trainings differ only in keys that are no columns of the results table (batch, schedule, recipe …): "
            "the report averages them; use one study_dir for each to compare them",
            same,
        )


def plan_grid(jobs: Sequence[Job]) -> Grid:
    """Order jobs checkpoint-major (checkpoints in the order typed) and enumerate their cells."""
    check_session_keys(jobs)
    study = Study(jobs[0].config.study_dir)
    hashes = ContentHashes()
    rank: dict[str, int] = {}
    for job in jobs:
        rank.setdefault(repr(job.config.checkpoint), len(rank))
    ordered = sorted(jobs, key=lambda job: rank[repr(job.config.checkpoint)])
    grid = Grid(study=study, jobs=tuple(list_cells(job, study, hashes) for job in ordered))
    warn_of_equal_columns(grid)
    return grid


def run_grid(grid: Grid, listener: Listener, tracker: Tracker) -> list[JobOutcome]:
    """Run every missing cell. Cells that another process works on are waited for.

    Raises nothing for failed cells: they are in the outcomes. With ``fail_fast`` the jobs after the first failure
    are not started. Weights that cannot be what their name says stop the grid before any work. Raises
    :class:`~pretune.errors.StorageFailure` when the study's folder is lost or takes no more files.
    """
    check_cache(grid.config.cache_dir)
    with computing(grid) as hands, Foothold.on(grid.study.root) as foothold:
        outcomes = _run_grid(grid, listener, tracker, foothold, hands)
        grid.study.sweep()
        compact_when_due(grid.study.root)
    return outcomes


@contextlib.contextmanager
def computing(grid: Grid) -> Iterator[Hands]:
    """What computes the cells of a grid, in the body: this process, or several (``trainer.strategy``)."""
    from pretune.execution.crew import Crew, refuse_torchrun
    from pretune.execution.hands import OwnHands

    trainer, cache_dir = grid.config.trainer, grid.config.cache_dir
    refuse_torchrun(trainer)
    if trainer.strategy == "single":
        yield OwnHands(cache_dir, trainer.accelerator)
        return
    configs = [cells.job.config for cells in grid.jobs]
    batch_sizes = [config.stage.batch_size for config in configs if isinstance(config, TrainConfig)]
    crew = Crew(trainer, cache_dir=cache_dir, batch_sizes=batch_sizes)
    try:
        yield crew
    finally:
        crew.close()


def _run_grid(grid: Grid, listener: Listener, tracker: Tracker, foothold: Foothold, hands: Hands) -> list[JobOutcome]:
    from pretune.execution.worker import Worker

    config = grid.config
    worker = Worker(
        grid.study,
        cache_dir=config.cache_dir,
        hands=hands,
        tracker=tracker,
        listener=listener,
        group=grid.group,
        foothold=foothold,
    )
    check_checkpoints(grid, worker)
    outcomes: dict[int, list[CellOutcome]] = {}
    waiting = list(range(len(grid.jobs)))
    while waiting:
        busy = []
        for index in waiting:
            outcomes[index] = keep_done(outcomes.get(index, ()), worker.run(grid.jobs[index]))
            if config.cache.evict and is_last_of_checkpoint(grid, index):
                evict_if_done(grid, index, worker)
            if any(outcome.status == BUSY for outcome in outcomes[index]):
                busy.append(index)
            if config.fail_fast and any(outcome.status == FAILED for outcome in outcomes[index]):
                return describe_jobs(grid, outcomes)
        waiting = busy
        if waiting:
            listener.start_activity("waiting for cells that another process works on")
            time.sleep(POLL_SECONDS)
    return describe_jobs(grid, outcomes)


def is_last_of_checkpoint(grid: Grid, index: int) -> bool:
    """Whether no later job of the grid is about the same checkpoint."""
    checkpoint = grid.jobs[index].job.config.checkpoint
    return all(cells.job.config.checkpoint != checkpoint for cells in grid.jobs[index + 1 :])


def evict_if_done(grid: Grid, index: int, worker: Any) -> None:
    """Remove a checkpoint's files from the Hub's cache if all its cells of this grid are finished.

    Those of a failed cell stay, for another attempt; so do files that another checkpoint shares.
    """
    from pretune.checkpoints.downloads import remove

    checkpoint = grid.jobs[index].job.config.checkpoint
    about_it = [cells for cells in grid.jobs if cells.job.config.checkpoint == checkpoint and cells.run_id is None]
    unfinished = [c for cells in about_it for c in cells.all() if grid.study.find_finished(c.key) is None]
    if checkpoint.source != "hub" or not about_it or unfinished:
        return
    resolved = worker.resolve(checkpoint)
    freed = remove(str(checkpoint.repo), str(resolved.commit))
    if freed:
        log.info("%s: %.1f MB removed from the cache", resolved.name, freed / 1e6)


def keep_done(before: Sequence[CellOutcome], now: Sequence[CellOutcome]) -> list[CellOutcome]:
    """Outcomes of a job's latest round; what an earlier round of this command made is not called finished before."""
    made = {outcome.key: outcome for outcome in before if outcome.status == DONE}
    return [made.get(outcome.key, outcome) if outcome.status == FINISHED else outcome for outcome in now]


def describe_jobs(grid: Grid, outcomes: Mapping[int, Sequence[CellOutcome]]) -> list[JobOutcome]:
    """Outcomes of the jobs that were started, in their order."""
    return [describe_job(grid.jobs[index], cells) for index, cells in sorted(outcomes.items())]


def check_checkpoints(grid: Grid, worker: Any) -> None:
    """Resolve the checkpoints of all unfinished cells before any work, so that a wrong one is found now.

    So is a Hub that cannot be reached for the training rows; rows that are wrong in themselves fail their own cells.
    """
    resolved = []
    for cells in grid.jobs:
        unfinished = any(grid.study.find_finished(cell.key) is None for cell in cells.all())
        if unfinished and cells.run_id is None:
            resolved.append(worker.resolve(cells.job.config.checkpoint))
        config = cells.job.config
        if unfinished and isinstance(config, ProbeConfig) and config.run is None:
            worker.find_reference(config, config.checkpoint)
        if cells.train is None or not isinstance(config, TrainConfig):
            continue
        if grid.study.find_finished(cells.train.key) is None:
            try:
                worker.splits.partition(config.task)
            except HubUnreachable:
                raise
            except PretuneError as error:
                log.debug("%s", error)
    refuse_equal_weights(resolved)
    ledger = WeightLedger(grid.study)
    for item in {item.name: item for item in resolved}.values():
        ledger.enter(item)


def describe_job(cells: JobCells, outcomes: Sequence[CellOutcome]) -> JobOutcome:
    """Outcome of a job, labelled by what one compares in a sweep."""
    config = cells.job.config
    label: dict[str, Any] = {"checkpoint": f"{config.checkpoint.family} {label_of(config.checkpoint)}"}
    if config.checkpoint.pretrain_seed is not None:
        label["pre-training seed"] = config.checkpoint.pretrain_seed
    if isinstance(config, TrainConfig):
        label |= {
            "task": config.task.name,
            "format": config.format.name,
            "lr": config.optimizer.lr,
            "rows": config.task.train_rows,
            "seed": config.seed,
        }
    elif isinstance(config, ProbeConfig):
        if cells.run_id:
            label["checkpoint"] = cells.run_id
        label |= {"probe": config.probe.name, "text": ", ".join(cells.job.tasks)}
    else:
        if cells.run_id:
            label["checkpoint"] = cells.run_id
        label |= {"task": config.suite or config.task.name, "format": config.format.name, "shots": config.shots}
    return JobOutcome(label=label, command=cells.job.command, cells=tuple(outcomes))


def write_chunk(path: Path, jobs: Sequence[Job]) -> None:
    """Write jobs to a file for a worker of a launcher."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([job.to_plain() for job in jobs]).encode())


def read_chunk(path: Path) -> list[Job]:
    """Read the jobs of a chunk: plain data, checked by the schema."""
    try:
        return [Job.from_plain(data) for data in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PretuneError(f"{path}: no readable chunk of a sweep ({error})") from None


def totals(outcomes: Sequence[JobOutcome]) -> dict[str, int]:
    """Distinct cells of a grid by kind and status, e.g. ``{"train done": 6, "evaluate finished": 12}``."""
    seen: dict[tuple[str, str], str] = {}
    for outcome in outcomes:
        for cell in outcome.cells:
            key = (cell.kind, cell.key)
            if seen.get(key) in (None, FINISHED):
                seen[key] = cell.status
    counts: dict[str, int] = {}
    for (kind, _), status in seen.items():
        counts[f"{kind} {status}"] = counts.get(f"{kind} {status}", 0) + 1
    return counts
