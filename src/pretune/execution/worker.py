"""A worker runs jobs, one cell after another, in one process: weights and rows are loaded once and kept."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pretune.checkpoints.ladders import find_ladder, is_built, recipe_of
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import Resolved, locate, resolve
from pretune.checkpoints.soundness import set_aside
from pretune.config.probing import ProbeConfig
from pretune.config.running import TrainConfig
from pretune.config.schema import freeze
from pretune.config.science import Checkpoint
from pretune.config.secrets import redact
from pretune.data.partition import LoadSplit
from pretune.errors import ClaimLost, PretuneError, TrainingDiverged, WeightsDamaged
from pretune.execution.cells import Cell, JobCells
from pretune.execution.evaluating import PreparedEvaluation, prepare_evaluation
from pretune.execution.hands import EvaluationOrder, Hands, OwnHands, TrainingOrder
from pretune.execution.jobs import Job
from pretune.execution.ladders import ensure_ladder
from pretune.execution.outcomes import BLOCKED, BUSY, DONE, FAILED, FINISHED, CellOutcome, Listener
from pretune.execution.probing import compute_probe, find_reference, prepare_probe
from pretune.execution.rows import relation_of
from pretune.execution.storage import Foothold, refuse_failing_storage
from pretune.execution.tracked import JobTracking
from pretune.execution.training import prepare_training
from pretune.results.claims import Claim, Watch
from pretune.results.identity import make_run_id
from pretune.results.store import Record, Study
from pretune.tracking import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The training behind tuned weights: its configuration, its run, and its cell's id."""

    config: TrainConfig
    run_id: str
    identity: str
    rows: int


