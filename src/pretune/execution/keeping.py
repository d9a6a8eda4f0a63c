"""Which fine-tuned weights stay on disk: ``keep_model=none|selected|all``.

``selected`` keeps, of the trainings that differ only in optimizer settings and seed, the one with the lowest loss on
the held-out validation rows. It is the default from 50 M parameters on; smaller models are all kept.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from typing import Any

from pretune.config.running import TrainConfig
from pretune.execution.cells import JobCells
from pretune.results.identity import digest
from pretune.results.store import Study

log = logging.getLogger(__name__)

SMALL_ENOUGH_TO_KEEP = 50_000_000
"""Parameters below which all fine-tuned weights are kept by default."""


def choose_policy(config: TrainConfig, parameters: int) -> str:
    """What ``keep_model`` means for a model of this size."""
    if config.keep_model is not None:
        return config.keep_model
    return "all" if parameters < SMALL_ENOUGH_TO_KEEP else "selected"


def drop_unselected(study: Study, jobs: Sequence[JobCells]) -> list[str]:
    """Delete the weights of finished trainings that ``selected`` does not keep; return their run_ids.

    Only those that were trained under this policy and have no evaluation left to make.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for cells in jobs:
        run_id = study.find_finished(cells.train.key) if cells.train is not None else None
        if run_id is None:
            continue
        run = study.read_run(run_id)
        unfinished = any(study.find_finished(cell.key) is None for cell in cells.tuned)
        if run["facts"].get("keep_model") == "selected" and not unfinished:
            without = {key: value for key, value in run["request"].items() if key not in ("optimizer", "seed")}
            groups.setdefault(digest(without), []).append(run)
    dropped = []
    for runs in groups.values():
        best = min(runs, key=lambda run: (run["facts"]["validation_losses"] or [float("inf")])[-1])
        for run in runs:
            folder = study.run_dir(run["run_id"]) / "model"
            if run["run_id"] != best["run_id"] and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                dropped.append(str(run["run_id"]))
    if dropped:
        log.info("keep_model=selected: weights of %d trainings deleted, the best of each kept", len(dropped))
    return dropped
