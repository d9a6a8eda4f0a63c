"""The cells of a job: their requests and keys, and whether they are finished. No torch, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pretune.checkpoints.ladders import identify_ladder
from pretune.checkpoints.resolution import hash_folder, label_of
from pretune.config.probing import ProbeConfig
from pretune.config.running import EvaluateConfig, TrainConfig
from pretune.config.schema import freeze
from pretune.config.science import Checkpoint, Task
from pretune.data.files import hash_path
from pretune.errors import UsageError
from pretune.execution.jobs import Evaluation, Job, list_evaluations
from pretune.results.identity import (
    base_weights,
    digest,
    evaluate_request,
    probe_request,
    slug,
    train_request,
    tuned_weights,
)
from pretune.results.store import Study


@dataclass(frozen=True)
class Cell:
    """One unit of work. ``evaluation``: what an evaluate cell makes, ``measured``: what a probe cell measures on.

    ``state`` says which weights are evaluated or probed.
    """

    kind: str
    state: str
    name: str
    request: dict[str, Any]
    evaluation: Evaluation | None = None
    measured: tuple[Evaluation, ...] = ()

    @cached_property
    def key(self) -> str:
        """The request key."""
        return digest(self.request)


@dataclass(frozen=True, kw_only=True)
class JobCells:
    """All cells of a job: base evaluations, the training (train.py only), evaluations of the tuned model."""

    job: Job
    base: tuple[Cell, ...] = ()
    train: Cell | None = None
    tuned: tuple[Cell, ...] = ()
    run_id: str | None = None
    """The trained run that is evaluated (``evaluate.py run=…``)."""

    def all(self) -> Iterator[Cell]:
        """Every cell, in the order of work."""
        yield from self.base
        if self.train is not None:
            yield self.train
        yield from self.tuned


class ContentHashes:
    """Hashes of local weights and rows, each folder read once per process."""

    def __init__(self) -> None:
        self._weights: dict[str, Any] = {}
        self._rows: dict[str, str | None] = {}

    def weights(self, job: Job) -> Any:
        """Hash of the weight files of a ``checkpoint=path`` job, identity of a ladder, ``None`` for the Hub."""
        checkpoint = job.config.checkpoint
        if checkpoint.source == "ladder":
            key = f"{checkpoint.path}/{checkpoint.recipe}"
            if key not in self._weights:
                self._weights[key] = identify_ladder(checkpoint)
            return self._weights[key]
        if checkpoint.source != "path":
            return None
        path = str(checkpoint.path)
        if path not in self._weights:
            self._weights[path] = hash_folder(Path(path).expanduser(), allow_pickle=checkpoint.allow_pickle)
        return self._weights[path]

    def rows(self, task: Task) -> str | None:
        """Hash of the row files of a ``source=path`` task."""
        if task.source != "path":
            return None
        key = f"{task.path}/{task.config}"
        if key not in self._rows:
            self._rows[key] = hash_path(task)
        return self._rows[key]


def checkpoint_of(job: Job) -> Checkpoint:
    """The base checkpoint that a job is about: of the configuration, or of the trained run that it evaluates."""
    run = getattr(job.config, "run", None)  # a training has none
    if run is None:
        return job.config.checkpoint
    study = Study(job.config.study_dir)
    return freeze(Checkpoint, study.read_config(study.find_run(run))["checkpoint"])


def name_train_cell(config: TrainConfig) -> str:
    """Readable part of a train cell's run_id."""
    return slug(
        config.checkpoint.family,
        label_of(config.checkpoint),
        config.task.name,
        config.format.name,
        config.optimizer.name if config.optimizer.name != "adamw" else "",
        f"lr{config.optimizer.lr:g}",
        config.regularizer.name if config.regularizer.name != "none" else "",
        f"s{config.seed}",
    )


def list_cells(job: Job, study: Study, hashes: ContentHashes) -> JobCells:
    """Enumerate the cells of a job with their requests."""
    config = job.config
    if not isinstance(config, TrainConfig) and config.run is not None:
        run_id = study.find_run(config.run)
        run = study.read_run(run_id)
        if run["kind"] != "train":
            raise UsageError(f"run={config.run}: {run_id} is a cell of kind '{run['kind']}', not a trained run")
        weights = tuned_weights(str(run["request_key"]))
        base_name = run_id.removeprefix("train-").rsplit("-", 1)[0]
        make = _probe_cells if isinstance(config, ProbeConfig) else _evaluate_cells
        return JobCells(job=job, tuned=make(job, weights, "tuned", base_name, hashes), run_id=run_id)
    content = hashes.weights(job)
    base_name = slug(config.checkpoint.family, label_of(config.checkpoint))
    if isinstance(config, ProbeConfig):
        weights = base_weights(config.checkpoint, content=content)
        return JobCells(job=job, base=_probe_cells(job, weights, "base", base_name, hashes))
    base = _evaluate_cells(job, base_weights(config.checkpoint, content=content), "base", base_name, hashes)
    if isinstance(config, EvaluateConfig):
        return JobCells(job=job, base=base)
    task_content = hashes.rows(config.task)
    text = job.regularizer_text
    request = train_request(
        config,
        checkpoint_content=content,
        task_content=task_content,
        text=text,
        text_content=hashes.rows(text) if text is not None else None,
    )
    train = Cell("train", "tuned", name_train_cell(config), request)
    tuned = _evaluate_cells(job, tuned_weights(train.key), "tuned", train.name, hashes)
    return JobCells(job=job, base=base, train=train, tuned=tuned)


def _evaluate_cells(
    job: Job, weights: dict[str, Any], state: str, weights_name: str, hashes: ContentHashes
) -> tuple[Cell, ...]:
    cells = []
    for evaluation in list_evaluations(job):
        request = evaluate_request(
            weights,
            task=evaluation.task,
            split=evaluation.split,
            format_=evaluation.format,
            shots=evaluation.shots,
            config=job.config,
            task_content=hashes.rows(evaluation.task),
        )
        split = "validation" if evaluation.split == "validation" else ""
        shots = f"{evaluation.shots}shot" if evaluation.shots else ""
        name = slug(weights_name, "on", evaluation.task.name, split, evaluation.format.name, shots)
        cells.append(Cell("evaluate", state, name, request, evaluation))
    return tuple(cells)


def _probe_cells(
    job: Job, weights: dict[str, Any], state: str, weights_name: str, hashes: ContentHashes
) -> tuple[Cell, ...]:
    config = job.config
    assert isinstance(config, ProbeConfig)
    measured = tuple(list_evaluations(job))
    requests = [cell.request for cell in _evaluate_cells(job, weights, state, weights_name, hashes)]
    request = probe_request(weights, probe=config.probe, measured=requests, init_std=config.checkpoint.init_std)
    name = slug(weights_name, config.probe.name, config.probe.normalisation if config.probe.name == "gaussian" else "")
    return (Cell("probe", state, name, request, measured=measured),)