class Worker:
    """Runs the cells of jobs. ``group`` is the tracker's name for the grid they belong to.

    ``foothold`` holds the study's folder, whose loss ends the work.
    """

    def __init__(
        self,
        study: Study,
        *,
        cache_dir: str,
        hands: Hands,
        tracker: Tracker,
        listener: Listener,
        group: str,
        foothold: Foothold | None = None,
    ) -> None:
        self.study = study
        self.cache_dir = cache_dir
        self.tracker = tracker
        self.listener = listener
        self.group = group
        self.foothold = foothold
        self.refs = RefCache(study)
        self.splits = LoadSplit()
        self.hands = hands
        self._watch = Watch()
        self._claim: Claim | None = None
        self._resolved: dict[str, Resolved] = {}
        self._failures: list[Mapping[str, Any]] | None = None
        self._failed: dict[str, CellOutcome] = {}

    def resolve(self, checkpoint: Checkpoint) -> Resolved:
        """Resolve a checkpoint, once per process."""
        key = repr(checkpoint)
        if key not in self._resolved:
            self._resolved[key] = resolve(checkpoint, self.refs)
        return self._resolved[key]

    def find_reference(self, config: ProbeConfig, checkpoint: Checkpoint) -> Resolved | None:
        """The checkpoint that a probe compares with."""
        reference = find_reference(config, checkpoint, self.refs)
        return None if reference is None else self.resolve(reference)

    def run(self, cells: JobCells) -> list[CellOutcome]:
        """Run every cell of a job that is not finished; failures are recorded, not raised.

        Raises :class:`~pretune.errors.StorageFailure` when no cell could go on.
        """
        outcomes: list[CellOutcome] = []
        tracking = JobTracking(self.tracker, self.study, cells, self.group)
        try:
            for cell in cells.all():
                outcome = self._run_cell(cell, cells, outcomes, tracking)
                outcomes.append(outcome)
                self.listener.finish_cell(outcome)
        finally:
            tracking.finish(outcomes)
        return outcomes

    def _run_cell(self, cell: Cell, cells: JobCells, before: list[CellOutcome], tracking: JobTracking) -> CellOutcome:
        started = time.perf_counter()
        finished = self.study.find_finished(cell.key)
        if finished is not None:
            return outcome_of(cell, FINISHED, run_id=finished)
        if cell.state == "tuned" and cell.evaluation is not None:
            blocking = next((o for o in before if o.kind == "train" and o.status in (FAILED, BUSY, BLOCKED)), None)
            if blocking is not None:
                status = BUSY if blocking.status == BUSY else BLOCKED
                return outcome_of(cell, status, error=f"its training {blocking.status}")
        if cell.key in self._failed:  # by another job, or in an earlier round of this one: once is enough
            return replace(self._failed[cell.key], seconds=0.0)
        failure_id = make_run_id(cell.kind, cell.name, cell.key)  # the id may be what could not be found out
        try:
            status, run_id = self._attempt_mending(cell, cells, tracking)
        except ClaimLost as error:
            self._check_storage(error)
            log.warning("%s", error)
            return outcome_of(cell, BUSY)
        except Exception as error:
            self._check_storage(error)
            self._note_failure(cell, cells.job, failure_id, error)
            message = redact(str(error) if isinstance(error, PretuneError) else f"{type(error).__name__}: {error}")
            seconds = time.perf_counter() - started
            self._failed[cell.key] = outcome_of(cell, FAILED, run_id=failure_id, error=message, seconds=seconds)
            return self._failed[cell.key]
        if status in (DONE, FINISHED):
            self._clear_failures(cell, cells.job)
        return outcome_of(cell, status, run_id=run_id, seconds=time.perf_counter() - started)

    def _attempt_mending(self, cell: Cell, cells: JobCells, tracking: JobTracking) -> tuple[str, str]:
        """As :meth:`_attempt`; fine-tuned weights that are found damaged are set aside and trained again."""
        try:
            return self._attempt(cell, cells, tracking)
        except WeightsDamaged as error:
            damaged = next((path for path in error.files if path.is_relative_to(self.study.runs)), None)
            if damaged is None:
                raise
            self.study.set_aside(damaged.relative_to(self.study.runs).parts[0])
            if cells.train is None:
                raise PretuneError(f"{error}; set aside: run its train.py command again, then this one") from error
            status, run_id = self._attempt(cells.train, cells, tracking)
            return (BUSY, run_id) if status == BUSY else self._attempt(cell, cells, tracking)

    def _attempt(self, cell: Cell, cells: JobCells, tracking: JobTracking) -> tuple[str, str]:
        """Find out the cell's id, claim it, compute it, publish it."""
        job = cells.job
        if cell.kind == "probe":
            return self._attempt_probe(cell, cells)
        if cell.evaluation is None:
            resolved = self.resolve(job.config.checkpoint)
            prepared_training = prepare_training(cell, job, resolved, self.splits)
            run_id = prepared_training.run_id

            def compute(work_dir: Path) -> tuple[Record, Path | None]:
                self._use_base(resolved, job)
                self.listener.start_activity(f"training {cell.name}")
                loggers = tracking.start_training(
                    prepared_training.run_id, prepared_training.identity, resolved, work_dir
                )
                order = TrainingOrder(prepared=prepared_training, work_dir=work_dir)
                return self.hands.perform(order, loggers=loggers, on_step=self._step)
        else:
            trained = self._find_trained(cell, cells)
            config = job.config if trained is None else trained.config
            resolved = self.resolve(config.checkpoint)
            tracking.know_weights(resolved)
            weights_identity = resolved.identity if trained is None else trained.identity
            prepared = prepare_evaluation(cell, job, weights_identity, self.splits)
            run_id = prepared.run_id

            def compute(work_dir: Path) -> tuple[Record, Path | None]:
                if trained is None:
                    self._use_base(resolved, job)
                else:
                    self._ensure_ladder(resolved, job)
                self.listener.start_activity(f"evaluating {cell.name}")
                order = EvaluationOrder(
                    prepared=prepared,
                    resolved=resolved,
                    trained=trained,
                    run_dir=self.study.run_dir(trained.run_id) if trained is not None else None,
                    relation=find_relation(prepared, trained),
                )
                return self.hands.perform(order, loggers=(), on_step=self._step)

        return self._perform(cell, run_id, compute), run_id

    def _attempt_probe(self, cell: Cell, cells: JobCells) -> tuple[str, str]:
        job, trained = cells.job, self._find_trained(cell, cells)
        assert isinstance(job.config, ProbeConfig)
        checkpoint = job.config.checkpoint if trained is None else trained.config.checkpoint
        resolved = self.resolve(checkpoint)
        identity = resolved.identity if trained is None else trained.identity
        reference = self.find_reference(job.config, checkpoint)
        prepared = prepare_probe(cell, job, identity, self.splits, reference)

        def compute(work_dir: Path) -> tuple[Record, Path | None]:
            assert isinstance(self.hands, OwnHands)
            host = self.hands.host
            self._use_base(resolved, job)
            if trained is not None:
                host.use_tuned(resolved, self.study.run_dir(trained.run_id), trained.identity)
            self.listener.start_activity(f"probing {cell.name}")
            try:
                return compute_probe(prepared, host, resolved, trained, self._step), None
            except BaseException:
                host.spoil()  # whatever was being changed may not have been put back
                raise

        return self._perform(cell, prepared.run_id, compute), prepared.run_id

    def _perform(self, cell: Cell, run_id: str, compute: Callable[[Path], tuple[Record, Path | None]]) -> str:
        study = self.study
        if study.is_finished(run_id):
            study.remember(cell.key, run_id)
            return FINISHED
        claim = study.claim(run_id, cell.key)
        if not claim.try_acquire():
            if not self._watch.is_stale(claim.path):
                return BUSY
            self._watch.take_over(claim.path)
            if not claim.try_acquire():
                return BUSY
        with claim.kept_alive():
            study.tidy(run_id)
            if study.is_finished(run_id):
                study.remember(cell.key, run_id)
                return FINISHED
            self._claim = claim
            try:
                record, model = compute(study.work / run_id)
                study.publish(record, claim, model=model)
            except Exception:
                claim.check()  # whoever took over has removed what this process was working with
                raise
            finally:
                self._claim = None
        return DONE

    def _step(self, done: int, total: int) -> None:
        """Tell the listener about progress; a cell that another process took over is given up at once."""
        if self._claim is not None:
            self._claim.check_quickly()
        self.listener.step(done, total)

    def _check_storage(self, error: Exception) -> None:
        """Raise :class:`~pretune.errors.StorageFailure` for what would fail all cells that follow, too."""
        if self.foothold is not None:
            self.foothold.check()
        refuse_failing_storage(error, self.study.root, self.cache_dir)

    def _find_trained(self, cell: Cell, cells: JobCells) -> Trained | None:
        """The training whose weights a tuned evaluation needs; ``None`` for base weights."""
        if cell.state == "base":
            return None
        run_id = cells.run_id or (self.study.find_finished(cells.train.key) if cells.train else None)
        if run_id is None:
            raise PretuneError(f"{cell.name}: its training is not finished")
        run = self.study.read_run(run_id)
        config = freeze(TrainConfig, self.study.read_config(run_id))
        return Trained(config=config, run_id=run_id, identity=run["id"], rows=int(run["facts"]["rows"]))

    def _use_base(self, resolved: Resolved, job: Job) -> None:
        self._ensure_ladder(resolved, job)
        self.listener.start_activity(f"loading {resolved.checkpoint.family} {resolved.label}")
        try:
            self.hands.fetch(resolved)
        except WeightsDamaged as error:
            if not set_aside(resolved, locate(resolved, self.cache_dir), error):
                raise
            self._ensure_ladder(resolved, job)
            self.hands.fetch(resolved)

    def _ensure_ladder(self, resolved: Resolved, job: Job) -> None:
        checkpoint = resolved.checkpoint
        if checkpoint.source == "ladder" and not is_built(find_ladder(checkpoint, self.cache_dir)):
            self.listener.start_activity(f"pre-training the {checkpoint.family} ladder")
            ensure_ladder(recipe_of(checkpoint), self.cache_dir, job.config.trainer, on_step=self._step)

    def _note_failure(self, cell: Cell, job: Job, run_id: str, error: Exception) -> None:
        failure = {
            "kind": cell.kind,
            "cell": cell.name,
            "request_key": cell.key,
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "retry": job.command,
            "request": cell.request,
            **({"details": error.details} if isinstance(error, TrainingDiverged) else {}),
        }
        try:
            self.study.record_failure(run_id, failure)
        except OSError as problem:
            log.error("the failure of %s could not be recorded: %s", cell.name, problem)

    def _clear_failures(self, cell: Cell, job: Job) -> None:
        """Remove the failure records of a cell that is finished now.

        A cell whose rows or weights lie in a folder has another request once they are mended: it is known by its
        name and command.
        """
        self.study.clear_failure(make_run_id(cell.kind, cell.name, cell.key))
        if self._failures is None:
            self._failures = list(self.study.failures())  # once: a study may hold thousands of runs
        for failure in self._failures:
            described = (failure.get("kind"), failure.get("cell"), failure.get("retry"))
            if described == (cell.kind, cell.name, job.command):
                self.study.clear_failure(str(failure.get("run_id")))


def find_relation(prepared: PreparedEvaluation, trained: Trained | None) -> str | None:
    """How the evaluated task relates to the trained one: as the job says, else as the training's own map says."""
    if trained is None:
        return None
    if prepared.evaluation.relation is not None:
        return prepared.evaluation.relation
    return relation_of(
        trained.config.task,
        prepared.evaluation.task,
        prepared.evaluation.split,
        trained.config.checkpoint.pretraining_text,
    )


def outcome_of(
    cell: Cell, status: str, *, run_id: str | None = None, error: str = "", seconds: float = 0.0
) -> CellOutcome:
    """Outcome of ``cell``."""
    return CellOutcome(
        key=cell.key,
        kind=cell.kind,
        state=cell.state,
        name=cell.name,
        status=status,
        run_id=run_id,
        error=error,
        seconds=seconds,
    )
