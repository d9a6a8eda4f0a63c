"""Building a ladder the first time one of its checkpoints is asked for: one builder at a time, cached."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from pretune.checkpoints.ladders import is_built, ladder_dir
from pretune.config.running import Trainer
from pretune.config.science import Recipe
from pretune.results.claims import Claim, Watch

log = logging.getLogger(__name__)


def ensure_ladder(
    recipe: Recipe,
    cache_dir: str,
    trainer: Trainer,
    *,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Return the folder of the ladder, training it unless it is there; waits for another builder to finish."""
    folder = ladder_dir(cache_dir, recipe)
    claim, watch = Claim(folder.with_name(f"{folder.name}.claim")), Watch()
    waiting = False
    while not is_built(folder):
        if claim.try_acquire():
            with claim.kept_alive():
                if not is_built(folder):
                    _build(recipe, folder, trainer, on_step)
            break
        if watch.is_stale(claim.path):
            watch.take_over(claim.path)
            continue
        if not waiting:
            log.info("another process is building the ladder %s; waiting", folder.name)
            waiting = True
        time.sleep(0.5)
    return folder


def _build(recipe: Recipe, folder: Path, trainer: Trainer, on_step: Callable[[int, int], None]) -> None:
    from pretune.pico.corpus import documents
    from pretune.pico.tokenizer import build_tokenizer
    from pretune.training.pretrain import train_ladder

    train_ladder(
        recipe,
        folder,
        tokenizer=build_tokenizer(),
        documents=documents(seed=recipe.seed),
        trainer=trainer,
        on_step=on_step,
    )
