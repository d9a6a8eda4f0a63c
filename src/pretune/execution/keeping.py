"""Which fine-tuned weights stay on disk: ``keep_model=none|selected|all``.

``selected`` keeps, of the trainings that differ only in learning rate and seed, those at the rate that
``select=in_domain`` would choose (:mod:`pretune.results.rates`): its seeds, so that one can probe them all.
It is the default from 50 M parameters on; smaller models are all kept.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence

from pretune.config.running import TrainConfig
from pretune.execution.cells import JobCells
from pretune.execution.selecting import choose, group_by, read_candidate
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
    candidates = []
    for cells in jobs:
        candidate = read_candidate(cells, study)
        unfinished = any(study.find_finished(cell.key) is None for cell in cells.tuned)
        if candidate is None or unfinished:
            continue
        if study.read_run(candidate.run_id)["facts"].get("keep_model") == "selected":
            candidates.append(candidate)
    dropped = []
    for group in group_by(candidates, "optimizer.lr", "seed"):
        choice = choose(group)
        for candidate in group:
            folder = study.run_dir(candidate.run_id) / "model"
            if choice is not None and candidate.lr != choice.lr and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                dropped.append(candidate.run_id)
    if dropped:
        log.info("keep_model=selected: weights of %d trainings deleted, those at the best rate kept", len(dropped))
    return dropped
