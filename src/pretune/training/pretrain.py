"""``stage=pretrain``: train a ladder of checkpoints from scratch by its recipe."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from pretune.checkpoints.ladders import identify_recipe
from pretune.checkpoints.loading import silence_progress_bars
from pretune.config.running import Trainer
from pretune.config.schema import to_plain
from pretune.config.science import Model, Recipe
from pretune.modeling import save_model
from pretune.results.checksums import write_sums
from pretune.training.fitting import choose_threads, fit, use_threads
from pretune.training.module import CausalLanguageModeling
from pretune.training.resume import FILE_NAME, ReportStep, RestoreState, StepCheckpoint, load_state
from pretune.training.steps import WindowSteps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def build_model(config: Model, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> PreTrainedModel:
    """Initialise a model from scratch by ``seed``."""
    from transformers import OlmoConfig, OlmoForCausalLM

    torch.manual_seed(seed)
    architecture = OlmoConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context_length,
        initializer_range=config.init_std,
        tie_word_embeddings=config.tie_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return OlmoForCausalLM(architecture)


def stream_windows(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, length: int, chunk: int = 1000
) -> Iterator[list[int]]:
    """Windows of ``length`` tokens cut from the stream of documents, each followed by end-of-text."""
    buffer: list[int] = []
    iterator = iter(documents)
    while part := list(itertools.islice(iterator, chunk)):
        for ids in tokenizer(part, add_special_tokens=False)["input_ids"]:
            buffer += [*ids, tokenizer.eos_token_id]
        whole = len(buffer) // length * length
        for start in range(0, whole, length):
            yield buffer[start : start + length]
        buffer = buffer[whole:]


class SaveLadder(pl.Callback):
    """Saves the weights at the recipe's steps, each folder complete or absent."""

    def __init__(self, folder: Path, steps: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> None:
        self.folder = folder
        self.steps = frozenset(steps)
        self.tokenizer = tokenizer

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Save after a step of the ladder."""
        self.save(pl_module.model, pl_module.step)

    def save(self, model: PreTrainedModel, step: int) -> None:
        """Save the weights of ``step`` if it belongs to the ladder."""
        target = self.folder / f"step{step}"
        if step not in self.steps or target.exists():
            return
        temporary = self.folder / f".step{step}"
        shutil.rmtree(temporary, ignore_errors=True)
        save_model(model, self.tokenizer, temporary)
        temporary.rename(target)


def train_ladder(
    recipe: Recipe,
    folder: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    documents: Iterable[str],
    trainer: Trainer,
    loggers: Sequence[Any] = (),
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train the ladder of ``recipe`` into ``folder``; goes on where an interrupted training stopped.

    ``documents`` must yield the same texts each time. The manifest ``ladder.json`` is written last.
    """
    started = time.perf_counter()
    silence_progress_bars()
    folder.mkdir(parents=True, exist_ok=True)
    steps = recipe.stage.save_steps
    model = build_model(recipe.model, tokenizer, seed=recipe.seed)
    state = load_state(folder / FILE_NAME)
    saver = SaveLadder(folder, steps, tokenizer)
    checkpointing = StepCheckpoint(folder, seconds=trainer.save_seconds, steps_per_epoch=steps[-1])
    callbacks: list[pl.Callback] = [saver, checkpointing, ReportStep(on_step)]
    if state is not None:
        model.load_state_dict(state.model)
        callbacks.insert(0, RestoreState(state))
    else:
        saver.save(model, 0)
    first_step = state.step if state else 0
    module = CausalLanguageModeling(
        model, stage=recipe.stage, optimizer=recipe.optimizer, total_steps=steps[-1], first_step=first_step
    )
    windows = stream_windows(documents, tokenizer, length=recipe.stage.sequence_length)
    data = WindowSteps(windows, batch_size=recipe.stage.batch_size, total_steps=steps[-1], start_step=first_step)
    threads = choose_threads(trainer, model.num_parameters())
    model.train()
    with use_threads(threads):
        if first_step < steps[-1]:
            fit(
                module,
                data,
                trainer=trainer,
                precision=recipe.precision,
                epochs=1,
                callbacks=callbacks,
                loggers=loggers,
            )
    manifest = {
        "recipe": to_plain(recipe),
        "identity": identify_recipe(recipe),
        "parameters": model.num_parameters(),
        "seconds": time.perf_counter() - started,
        "resumed_at": first_step,
        "threads": threads,
        "loss": {str(int(r["step"])): r["loss"] for r in module.history if int(r["step"]) in saver.steps},
    }
    write_manifest(folder, manifest)
    (folder / FILE_NAME).unlink(missing_ok=True)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the checksums of the ladder's checkpoints and ``ladder.json``: from now on it is complete."""
    written = sorted(path for path in folder.glob("step*/*") if path.is_file())
    write_sums(folder, [path.relative_to(folder).as_posix() for path in written])
    write_json(folder / "ladder.json", manifest)


def write_json(path: Path, value: Any) -> None:
    """Write a file that is complete or not there."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.rename(path)
