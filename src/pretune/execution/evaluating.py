"""Evaluate cells: the rows they need, their id, and their record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.checkpoints.resolution import Resolved
from pretune.config.probing import ProbeConfig
from pretune.config.running import EvaluateConfig, TrainConfig
from pretune.config.schema import to_plain
from pretune.config.science import Task
from pretune.data.examples import Example
from pretune.data.partition import LoadSplit, Partition, draw_sample
from pretune.data.shots import ShotPool, check_leak, draw_balanced_shots, draw_row_shots, draw_shots
from pretune.data.sources import fingerprint
from pretune.execution.cells import Cell
from pretune.execution.jobs import Evaluation, Job
from pretune.execution.models import ModelHost
from pretune.execution.provenance import collect
from pretune.execution.rows import training_columns, weight_columns
from pretune.results.identity import digest, make_run_id
from pretune.results.store import Record

if TYPE_CHECKING:
    from pretune.execution.worker import Trained

BASELINE_TARGETS = 200
"""Training targets offered to the trivial baseline of generation tasks."""


@dataclass(frozen=True, kw_only=True)
class PreparedEvaluation:
    """An evaluation with its rows and its id.

    ``shots`` stand before the first row, and before all others unless they have their own in ``row_shots``;
    ``overlapping`` training rows were no candidates because they are also evaluated.
    """

    cell: Cell
    evaluation: Evaluation
    config: TrainConfig | EvaluateConfig | ProbeConfig
    examples: tuple[Example, ...]
    shots: tuple[Example, ...]
    row_shots: tuple[tuple[Example, ...], ...]
    overlapping: int
    train_targets: tuple[str, ...]
    usable: int
    dropped: int
    empty: int
    split_name: str
    data: str
    identity: str
    run_id: str


def prepare_evaluation(cell: Cell, job: Job, weights_identity: str, load: LoadSplit) -> PreparedEvaluation:
    """Load and draw the rows of an evaluate cell and work out its id."""
    evaluation = cell.evaluation
    assert evaluation is not None
    task, config = evaluation.task, job.config
    partition: Partition | None = None
    if task.train_split is not None and (
        evaluation.split == "validation" or evaluation.shots or task.answer == "generation"
    ):
        partition = load.partition(task)
    if evaluation.split == "validation":
        assert partition is not None
        candidates, dropped, empty = partition.validation, partition.dropped, partition.empty
        split_name = task.validation_split or f"{task.train_split}[held out]"
    else:
        split = load(task, task.eval_split)
        candidates, dropped, empty, split_name = split.examples, split.dropped, split.empty, split.name
    examples = tuple(draw_sample(candidates, limit=config.eval.limit, seed=config.shot_seed))
    pool, row_shots = ShotPool(rows=()), list[tuple[Example, ...]]()
    if evaluation.shots and partition is not None:
        pool = load.shot_pool(task, validation=evaluation.split == "validation")
        row_shots = draw(pool, evaluation.shots, examples, sampling=config.shot_sampling, seed=config.shot_seed)
        drawn = {shot.id: shot for shots in row_shots for shot in shots}
        check_leak(list(drawn.values()), examples)
    alike = config.shot_sampling != "per_row"
    shots = row_shots[0] if row_shots else ()
    targets: tuple[str, ...] = ()
    if partition is not None and task.answer == "generation":
        targets = tuple(example.target for example in partition.pool[:BASELINE_TARGETS])
    data = fingerprint(examples + (shots if alike else tuple(shot for own in row_shots for shot in own)))
    identity = digest({"request": cell.request, "weights": weights_identity, "data": data})
    return PreparedEvaluation(
        cell=cell,
        evaluation=evaluation,
        config=config,
        examples=examples,
        shots=shots,
        row_shots=() if alike else tuple(row_shots),
        overlapping=len(pool.overlaps),
        train_targets=targets,
        usable=len(candidates),
        dropped=dropped,
        empty=empty,
        split_name=split_name,
        data=data,
        identity=identity,
        run_id=make_run_id(cell.kind, cell.name, identity),
    )


def draw(
    pool: ShotPool, count: int, examples: tuple[Example, ...], *, sampling: str, seed: int
) -> list[tuple[Example, ...]]:
    """The shots of each of ``examples`` by ``shot_sampling``."""
    if sampling == "per_row":
        return draw_row_shots(pool, count, examples, seed=seed)
    draw_for_all = draw_balanced_shots if sampling == "balanced" else draw_shots
    return [draw_for_all(pool, count, seed=seed)] * len(examples)


def compute_evaluation(
    prepared: PreparedEvaluation,
    host: ModelHost,
    resolved: Resolved,
    trained: Trained | None,
    relation: str | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Evaluate the weights that ``host`` holds and make the cell's record."""
    from pretune.evaluation.evaluate import evaluate_examples
    from pretune.training.fitting import choose_threads, use_threads

    started = time.time()
    evaluation, config = prepared.evaluation, prepared.config
    threads = choose_threads(config.trainer, host.model.num_parameters())
    with use_threads(threads):
        result = evaluate_examples(
            host.model,
            host.tokenizer,
            task=evaluation.task,
            format_=evaluation.format,
            examples=prepared.examples,
            shots=prepared.row_shots or prepared.shots,
            train_targets=prepared.train_targets,
            keep_prompts=config.eval.keep_prompts,
            decode=config.eval.decode,
            on_progress=on_progress,
        )
    is_text = evaluation.task.answer == "language"
    columns: dict[str, Any] = {
        **weight_columns(resolved, host.model.num_parameters()),
        **(training_columns(trained.config, trained.rows) if trained else {}),
        "state": prepared.cell.state,
        "eval_task": evaluation.task.name,
        "eval_split": prepared.split_name,
        "relation": relation,
        "eval_format": None if is_text else evaluation.format.name,
        "shots": None if is_text else evaluation.shots,
    }
    where = {name: columns[name] for name in ("eval_task", "eval_format", "shots")}
    return Record(
        run_id=prepared.run_id,
        kind="evaluate",
        request_key=prepared.cell.key,
        identity=prepared.identity,
        request=prepared.cell.request,
        config=describe_config(prepared, resolved, trained),
        facts={
            "weights": resolved.identity if trained is None else trained.identity,
            "train_run": trained.run_id if trained else None,
            "revision": resolved.revision,
            "commit": resolved.commit,
            "weight_hashes": dict(resolved.hashes),
            "data": prepared.data,
            "primary": [evaluation.task.metric, evaluation.task.scorer],
            "rows": {
                **result.counts,
                "usable_rows": prepared.usable,
                "without_gold": prepared.dropped,
                "without_input": prepared.empty,
                "shots": len(prepared.shots),
                "overlapping_train_rows": prepared.overlapping,
            },
            "sample": {"limit": config.eval.limit, "seed": config.shot_seed},
            "settings": result.settings,
        },
        provenance=collect(host.model.device, threads, started),
        metrics=[{**columns, **row} for row in result.metrics],
        items=[{**where, **item} for item in result.items],
    )


def describe_config(prepared: PreparedEvaluation, resolved: Resolved, trained: Trained | None) -> dict[str, Any]:
    """The resolved configuration of an evaluate cell, as plain data."""
    task: Task = prepared.evaluation.task
    return {
        "kind": "evaluate",
        "checkpoint": to_plain(resolved.checkpoint),
        "run": trained.run_id if trained else None,
        "task": to_plain(task),
        "split": prepared.evaluation.split,
        "format": to_plain(prepared.evaluation.format),
        "shots": prepared.evaluation.shots,
        "shot_sampling": prepared.config.shot_sampling,
        "shot_seed": prepared.config.shot_seed,
        "limit": prepared.config.eval.limit,
        "decode": prepared.config.eval.decode,
    }
