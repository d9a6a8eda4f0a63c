"""The Lightning module of every training stage: next-token prediction on supervised positions.

One Lightning batch is one optimizer step. Its loss is the sum over all supervised tokens of the step divided by
their number, whatever the micro-batches and processes: one row at a time with accumulation over eight gives the
gradients of eight rows at once (means of means would weight short answers more).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
import torchmetrics
from torch.distributed.tensor import DTensor

from pretune.config.science import Optimizer, Stage
from pretune.errors import TrainingDiverged
from pretune.modeling import has_plain_head, is_out_of_memory, too_large, vocabulary_size
from pretune.training.distributed import is_first_process, sum_gradients, sum_over_processes
from pretune.training.losses import count_right, sum_cross_entropy
from pretune.training.optimizers import build_optimizer
from pretune.training.regularizers import Regularization
from pretune.training.rounding import RoundedUpdates
from pretune.training.schedules import factor_at
from pretune.training.steps import MicroBatch, StepBatch, cut_micro_batch, row_count

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pretune.training.zero import ZeroEngine

log = logging.getLogger(__name__)

ONE_ROW = "lower stage.max_length, set trainer.activation_checkpointing=true, or use a device with more memory"
"""What helps where one row of a training is too much."""

FLUSH_STEPS = 10
"""Steps between transfers of logged values from the device: a transfer each step would wait for the device."""

EXPLODED = 10.0
"""A loss so many times that of a uniform guess (the logarithm of the vocabulary) has exploded."""

REMEMBERED = 20
"""Steps before a divergence whose losses and gradient norms its record holds."""


class CausalLanguageModeling(pl.LightningModule):
    """Trains ``model`` by the stage's schedule; ``first_step`` > 0 continues an interrupted training.

    ``history`` holds one record per optimizer step (step, loss, lr, gradient_norm, seconds, tokens, computed: positions
    with padding), and ``validation_losses`` one mean loss in nats per supervised token for each finished epoch.
    ``describe_step`` says what a step (from 0) learnt, for the record of a divergence.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        stage: Stage,
        optimizer: Optimizer,
        total_steps: int,
        first_step: int = 0,
        regularization: Regularization | None = None,
        rounding: str | None = None,
        describe_step: Callable[[int], dict[str, Any]] = lambda step: {},
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.plain_head = has_plain_head(model)
        self.sharding: float | None = None
        """Number of processes that each hold a part of the states, and average gradients by themselves."""
        self.zero: ZeroEngine | None = None
        """DeepSpeed's engine, where it holds the states."""
        self.stage = stage
        self.optimizer_config = optimizer
        self.rounding = rounding
        self.describe_step = describe_step
        self.regularization = regularization or Regularization()
        self.total_steps = total_steps
        self.step = first_step
        self.row_limit: int | None = None
        """Rows per forward pass since memory ran out with more; ``None``: it did not."""
        self.history: list[dict[str, float]] = []
        self.validation_losses: list[float] = []
        # Sums, over all processes: MeanMetric leaves NaN out by default, and without that strategy ignores its weights.
        names = ("loss", "right", "tokens")
        self.validation_sums: Any = torch.nn.ModuleDict({name: torchmetrics.SumMetric("disable") for name in names})
        self._pending: list[tuple[dict[str, float], torch.Tensor]] = []
        self._clock = time.perf_counter()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimizer; the schedule is applied in :meth:`training_step`."""
        if self.rounding is not None:
            return RoundedUpdates(self.optimizer_config, self.model.parameters(), rounding=self.rounding)
        optimizer = build_optimizer(self.optimizer_config, self.model.parameters())
        return self.zero.start(self.model, optimizer, self.device) if self.zero else optimizer

    def configure_model(self) -> None:
        """Nothing is left to do when Lightning asks: weights are cut by :func:`pretune.training.sharding.sharded`."""

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, dataloader_idx: int) -> StepBatch:
        """Move the tensors of a step."""
        moved = [
            {
                name: value.to(device, non_blocking=True) if torch.is_tensor(value) else value
                for name, value in m.items()
            }
            for m in batch.micro_batches
        ]
        replay = self.transfer_batch_to_device(batch.replay, device, dataloader_idx) if batch.replay else None
        return batch._replace(micro_batches=moved, replay=replay)

    def sum_loss(self, batch: MicroBatch) -> torch.Tensor:
        """Summed cross-entropy in nats over the supervised positions of a micro-batch (fp32)."""
        loss: torch.Tensor = self.measure(sum_cross_entropy, batch)
        return loss

    def measure(self, function: Callable[..., Any], batch: MicroBatch) -> Any:
        """What ``function`` measures of the model, by whatever holds its weights."""
        if self.zero is not None:
            return self.zero.measure(function, batch, plain_head=self.plain_head)
        return function(self.model, batch, plain_head=self.plain_head)

    def on_train_start(self) -> None:
        """Start the clock of tokens per second."""
        self._clock = time.perf_counter()

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One optimizer step: accumulate, regularise, clip, update."""
        optimizer: Any = self.optimizers()
        lr = self.optimizer_config.lr * factor_at(self.stage, self.step, self.total_steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        losses = self.accumulate_within_memory(batch)
        if self.regularization.ascend():
            torch.clear_autocast_cache()  # or the second pass would compute with the weights of the first
            optimizer.zero_grad(set_to_none=True)
            self.accumulate_within_memory(batch)
            self.regularization.descend()
        self.regularization.add_gradient()
        if self.zero is not None:
            optimizer.step()  # which clips, too
            norm = self.zero.gradient_norm()
        else:
            norm = self.clip_gradient_norm()
            optimizer.step()
        self.step += 1
        record = {
            "step": float(self.step),
            "lr": lr,
            "tokens": float(batch.positions),
        }
        computed = losses.new_tensor([float(batch.computed)])
        self._pending.append((record, torch.cat([losses, computed, norm.reshape(1).to(losses)])))
        if self.step % FLUSH_STEPS == 0 or self.step == self.total_steps:
            self.flush_history()

    def accumulate_within_memory(self, batch: StepBatch) -> torch.Tensor:
        """As :meth:`accumulate`, with half as many rows per forward pass as often as memory runs out, from now on.

        The sums over a step do not depend on that. Raises :class:`~pretune.errors.TooLargeForMemory` when a single
        row is too much.
        """
        while True:
            try:
                return self.accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if self.sharding or not is_out_of_memory(error):  # the others would wait for the passes left out
                    raise
                largest = self.pick_largest(batch)
                if row_count(largest) == 1:
                    raise too_large(largest["input_ids"].numel(), ONE_ROW) from error
            # outside of the except clause, where the traceback still holds the tensors of the failed pass
            self.row_limit = -(-row_count(largest) // 2)
            self.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            log.warning("out of memory: going on with %d rows per forward pass", self.row_limit)

    def pick_largest(self, batch: StepBatch) -> MicroBatch:
        """The micro-batch with the most rows that this process computes in a step."""
        parts = (part for part in (batch, batch.replay) if part)
        return max((piece for part in parts for piece in self.pieces(part)), key=row_count)

    def pieces(self, batch: StepBatch) -> Iterator[MicroBatch]:
        """The micro-batches of a step, cut to what fits into memory."""
        for micro_batch in batch.micro_batches:
            yield from cut_micro_batch(micro_batch, self.row_limit or row_count(micro_batch))

    def accumulate(self, batch: StepBatch) -> torch.Tensor:
        """Add the gradients of a step, summed over all processes; return the mean losses of rows and replayed text [2].

        Replayed text weighs ``replay_share`` of the loss, the task's rows the rest. What is returned is this process's
        part of the means.
        """
        share = self.regularization.replay_share if batch.replay else 0.0
        losses = torch.zeros(2, device=self.device)
        passes = [
            (index, weight, part.tokens, piece)
            for index, (part, weight) in enumerate(((batch, 1.0 - share), (batch.replay, share)))
            if part is not None
            for piece in self.pieces(part)
        ]
        for number, (index, weight, tokens, micro_batch) in enumerate(passes, start=1):
            loss = self.sum_loss(micro_batch) / tokens
            weighted = loss * (weight * (self.sharding or 1.0)) if share or self.sharding else loss
            if self.zero is not None:
                self.zero.backward(weighted, last=number == len(passes))
            else:
                self.manual_backward(weighted)
            losses[index] += loss.detach()
        if self.sharding is None:
            sum_gradients(self.model.parameters())
        return losses

    def clip_gradient_norm(self) -> torch.Tensor:
        """Clip the gradient's norm in place; return the norm before.

        Done here because Lightning refuses ``gradient_clip_val`` together with a fused optimizer under bf16-mixed.
        """
        limit = self.stage.clip_norm if self.stage.clip_norm > 0 else math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def flush_history(self) -> None:
        """Move logged values to the host, check that they are sound, and hand them to the loggers."""
        if not self._pending:
            return
        measured = torch.stack([values for _, values in self._pending])  # [steps, 4]
        measured[:, :3] = sum_over_processes(measured[:, :3])
        rows = measured.tolist()
        now = time.perf_counter()
        seconds = (now - self._clock) / len(self._pending)
        self._clock = now
        for (record, _), (loss, text_loss, computed, norm) in zip(self._pending, rows, strict=True):
            record |= {"loss": loss, "gradient_norm": norm, "seconds": seconds, "computed": computed}
            if self.regularization.replay_share:
                record["text_loss"] = text_loss
            self.check_soundness(record)
            self.history.append(record)
            values = {
                "train/loss": loss,
                "train/lr": record["lr"],
                "train/gradient_norm": norm,
                "train/tokens_per_second": record["tokens"] / max(seconds, 1e-9),
            }
            if "text_loss" in record:
                values["train/text_loss"] = text_loss
            self._log(int(record["step"]), values)
        self._pending.clear()
        self.report_lost_updates()

    def check_soundness(self, record: dict[str, float]) -> None:
        """Raise :class:`TrainingDiverged`, telling all about the step, for a loss that is not finite or exploded."""
        values = [record[name] for name in ("loss", "text_loss", "gradient_norm") if name in record]
        limit = EXPLODED * math.log(vocabulary_size(self.model))
        if all(map(math.isfinite, values)) and record["loss"] <= limit:
            return
        step, before = int(record["step"]), self.history[-REMEMBERED:]
        norms = ", ".join(f"{past['gradient_norm']:.3g}" for past in before[-5:])
        exploded = f"; exploded: above {limit:.0f}" if math.isfinite(record["loss"]) else ""
        raise TrainingDiverged(
            f"step {step} of {self.total_steps}: loss {record['loss']}, "
            f"gradient norm {record['gradient_norm']}{exploded} "
            f"(norms before: {norms or 'none'}; optimizer.lr={self.optimizer_config.lr:g})",
            details={
                "step": step,
                "total_steps": self.total_steps,
                "loss": str(record["loss"]),
                "gradient_norm": str(record["gradient_norm"]),
                "losses_before": [past["loss"] for past in before],
                "gradient_norms_before": [past["gradient_norm"] for past in before],
                **self.describe_step(step - 1),
            },
        )

    def report_lost_updates(self) -> None:
        """Log the share of updates that rounding swallowed since the last report, where that is measured."""
        optimizer = getattr(self.optimizers(), "optimizer", None) if self._trainer else None
        if isinstance(optimizer, RoundedUpdates) and (share := optimizer.take_lost_share()) is not None:
            self.history[-1]["lost_updates"] = share
            self._log(self.step, {"train/lost_updates": share})

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add one batch to the validation loss and to the share of tokens the model would have chosen itself."""
        # every process takes part in every pass over cut weights
        waiting = [m for m in self.pieces(batch) if m["targets"].numel() or self.sharding]
        while waiting:
            micro_batch, measured = waiting.pop(0), None
            tokens, rows = micro_batch["targets"].numel(), row_count(micro_batch)
            try:
                measured = self.measure(count_right, micro_batch)
            except (RuntimeError, MemoryError) as error:
                if self.sharding or not is_out_of_memory(error):
                    raise
                if rows == 1:
                    raise too_large(micro_batch["input_ids"].numel(), ONE_ROW) from error
            if measured is None:
                log.warning("out of memory with %d rows in validation: going on with half as many", rows)
                waiting[:0] = cut_micro_batch(micro_batch, -(-rows // 2))
            else:
                loss, right = measured
                for name, value in (("loss", loss), ("right", right), ("tokens", float(tokens))):
                    self.validation_sums[name].update(value)

    def on_validation_epoch_end(self) -> None:
        """Record the validation loss of the epoch, over all processes."""
        sums = {name: float(metric.compute()) for name, metric in self.validation_sums.items()}
        for metric in self.validation_sums.values():
            metric.reset()
        loss, accuracy = (sums[name] / max(sums["tokens"], 1.0) for name in ("loss", "right"))
        self.flush_history()
        self._clock = time.perf_counter()
        if not math.isfinite(loss):
            raise TrainingDiverged(f"step {self.step} of {self.total_steps}: validation loss {loss}")
        self.validation_losses.append(loss)
        perplexity = math.exp(min(loss, 700.0))
        values = {"loss": loss, "perplexity": perplexity, "token_accuracy": accuracy}
        self._log(self.step, {f"validation/{name}": value for name, value in values.items()})

    def _log(self, step: int, values: dict[str, float]) -> None:
        if is_first_process():
            for logger in self.loggers if self._trainer else ():
                logger.log_metrics({**values, "trainer/step": step}, step=step)
