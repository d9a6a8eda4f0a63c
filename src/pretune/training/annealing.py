"""Ladders on real text whose every checkpoint is annealed: what overtraining is measured on.

Checkpoints of one run differ in more than their tokens: only the last has seen the end of its learning-rate schedule.
Here each kept step ends a schedule of its own:

* ``schedule=wsd``: one trunk at the peak rate; from it, ``decay_steps`` before each kept step, a branch that falls to
  zero (Hägele et al. 2024, arXiv 2405.18392). With a fifth of each budget for its decay and doubling budgets the
  whole costs about 1.2 times the longest run;
* ``schedule=linear`` or ``cosine``: a run of its own for each kept step, from the same initialisation;
* ``schedule=constant``: the trunk itself, not annealed, for comparison.

The windows of a step depend on nothing but the step, so trunk and branches see the same text in the same order.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from pretune.checkpoints.ladders import LOSSES, heldout_dir, identify_recipe, step_dir
from pretune.checkpoints.loading import silence_progress_bars
from pretune.config.running import Trainer
from pretune.config.schema import to_plain
from pretune.config.science import Recipe, Stage
from pretune.data.packing import PackedText
from pretune.errors import DataError
from pretune.training.fitting import choose_threads, fit, use_threads
from pretune.training.module import CausalLanguageModeling
from pretune.training.pretrain import SaveLadder, build_model, stream_windows, write_json, write_manifest
from pretune.training.resume import (
    ReportStep,
    RestoreState,
    StepCheckpoint,
    TrainingState,
    capture_state,
    load_state,
    save_state,
)
from pretune.training.schedules import decay_steps
from pretune.training.steps import StepBatch, make_window_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

TRUNK = "trunk.ckpt"
LAST_STEPS = 20
"""Steps over whose losses the training loss of a budget is a mean: a single step's is noisy."""
VALIDATION_TOKENS = 65_536
"""At most so many tokens of the held-out documents make up the validation loss."""
FRESH_EPOCHS = 4.0
"""Epochs up to which repeated text is worth about as much as new text (Muennighoff et al. 2023, arXiv 2305.16264)."""


class PackedSteps:
    """Iterable over the optimizer steps ``start`` … ``stop`` − 1 of a packed text."""

    def __init__(self, text: PackedText, *, size: int, start: int, stop: int, micro_batch: int | None) -> None:
        self.text = text
        self.size = size
        self.start = start
        self.stop = stop
        self.micro_batch = micro_batch

    def __iter__(self) -> Iterator[StepBatch]:
        for step in range(self.start, self.stop):
            yield make_window_step(torch.from_numpy(self.text.batch(step, self.size)), micro_batch=self.micro_batch)


