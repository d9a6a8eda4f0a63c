"""Probe cells: the rows they measure on, their id, and their record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.checkpoints.ladders import recipe_of
from pretune.checkpoints.loading import load_model
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import Resolved, locate
from pretune.checkpoints.revisions import list_steps
from pretune.config.probing import UNKNOWN_INIT, ProbeConfig
from pretune.config.schema import to_plain
from pretune.config.science import Checkpoint
from pretune.data.partition import LoadSplit
from pretune.errors import UsageError
from pretune.execution.cells import Cell
from pretune.execution.evaluating import PreparedEvaluation, prepare_evaluation
from pretune.execution.jobs import Job
from pretune.execution.models import ModelHost
from pretune.execution.provenance import collect
from pretune.execution.rows import training_columns, weight_columns
from pretune.results.identity import digest, make_run_id
from pretune.results.store import Record

if TYPE_CHECKING:
    from pretune.execution.worker import Trained

NEED_REFERENCE = ("gaussian", "representation")
"""Probes that compare with another checkpoint of the family, step 0 unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class PreparedProbe:
    """A probe with the rows it measures on, the checkpoint it compares with, and its id."""

    cell: Cell
    config: ProbeConfig
    measured: tuple[PreparedEvaluation, ...]
    reference: Resolved | None
    identity: str
    run_id: str


def find_reference(config: ProbeConfig, checkpoint: Checkpoint, refs: RefCache) -> Checkpoint | None:
    """The checkpoint that the probe compares with; ``None`` where the family has none, or the probe needs none.

    Raises :class:`UsageError` where the probe cannot do without.
    """
    probe = config.probe
    if probe.name not in NEED_REFERENCE or (probe.name == "gaussian" and probe.normalisation != "init"):
        return None
    wanted = probe.reference_step if probe.name == "representation" else None
    if checkpoint.source == "path" or (checkpoint.source == "hub" and not checkpoint.pattern):
        steps: list[int] = []
    else:
        known = refs.get(str(checkpoint.repo)) if checkpoint.source == "hub" else ()
        steps = list_steps(checkpoint, known)
    if wanted is not None and wanted not in steps:
        raise UsageError(f"probe.reference_step={wanted}: the family has no such step")
    step = 0 if wanted is None else wanted
    if step in steps:
        return dataclasses.replace(checkpoint, step=step, revision=None)
    if probe.name == "gaussian" and initial_std(checkpoint) is None:
        raise UsageError(UNKNOWN_INIT)
    return None


def prepare_probe(
    cell: Cell, job: Job, weights_identity: str, load: LoadSplit, reference: Resolved | None
) -> PreparedProbe:
    """Load and draw the rows that a probe measures on and work out the cell's id."""
    config = job.config
    assert isinstance(config, ProbeConfig)
    measured = tuple(
        prepare_evaluation(dataclasses.replace(cell, evaluation=evaluation), job, weights_identity, load)
        for evaluation in cell.measured
    )
    identity = digest(
        {
            "request": cell.request,
            "weights": weights_identity,
            "data": [each.data for each in measured],
            "reference": reference.identity if reference else None,
        }
    )
    return PreparedProbe(
        cell=cell,
        config=config,
        measured=measured,
        reference=reference,
        identity=identity,
        run_id=make_run_id(cell.kind, cell.name, identity),
    )


def compute_probe(
    prepared: PreparedProbe,
    host: ModelHost,
    resolved: Resolved,
    trained: Trained | None,
    on_step: Callable[[int, int], None],
) -> Record:
    """Probe the weights that ``host`` holds and make the cell's record."""
    from pretune.probes.meters import make_meter
    from pretune.probes.registry import PROBES
    from pretune.probes.subject import Reference, Subject
    from pretune.training.fitting import choose_threads, use_threads

    started, config = time.time(), prepared.config
    model, tokenizer = host.model, host.tokenizer
    threads = choose_threads(config.trainer, model.num_parameters())
    reference = None
    if prepared.reference is not None:
        weights = dict(load_model(locate(prepared.reference, host.cache_dir)).to(model.device).named_parameters())
        reference = Reference(label=prepared.reference.label, weights=weights)
    with use_threads(threads):
        meters = [
            make_meter(model, tokenizer, each.evaluation.task, each.evaluation.format, each.examples)
            for each in prepared.measured
        ]
        findings = PROBES[config.probe.name](
            Subject(
                model=model,
                tokenizer=tokenizer,
                probe=config.probe,
                meters=meters,
                examples=[each.examples for each in prepared.measured],
                wordings=[each.evaluation.format.name for each in prepared.measured],
                formats={each.evaluation.task.name: each.evaluation.format for each in prepared.measured},
                base=host.base_weights() if trained is not None else None,
                reference=reference,
                init_std=initial_std(resolved.checkpoint),
                on_step=on_step,
            )
        )
    columns: dict[str, Any] = {
        **weight_columns(resolved, model.num_parameters()),
        **(training_columns(trained.config, trained.rows) if trained else {}),
        "state": prepared.cell.state,
        "probe": config.probe.name,
    }
    splits = {each.evaluation.task.name: each for each in prepared.measured}
    return Record(
        run_id=prepared.run_id,
        kind="probe",
        request_key=prepared.cell.key,
        identity=prepared.identity,
        request=prepared.cell.request,
        config={
            "kind": "probe",
            "checkpoint": to_plain(resolved.checkpoint),
            "run": trained.run_id if trained else None,
            "probe": to_plain(config.probe),
            "tasks": {name: to_plain(each.evaluation.task) for name, each in splits.items()},
            "limit": config.eval.limit,
        },
        facts={
            "weights": resolved.identity if trained is None else trained.identity,
            "train_run": trained.run_id if trained else None,
            "revision": resolved.revision,
            "commit": resolved.commit,
            "weight_hashes": dict(resolved.hashes),
            "data": {name: each.data for name, each in splits.items()},
            **findings.facts,
        },
        provenance=collect(model.device, threads, started),
        metrics=[{**columns, **locate_rows(row, splits)} for row in findings.rows],
    )


def initial_std(checkpoint: Checkpoint) -> float | None:
    """Standard deviation of the initialisation as the catalogue, or the recipe of a ladder, has it."""
    if checkpoint.source == "ladder":
        return recipe_of(checkpoint).model.init_std
    return checkpoint.init_std


def locate_rows(row: dict[str, Any], measured: dict[str, PreparedEvaluation]) -> dict[str, Any]:
    """Add to a row of findings which split, format and shots its task was measured on."""
    each = measured.get(str(row.get("eval_task")))
    if each is None:
        return row
    is_text = each.evaluation.task.answer == "language"
    return {
        **row,
        "eval_split": each.split_name,
        "eval_format": None if is_text else row.get("eval_format", each.evaluation.format.name),
        "shots": None if is_text else each.evaluation.shots,
    }
