"""``stage=sft`` and ``stage=instruct``: fine-tune a model on the completions of a task's prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config.running import TrainConfig
from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Example
from pretune.data.token_cache import TokenCache
from pretune.data.training_rows import encode_training_rows
from pretune.errors import DataError
from pretune.modeling import context_length
from pretune.training.fitting import choose_threads, fit, use_threads
from pretune.training.module import CausalLanguageModeling
from pretune.training.regularizers import build_regularization
from pretune.training.resume import FILE_NAME, ReportStep, RestoreState, StepCheckpoint, load_state
from pretune.training.steps import EpochSteps, make_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What a finished training reports; the trained weights are in the model that was passed in."""

    history: list[dict[str, float]]
    validation_losses: list[float]
    rows: int
    truncated_rows: int
    seconds: float
    resumed_at: int
    total_steps: int
    threads: int

    @property
    def tokens_per_second(self) -> float:
        """Median throughput over the steps, start-up and validation left out."""
        rates = sorted(record["tokens"] / max(record["seconds"], 1e-9) for record in self.history)
        return rates[len(rates) // 2] if rates else 0.0


def encode_rows(
    examples: Sequence[Example],
    config: TrainConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    longest: int | None,
    tokens: TokenCache | None = None,
) -> list[Encoded]:
    """Tokens of training examples: prompt, right answer, end-of-text; at most the model's ``longest`` sequence."""
    max_length = min(config.stage.max_length, longest or config.stage.max_length)

    def encode() -> list[Encoded]:
        encoder = Encoder(tokenizer, max_length=max_length)
        return encode_training_rows(encoder, examples, task=config.task, format_=config.format)

    return (tokens or TokenCache()).get(
        encode,
        tokenizer=tokenizer,
        task=config.task,
        format_=config.format,
        max_length=max_length,
        examples=examples,
    )


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainConfig,
    *,
    training: Sequence[Example],
    validation: Sequence[Example],
    work_dir: Path,
    loggers: Sequence[Any] = (),
    on_step: Callable[[int, int], None] = lambda done, total: None,
    tokens: TokenCache | None = None,
) -> TrainingOutcome:
    """Fine-tune ``model`` in place; goes on from ``work_dir``'s step checkpoint if there is one.

    ``tokens`` keeps encoded rows for the next call.
    """
    import lightning.pytorch as pl

    pl.seed_everything(config.seed, workers=True, verbose=False)
    started = time.perf_counter()
    length = context_length(model)
    rows = encode_rows(training, config, tokenizer, longest=length, tokens=tokens)
    held_out = encode_rows(validation, config, tokenizer, longest=length, tokens=tokens)
    if not rows:
        raise DataError(
            f"task={config.task.name}: no training row fits into stage.max_length={config.stage.max_length}"
        )
    pad_id = int(tokenizer.pad_token_id)
    state = load_state(work_dir / FILE_NAME)
    steps = EpochSteps(
        rows,
        batch_size=config.stage.batch_size,
        epochs=config.stage.epochs,
        seed=config.seed,
        pad_id=pad_id,
        micro_batch=config.trainer.micro_batch,
        start_step=state.step if state else 0,
    )
    size = 8 * config.stage.batch_size
    validation_steps = [
        make_step(held_out[start : start + size], pad_id=pad_id, micro_batch=config.stage.batch_size)
        for start in range(0, len(held_out), size)
    ]
    module = CausalLanguageModeling(
        model,
        stage=config.stage,
        optimizer=config.optimizer,
        total_steps=steps.total_steps,
        first_step=state.step if state else 0,
        regularization=build_regularization(config.regularizer, model),  # before the state: at the base weights
    )
    callbacks: list[pl.Callback] = [
        StepCheckpoint(work_dir, seconds=config.trainer.save_seconds, steps_per_epoch=steps.steps_per_epoch),
        ReportStep(on_step),
    ]
    if state is not None:
        model.load_state_dict(state.model)
        callbacks.insert(0, RestoreState(state))
    threads = choose_threads(config.trainer, model.num_parameters())
    model.train()
    try:
        with use_threads(threads):
            if state is None or state.step < steps.total_steps:
                fit(
                    module,
                    steps,
                    trainer=config.trainer,
                    precision=config.trainer.precision,
                    epochs=steps.epochs_left,
                    validation=validation_steps,
                    callbacks=callbacks,
                    loggers=loggers,
                )
    finally:
        model.eval()
    return TrainingOutcome(
        history=module.history,
        validation_losses=module.validation_losses,
        rows=len(rows),
        truncated_rows=sum(row.cut > 0 for row in rows),
        seconds=time.perf_counter() - started,
        resumed_at=state.step if state else 0,
        total_steps=steps.total_steps,
        threads=threads,
    )