class CaptureState(pl.Callback):
    """Keeps the training state at the end of a run."""

    def __init__(self) -> None:
        self.state: TrainingState | None = None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Capture, before Lightning lets go of the optimizer."""
        self.state = capture_state(pl_module)


@dataclass(frozen=True, kw_only=True)
class LadderBuilder:
    """Builds one annealed ladder into ``folder``; goes on where an interrupted build stopped."""

    recipe: Recipe
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    text: PackedText
    trainer: Trainer
    loggers: Sequence[Any] = ()
    on_step: Callable[[int, int], None] = lambda done, total: None

    @property
    def budgets(self) -> list[int]:
        """Kept steps after the initialisation."""
        return [step for step in self.recipe.stage.save_steps if step > 0]

    @property
    def total(self) -> int:
        """Optimizer steps of trunk and branches, or of all runs."""
        tails = [tail_steps(self.recipe.stage, budget) for budget in self.budgets]
        return self.budgets[-1] - tails[-1] + sum(tails)

    def build(self) -> None:
        """Train every budget, then write the manifest."""
        started = time.perf_counter()
        silence_progress_bars()
        self.folder.mkdir(parents=True, exist_ok=True)
        stage = self.recipe.stage
        model = build_model(self.recipe.model, self.tokenizer, seed=self.recipe.seed)
        threads = choose_threads(self.trainer, model.num_parameters())
        validation = validation_steps(self.recipe, self.folder, self.tokenizer)
        SaveLadder(self.folder, stage.save_steps, self.tokenizer).save(model, 0)
        with use_threads(threads):
            trunk = load_state(self.folder / TRUNK)
            for budget in self.budgets:
                trunk = self.grow_trunk(trunk, budget - tail_steps(stage, budget))
                self.anneal(trunk, budget, validation)
        tokens = self.budgets[-1] * stage.batch_size * stage.sequence_length
        epochs = tokens / len(self.text.tokens)
        if epochs > FRESH_EPOCHS:
            log.warning(
                "the longest run saw its text %.1f times: beyond %g epochs repeated text is worth less than new text",
                epochs,
                FRESH_EPOCHS,
            )
        losses = read_losses(self.folder)
        write_manifest(
            self.folder,
            {
                "recipe": to_plain(self.recipe),
                "identity": identify_recipe(self.recipe),
                "parameters": model.num_parameters(),
                "vocabulary": len(self.tokenizer),
                "text_tokens": len(self.text.tokens),
                "epochs": {
                    str(step): step * stage.batch_size * stage.sequence_length / len(self.text.tokens)
                    for step in stage.save_steps
                },
                "repeats_text": epochs > FRESH_EPOCHS,
                "seconds": time.perf_counter() - started,
                "threads": threads,
                "loss": {step: loss["train"] for step, loss in losses.items()},
                "validation_loss": {step: loss["validation"] for step, loss in losses.items()},
            },
        )
        for name in (TRUNK, LOSSES):
            (self.folder / name).unlink(missing_ok=True)

    def grow_trunk(self, trunk: TrainingState | None, stop: int) -> TrainingState | None:
        """Train the trunk up to step ``stop`` and save its state there; ``None`` is the initialisation."""
        first = trunk.step if trunk else 0
        if first < stop:
            trunk, _ = self.run(trunk, stop=stop, total=self.budgets[-1], name=TRUNK)
            save_state(self.folder / TRUNK, trunk)
        return trunk

    def anneal(self, trunk: TrainingState | None, budget: int, validation: Sequence[StepBatch]) -> None:
        """Train one budget to the end of its schedule, from the trunk or from scratch, and keep its weights."""
        if step_dir(self.folder, budget).exists():
            return
        record = self.folder / f"branch{budget}.ckpt"
        state, model = self.run(
            load_state(record) or trunk, stop=budget, total=budget, name=record.name, validation=validation
        )
        recent = [row["loss"] for row in state.history[-LAST_STEPS:]]
        losses = read_losses(self.folder)
        losses[str(budget)] = {"train": sum(recent) / len(recent), "validation": state.validation_losses[-1]}
        write_json(self.folder / LOSSES, losses)
        SaveLadder(self.folder, (budget,), self.tokenizer).save(model, budget)
        record.unlink(missing_ok=True)

    def run(
        self, start: TrainingState | None, *, stop: int, total: int, name: str, validation: Sequence[StepBatch] = ()
    ) -> tuple[TrainingState, PreTrainedModel]:
        """Train from ``start`` (``None``: the initialisation) up to step ``stop`` of a schedule of ``total`` steps."""
        stage = self.recipe.stage
        model = build_model(self.recipe.model, self.tokenizer, seed=self.recipe.seed)
        end = CaptureState()
        callbacks: list[pl.Callback] = [
            StepCheckpoint(self.folder, seconds=self.trainer.save_seconds, steps_per_epoch=stop, name=name),
            ReportStep(lambda step, of: self.report(step, budget=None if name == TRUNK else stop)),
            end,
        ]
        if start is not None:
            model.load_state_dict(start.model)
            # torch takes the tensors of an optimizer's state as they are: the trunk's must not be trained on
            callbacks.insert(0, RestoreState(copy.deepcopy(start)))
        first = start.step if start else 0
        module = CausalLanguageModeling(
            model, stage=stage, optimizer=self.recipe.optimizer, total_steps=total, first_step=first
        )
        model.train()
        fit(
            module,
            PackedSteps(self.text, size=stage.batch_size, start=first, stop=stop, micro_batch=self.trainer.micro_batch),
            trainer=self.trainer,
            precision=self.recipe.precision,
            epochs=1,
            validation=validation,
            callbacks=callbacks,
            loggers=self.loggers,
        )
        assert end.state is not None
        return end.state, model

    def report(self, step: int, *, budget: int | None) -> None:
        """Report a step of the trunk, or of a budget's own tail, as a step of the whole ladder."""
        tails = {each: tail_steps(self.recipe.stage, each) for each in self.budgets}
        if budget is None:  # the tails that begin before this step of the trunk are finished
            done = step + sum(tail for each, tail in tails.items() if each - tail < step)
        else:
            done = step + sum(tail for each, tail in tails.items() if each < budget)
        self.on_step(done, self.total)


def tail_steps(stage: Stage, budget: int) -> int:
    """Steps of a budget that it does not share with the longer ones: its decay, or all of its own run."""
    if stage.schedule == "wsd":
        return decay_steps(stage, budget)
    return 1 if stage.schedule == "constant" else budget


def validation_steps(recipe: Recipe, folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[StepBatch]:
    """Windows over the held-out documents, at most :data:`VALIDATION_TOKENS` tokens, in batches of a training step."""
    import pyarrow.parquet as pq

    texts = pq.read_table(heldout_dir(folder) / "validation.parquet")["text"].to_pylist()
    length, size = recipe.stage.sequence_length, recipe.stage.batch_size
    windows = list(
        itertools.islice(stream_windows(texts, tokenizer, length=length), max(1, VALIDATION_TOKENS // length))
    )
    if not windows:
        raise DataError(f"the held-out documents hold less than one window of {length} tokens")
    return [make_window_step(torch.tensor(windows[at : at + size])) for at in range(0, len(windows), size)]


def read_losses(folder: Path) -> dict[str, dict[str, float]]:
    """Training and validation loss of the budgets that are finished."""
    path = folder / LOSSES
    losses: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    return losses
