"""Train cells: the rows they need, their id, and their record."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.checkpoints.resolution import Resolved
from pretune.config.running import TrainConfig
from pretune.config.schema import to_plain
from pretune.data.examples import Example
from pretune.data.partition import LoadSplit, draw_training_rows
from pretune.data.sources import fingerprint
from pretune.data.token_cache import TokenCache
from pretune.execution.cells import Cell
from pretune.execution.jobs import Job
from pretune.execution.keeping import choose_policy
from pretune.execution.models import ModelHost
from pretune.execution.provenance import collect
from pretune.execution.rows import training_columns, weight_columns
from pretune.results.identity import digest, make_run_id
from pretune.results.store import Record, write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """A training with its rows and its id."""

    cell: Cell
    config: TrainConfig
    resolved: Resolved
    training: tuple[Example, ...]
    pool: int
    validation: tuple[Example, ...]
    text: tuple[str, ...]
    dropped: int
    empty: int
    data: str
    identity: str
    run_id: str


def prepare_training(cell: Cell, job: Job, resolved: Resolved, load: LoadSplit) -> PreparedTraining:
    """Load and draw the rows of a train cell and work out its id."""
    config = job.config
    assert isinstance(config, TrainConfig)
    partition = load.partition(config.task)
    training = tuple(draw_training_rows(partition, config.task, seed=config.seed))
    if len(training) < config.task.train_rows:
        log.warning(
            "task.train_rows=%d: %s has %d rows to train on, and all of them are taken",
            config.task.train_rows,
            config.task.name,
            len(training),
        )
    source = job.regularizer_text
    text = load(source, source.train_split).examples if source is not None and source.train_split else ()
    data = fingerprint(training + partition.validation + text)
    identity = digest({"request": cell.request, "weights": resolved.identity, "data": data})
    return PreparedTraining(
        cell=cell,
        config=config,
        resolved=resolved,
        training=training,
        pool=len(partition.pool),
        validation=partition.validation,
        text=tuple(example.target for example in text),
        dropped=partition.dropped,
        empty=partition.empty,
        data=data,
        identity=identity,
        run_id=make_run_id(cell.kind, cell.name, identity),
    )


def compute_training(
    prepared: PreparedTraining,
    host: ModelHost,
    *,
    work_dir: Path,
    loggers: Sequence[Any],
    tokens: TokenCache,
    on_step: Callable[[int, int], None],
) -> tuple[Record, Path | None]:
    """Fine-tune the base weights that ``host`` holds; return the record and the folder of the tuned weights."""
    from pretune.modeling import save_model
    from pretune.training.distributed import is_first_process
    from pretune.training.finetune import finetune

    started, config, resolved = time.time(), prepared.config, prepared.resolved
    work_dir.mkdir(parents=True, exist_ok=True)
    for left in work_dir.glob("model-*"):
        shutil.rmtree(left, ignore_errors=True)  # of an attempt that was killed
    host.spoil()
    outcome = finetune(
        host.model,
        host.tokenizer,
        config,
        training=prepared.training,
        validation=prepared.validation,
        text=prepared.text,
        work_dir=work_dir,
        loggers=loggers,
        tokens=tokens,
        on_step=on_step,
    )
    host.adopt(prepared.identity)
    parameters = host.model.num_parameters()
    model_dir = None
    if choose_policy(config, parameters) != "none" and is_first_process():
        model_dir = work_dir / f"model-{uuid.uuid4().hex[:8]}"  # an owner that was taken over may write one, too
        save_model(host.model, host.tokenizer, model_dir)
    columns = {
        **weight_columns(resolved, parameters),
        **training_columns(config, outcome.rows),
        "state": "tuned",
        "eval_task": config.task.name,
        "eval_format": config.format.name,
        "shots": 0,
        "scorer": "likelihood",
    }
    last_epoch = outcome.history[-math.ceil(outcome.total_steps / config.stage.epochs) :]
    metrics = [
        {**columns, "metric": "train_loss", "value": mean([r["loss"] for r in last_epoch]), "n": outcome.rows},
        {
            **columns,
            "relation": "validation",
            "metric": "validation_loss",
            "value": outcome.validation_losses[-1] if outcome.validation_losses else None,
            "n": len(prepared.validation),
        },
    ]
    record = Record(
        run_id=prepared.run_id,
        kind="train",
        request_key=prepared.cell.key,
        identity=prepared.identity,
        request=prepared.cell.request,
        config=to_plain(config),
        facts={
            "weights": resolved.identity,
            "revision": resolved.revision,
            "commit": resolved.commit,
            "weight_hashes": dict(resolved.hashes),
            "data": prepared.data,
            "rows": outcome.rows,
            "truncated_rows": outcome.truncated_rows,
            "left_out_rows": len(prepared.training) - outcome.rows,
            "without_gold": prepared.dropped,
            "without_input": prepared.empty,
            "training_pool": prepared.pool,
            "validation_rows": len(prepared.validation),
            "optimizer_steps": outcome.total_steps,
            "train_loss": [round(r["loss"], 6) for r in outcome.history],
            "validation_losses": outcome.validation_losses,
            "parameters": parameters,
            "trained_parameters": outcome.trained_parameters,
            "keep_model": choose_policy(config, parameters),
        },
        provenance=collect(
            host.model.device,
            outcome.threads,
            started,
            training_seconds=round(outcome.seconds, 3),
            **outcome.describe_speed(),
            resumed_at=outcome.resumed_at,
        ),
        metrics=metrics,
    )
    return record, model_dir


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN for nothing."""
    return sum(values) / len(values) if values else math.nan


def next_attempt(study_root: Path, run_id: str, *, resumed: bool) -> int:
    """Number of this attempt at a cell: a resumed training keeps it, a start from zero is a new one."""
    path = study_root / "attempts" / f"{run_id}.json"
    try:
        attempt = int(json.loads(path.read_text())["attempt"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        attempt = 0
    if not resumed or attempt == 0:
        attempt += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"attempt": attempt}).encode())
    return attempt
