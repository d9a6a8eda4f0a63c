"""``stage=sft`` and ``stage=instruct``: fine-tune a model on the completions of a task's prompts."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config.running import SHARDED, TrainConfig
from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Example
from pretune.data.token_cache import TokenCache
from pretune.data.training_rows import encode_training_rows
from pretune.errors import DataError, UsageError
from pretune.modeling import context_length
from pretune.training.adapters import adapted
from pretune.training.distributed import process_part, smallest
from pretune.training.fitting import (
    choose_device,
    choose_threads,
    compiled_blocks,
    computing_in,
    fit,
    recomputing_activations,
    use_threads,
    weights_in_bf16,
)
from pretune.training.memory import choose_micro_batch
from pretune.training.module import CausalLanguageModeling
from pretune.training.packing import attending_to_packed_rows, can_pack
from pretune.training.regularizers import build_regularization
from pretune.training.resume import FILE_NAME, ReportStep, RestoreState, StepCheckpoint, load_state
from pretune.training.sharding import sharded
from pretune.training.steps import EpochSteps, make_step
from pretune.training.text import ReplayedText, cut_windows, estimate_fisher
from pretune.training.utilisation import flops_per_token, median_rate, padding_share, peak_flops

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
    micro_batch: int
    """Rows per forward pass, at the end: fewer than planned where memory ran out."""
    micro_batch_planned: int
    packed: bool
    trained_parameters: int
    batch_size: int
    flops_per_token: float
    peak_flops: float | None

    @property
    def tokens_per_second(self) -> float:
        """Median throughput over the steps, start-up and validation left out, padding not counted."""
        return median_rate(self.history, "tokens")

    def describe_speed(self) -> dict[str, Any]:
        """Throughput, padding and utilisation, as they stand in a run's record.

        ``mfu``: share of the accelerator's peak in bf16 that useful operations take; only where the peak is known.
        """
        per_step = self.rows / max(1, -(-self.rows // self.batch_size))
        steps = median_rate([{**record, "one": 1.0} for record in self.history], "one")
        speed: dict[str, Any] = {
            "tokens_per_second": round(self.tokens_per_second, 1),
            "examples_per_second": round(per_step * steps, 3),
            "padding_share": round(padding_share(self.history), 4),
            "micro_batch": self.micro_batch,
            "packed": self.packed,
        }
        if self.micro_batch < self.micro_batch_planned:
            speed["micro_batch_planned"] = self.micro_batch_planned
        if self.peak_flops is not None:
            speed["mfu"] = round(self.tokens_per_second * self.flops_per_token / self.peak_flops, 4)
        return speed


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
    text: Sequence[str] = (),
    loggers: Sequence[Any] = (),
    on_step: Callable[[int, int], None] = lambda done, total: None,
    tokens: TokenCache | None = None,
) -> TrainingOutcome:
    """Fine-tune ``model`` in place; goes on from ``work_dir``'s step checkpoint if there is one.

    ``text``: documents of pre-training text for regularizers that read them. ``tokens`` keeps encoded rows for the
    next call.
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
    threads = choose_threads(config.trainer, model.num_parameters())
    with use_threads(threads), adapted(model, config.regularizer), weights_in_bf16(model, config.trainer.precision):
        names = [example.id for example in training] if len(rows) == len(training) else None
        model.train()
        try:
            with recomputing_activations(model, config.trainer):
                run = _Run(model, tokenizer, config, rows=rows, held_out=held_out, work_dir=work_dir, text=text)
                with compiled_blocks(model, config.trainer):
                    run.fit(loggers, on_step, names)
        finally:
            model.eval()
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    lengths = [len(row.ids) for row in rows]
    return TrainingOutcome(
        history=run.module.history,
        validation_losses=run.module.validation_losses,
        rows=len(rows),
        truncated_rows=sum(row.cut > 0 for row in rows),
        seconds=time.perf_counter() - started,
        resumed_at=run.first_step,
        total_steps=run.steps.total_steps,
        threads=threads,
        micro_batch=min(run.steps.micro_batch, run.module.row_limit or run.steps.micro_batch),
        micro_batch_planned=run.steps.micro_batch,
        packed=run.steps.packed,
        trained_parameters=trained,
        batch_size=config.stage.batch_size,
        flops_per_token=flops_per_token(
            model,
            length=sum(n * n for n in lengths) / sum(lengths),
            supervised=sum(len(row.supervised()) for row in rows) / sum(lengths),
        ),
        peak_flops=peak_flops(choose_device(config.trainer.accelerator), devices=process_part()[1]),
    )


