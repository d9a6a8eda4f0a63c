"""What computes cells: a model in memory and nothing of the study. One process has it, or each of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pretune.checkpoints.resolution import Resolved
from pretune.data.token_cache import TokenCache
from pretune.execution.evaluating import PreparedEvaluation, compute_evaluation
from pretune.execution.models import ModelHost
from pretune.execution.training import PreparedTraining, compute_training
from pretune.results.store import Record

if TYPE_CHECKING:
    from pretune.execution.worker import Trained

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """A training to compute."""

    prepared: PreparedTraining
    work_dir: Path


@dataclass(frozen=True, kw_only=True)
class EvaluationOrder:
    """An evaluation to compute; ``run_dir``: where the tuned weights of ``trained`` are kept."""

    prepared: PreparedEvaluation
    resolved: Resolved
    trained: Trained | None
    run_dir: Path | None
    relation: str | None


Order = TrainingOrder | EvaluationOrder


class Hands(Protocol):
    """Computes cells."""

    def fetch(self, resolved: Resolved) -> None:
        """Get ready to hold the weights of ``resolved``."""

    def perform(self, order: Order, *, loggers: Sequence[Any], on_step: OnStep) -> tuple[Record, Path | None]:
        """Compute a cell; return its record and the folder of its tuned weights, if they are kept."""

    def close(self) -> None:
        """End what was started for it."""


class OwnHands:
    """Computes in this process, with the weights and the tokens of the last cells kept in memory."""

    def __init__(self, cache_dir: str, accelerator: str) -> None:
        self.host = ModelHost(cache_dir, accelerator)
        self.tokens = TokenCache(cache_dir)

    def fetch(self, resolved: Resolved) -> None:
        """Load the weights."""
        self.host.use_base(resolved)

    def perform(self, order: Order, *, loggers: Sequence[Any], on_step: OnStep) -> tuple[Record, Path | None]:
        """Compute a cell."""
        if isinstance(order, TrainingOrder):
            self.host.use_base(order.prepared.resolved)
            return compute_training(
                order.prepared,
                self.host,
                work_dir=order.work_dir,
                loggers=loggers,
                tokens=self.tokens,
                on_step=on_step,
            )
        if order.trained is None or order.run_dir is None:
            self.host.use_base(order.resolved)
        else:
            self.host.use_tuned(order.resolved, order.run_dir, order.trained.identity)
        record = compute_evaluation(
            order.prepared, self.host, order.resolved, order.trained, order.relation, on_progress=on_step
        )
        return record, None

    def close(self) -> None:
        """Nothing was started."""
