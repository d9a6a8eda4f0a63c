"""``mode=plan``: the cells of a grid with their state, and what those that are missing will cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pretune.checkpoints.resolution import label_of
from pretune.config.probing import ProbeConfig
from pretune.config.running import TrainConfig
from pretune.config.science import Shape, Task
from pretune.execution.cells import Cell, JobCells, checkpoint_of
from pretune.execution.grid import Grid
from pretune.execution.keeping import choose_policy
from pretune.execution.outcomes import BLOCKED, FAILED, FINISHED, MISSING
from pretune.execution.samples import read_samples
from pretune.planning.accelerators import ACCELERATORS, Accelerator
from pretune.planning.calibration import Calibration, Key, seconds_on
from pretune.planning.costs import (
    Work,
    evaluation_memory,
    shape_of,
    training_memory,
    work_of_evaluation,
    work_of_probe,
    work_of_training,
)
from pretune.results.claims import Holder, read_holders
from pretune.results.identity import make_run_id
from pretune.results.store import Study

RUNNING = "running"
STATES = (FINISHED, FAILED, BLOCKED, RUNNING, MISSING)


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with its state, its work (``None``: the model's shape is unknown) and what it is like.

    ``holder``: who works on it, where somebody does.
    """

    cell: Cell
    group: tuple[str, str]
    state: str
    work: Work | None
    key: Key
    memory: float | None
    holder: Holder | None = None


@dataclass(frozen=True, kw_only=True)
class GridPlan:
    """Everything that a plan says."""

    cells: tuple[PlannedCell, ...]
    calibration: Calibration
    device: Accelerator | None
    devices: int
    checkpoints: Mapping[str, Shape | None]
    kept_models: float
    assumed: tuple[str, ...]

    def count(self, state: str) -> int:
        """Cells in a state."""
        return sum(cell.state == state for cell in self.cells)

    def seconds(self, cell: PlannedCell, device: Accelerator | None = None) -> float | None:
        """Estimated seconds of a cell: as measured in this study, unless a device is named."""
        if cell.work is None:
            return None
        device = device or self.device
        if device is not None:
            return seconds_on(device, cell.work, devices=self.devices)
        return self.calibration.predict(cell.key, cell.work.flops + cell.work.decoding)


def find_state(cell: Cell, study: Study, claimed: Collection[str]) -> str:
    """What is known of a cell without resolving anything. ``claimed``: request keys that a process works on."""
    if study.find_finished(cell.key) is not None:
        return FINISHED
    if cell.key in claimed:
        return RUNNING
    failed = study.runs / make_run_id(cell.kind, cell.name, cell.key) / "failure.json"
    return FAILED if failed.is_file() else MISSING


def make_plan(grid: Grid, calibration: Calibration | None = None) -> GridPlan:
    """Plan a grid. Reads the study's records; no network, no weights. ``calibration``: that of an earlier plan."""
    config, study = grid.config, grid.study
    holders = read_holders(study.claims)
    cells: dict[str, PlannedCell] = {}
    checkpoints: dict[str, Shape | None] = {}
    kept = 0.0
    for job in grid.jobs:
        checkpoint = checkpoint_of(job.job)
        shape = shape_of(checkpoint)
        name = f"{checkpoint.family} {label_of(checkpoint)}"
        checkpoints[name] = shape
        for cell in job.all():
            if cell.key in cells:
                continue
            work = work_of(job, cell, shape) if shape is not None else None
            state = find_state(cell, study, holders)
            if state == MISSING and job.train is not None and cell.state == "tuned":
                trained = cells.get(job.train.key)  # None: the cell is the training itself
                state = BLOCKED if trained is not None and trained.state == FAILED else MISSING
            cells[cell.key] = PlannedCell(
                cell=cell,
                group=(name, _task_of(job)),
                state=state,
                work=work,
                key=key_of(job, cell, checkpoint.family),
                memory=_memory_of(job, cell, shape),
                holder=holders.get(cell.key) if state == RUNNING else None,
            )
            if cell.kind == "train" and state != FINISHED and shape is not None:
                kept += _kept_bytes(job, shape)
    device = ACCELERATORS[config.plan.device] if config.plan.device else None
    tasks = {task.name: task for job in grid.jobs for task in _tasks_of(job)}
    return GridPlan(
        cells=tuple(cells.values()),
        calibration=calibration or Calibration(read_samples(study)),
        device=device,
        devices=(config.trainer.devices or 1) * config.trainer.num_nodes,
        checkpoints=checkpoints,
        kept_models=kept,
        assumed=tuple(
            sorted({cell.key[2] for cell in cells.values() if cell.work and not cell.work.known} & set(tasks))
        ),
    )


def _task_of(job: JobCells) -> str:
    config = job.job.config
    if isinstance(config, ProbeConfig):
        return config.probe.name
    return getattr(config, "suite", None) or config.task.name


def _tasks_of(job: JobCells) -> Iterator[Task]:
    if not isinstance(job.job.config, ProbeConfig):
        yield job.job.config.task
    yield from job.job.tasks.values()


def _kept_bytes(job: JobCells, shape: Shape) -> float:
    config = job.job.config
    assert isinstance(config, TrainConfig)
    return 0.0 if choose_policy(config, shape.parameters) == "none" else 4.0 * shape.parameters


def _memory_of(job: JobCells, cell: Cell, shape: Shape | None) -> float | None:
    if shape is None:
        return None
    config = job.job.config
    if cell.kind == "train" and isinstance(config, TrainConfig):
        return training_memory(config, shape)
    return evaluation_memory(shape)


def key_of(job: JobCells, cell: Cell, family: str) -> Key:
    """What a cell is like."""
    if cell.kind == "evaluate" and cell.evaluation is not None:
        return cell.kind, family, cell.evaluation.task.name
    return cell.kind, family, _task_of(job)


def work_of(job: JobCells, cell: Cell, shape: Shape) -> Work:
    """Operations of a cell."""
    config = job.job.config
    if cell.kind == "train" and isinstance(config, TrainConfig):
        return work_of_training(config, shape)
    if cell.evaluation is not None:
        task, limit = cell.evaluation.task, config.eval.limit
        if cell.evaluation.split == "validation":
            limit = min(limit or task.validation_rows, task.validation_rows)
        per_row = config.shot_sampling == "per_row"
        return work_of_evaluation(task, shape, shots=cell.evaluation.shots, limit=limit, own_shots=per_row)
    assert isinstance(config, ProbeConfig)
    parts = [work_of_evaluation(e.task, shape, shots=0, limit=config.eval.limit) for e in cell.measured]
    return work_of_probe(config, parts)
