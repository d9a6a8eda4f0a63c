"""A Lightning logger that hands metrics on. Import it only where training happens: it imports Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from pretune.tracking.runs import STEP_AXIS

Sink = Callable[[Mapping[str, Any]], None]


class ForwardingLogger(Logger):
    """Gives every record to ``sink``, with the optimizer step among its values.

    Lightning's own W&B logger is not used: it adds ``trainer/global_step``, which counts micro-batches under manual
    optimization, and makes it the axis of everything.
    """

    def __init__(self, name: str, version: str, sink: Sink) -> None:
        super().__init__()
        self._name = name
        self._version = version
        self._sink = sink

    @property
    def name(self) -> str:
        """Name of the project."""
        return self._name

    @property
    def version(self) -> str:
        """Id of the run."""
        return self._version

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Hand one record on; ``step`` is used where the record itself has no ``trainer/step``."""
        record = dict(metrics)
        if STEP_AXIS not in record and step is not None:
            record[STEP_AXIS] = step
        self._sink(record)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run has the whole configuration from its start."""
