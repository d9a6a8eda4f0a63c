"""Building a ladder the first time one of its checkpoints is asked for: one builder at a time, cached."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    open_loggers: Callable[[], Sequence[Any]] = tuple,
) -> Path:
    """Return the folder of the ladder, training it unless it is there; waits for another builder to finish.

    One process builds it, whatever ``trainer.strategy`` says.

    ``open_loggers`` is asked for Lightning loggers when a ladder on real text is really trained.
    """
    folder = ladder_dir(cache_dir, recipe)
    trainer = replace(trainer, strategy="single")
    claim, watch = Claim(folder.with_name(f"{folder.name}.claim")), Watch()
    waiting = False
    while not is_built(folder):
        if claim.try_acquire():
            with claim.kept_alive():
                if not is_built(folder):
                    _build(recipe, folder, trainer, on_step, open_loggers)
            break
        if watch.is_stale(claim.path):
            watch.take_over(claim.path)
            continue
        if not waiting:
            log.info("another process is building the ladder %s; waiting", folder.name)
            waiting = True
        time.sleep(0.5)
    return folder


def _build(
    recipe: Recipe,
    folder: Path,
    trainer: Trainer,
    on_step: Callable[[int, int], None],
    open_loggers: Callable[[], Sequence[Any]],
) -> None:
    from pretune.training.pretrain import train_ladder

    if recipe.text == "pico":
        from pretune.pico.corpus import documents
        from pretune.pico.tokenizer import build_tokenizer

        tokenizer, texts = build_tokenizer(), documents(seed=recipe.seed)
        train_ladder(recipe, folder, tokenizer=tokenizer, documents=texts, trainer=trainer, on_step=on_step)
        return
    from pretune.data.packing import prepare_text
    from pretune.training.annealing import LadderBuilder

    tokenizer, text = prepare_text(recipe, folder, on_step=on_step)
    builder = LadderBuilder(
        recipe=recipe,
        folder=folder,
        tokenizer=tokenizer,
        text=text,
        trainer=trainer,
        loggers=open_loggers(),
        on_step=on_step,
    )
    builder.build()