class _Run:
    """A fine-tuning put together: its module, its steps and, when it was interrupted, the state to go on from."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: TrainConfig,
        *,
        rows: Sequence[Encoded],
        held_out: Sequence[Encoded],
        work_dir: Path,
        text: Sequence[str],
    ) -> None:
        self.config, self.work_dir = config, work_dir
        self.state = load_state(work_dir / FILE_NAME)
        self.first_step = self.state.step if self.state else 0
        stage, trainer = config.stage, config.trainer
        pad_id = int(tokenizer.pad_token_id)
        regularizer = config.regularizer
        windows = cut_windows(text, tokenizer, length=self._window_length(model)) if text else []
        fisher = None
        if regularizer.name == "ewc":
            chosen = random.Random(config.seed).sample(windows, min(regularizer.windows, len(windows)))
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            fisher = estimate_fisher(model, chosen, trained, seed=config.seed)
        replay = None
        if regularizer.name == "replay":
            replay = ReplayedText(windows, batch_size=stage.batch_size, share=regularizer.strength, seed=config.seed)
        total = -(-len(rows) // stage.batch_size) * stage.epochs
        self.module = CausalLanguageModeling(
            model,
            stage=stage,
            optimizer=config.optimizer,
            total_steps=total,
            first_step=self.first_step,
            # before the state is loaded: penalties pull to the base weights
            regularization=build_regularization(regularizer, model, fisher=fisher),
            rounding=trainer.rounding if trainer.precision == "bf16-true" else None,
        )
        self.sharded = trainer.strategy in SHARDED
        self.packed = self._choose_packing(model)
        micro_batch = self._choose_micro_batch(rows, pad_id)
        self.steps = EpochSteps(
            rows,
            batch_size=stage.batch_size,
            epochs=stage.epochs,
            seed=config.seed,
            pad_id=pad_id,
            micro_batch=micro_batch,
            start_step=self.first_step,
            packed=self.packed,
            part=process_part(),
            even=self.sharded,
            replay=replay,
        )
        size = 8 * stage.batch_size
        self.validation = [
            make_step(
                held_out[start : start + size],
                pad_id=pad_id,
                micro_batch=stage.batch_size,
                packed=self.packed,
                part=process_part(),
                even=self.sharded,
            )
            for start in range(0, len(held_out), size)
        ]

    def _window_length(self, model: PreTrainedModel) -> int:
        return min(self.config.regularizer.window_length, context_length(model) or self.config.stage.max_length)

    def _choose_packing(self, model: PreTrainedModel) -> bool:
        trainer = self.config.trainer
        if self.state is not None and self.state.packed is not None:
            return self.state.packed
        if trainer.batching == "padded" or (trainer.batching == "auto" and trainer.compile):
            return False  # packed rows of ever other lengths would be compiled again and again
        possible = can_pack(model)
        if trainer.batching == "packed" and not possible:
            raise UsageError(
                f"trainer.batching=packed: {type(model).__name__} does not compute the same with packed rows; "
                "valid here: auto, padded"
            )
        return possible

    def _choose_micro_batch(self, rows: Sequence[Encoded], pad_id: int) -> int:
        chosen = self.config.trainer.micro_batch or (self.state.micro_batch if self.state else None)
        if chosen is not None:
            return chosen
        processes = process_part()[1]
        with self._attention(), computing_in(self.config.trainer.precision, self.module):
            found = choose_micro_batch(
                self.module,
                rows,
                batch_size=-(-self.config.stage.batch_size // processes),
                pad_id=pad_id,
                packed=self.packed,
                shards=processes if self.sharded else 1,
            )
        return smallest(found)

    def _attention(self) -> contextlib.AbstractContextManager[None]:
        return attending_to_packed_rows(self.module.model) if self.packed else contextlib.nullcontext()

    def fit(self, loggers: Sequence[Any], on_step: Callable[[int, int], None], names: Sequence[str] | None) -> None:
        """Train what is left; ``names`` are the ids of the rows, for the record of a divergence."""
        import lightning.pytorch as pl

        trainer = self.config.trainer

        def describe_step(step: int) -> dict[str, Any]:
            numbers = self.steps.rows_of(step)
            return {"batch": [names[number] if names else number for number in numbers]}

        self.module.describe_step = describe_step
        callbacks: list[pl.Callback] = [
            StepCheckpoint(
                self.work_dir,
                seconds=trainer.save_seconds,
                steps_per_epoch=self.steps.steps_per_epoch,
                at_the_end=True,
                gigabytes=trainer.save_gigabytes,
                micro_batch=self.steps.micro_batch,
                packed=self.packed,
            ),
            ReportStep(on_step),
        ]
        if self.state is not None:
            strict = len(self.state.model) >= sum(1 for _ in self.module.model.parameters())
            self.module.model.load_state_dict(self.state.model, strict=strict)
            callbacks.insert(0, RestoreState(self.state))
        if self.first_step >= self.steps.total_steps:
            assert self.state is not None
            self.module.history, self.module.validation_losses = self.state.history, self.state.validation_losses
            return
        with sharded(self.module, trainer) if self.sharded else contextlib.nullcontext(), self._attention():
            fit(
                self.module,
                self.steps,
                trainer=trainer,
                precision=trainer.precision,
                epochs=self.steps.epochs_left,
                validation=self.validation,
                callbacks=callbacks,
                loggers=loggers,
            )
