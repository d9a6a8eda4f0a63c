"""The Lightning module of every training stage: next-token prediction on supervised positions.

One Lightning batch is one optimizer step. Its loss is the sum over all supervised tokens of the step divided by
their number, whatever the micro-batches: one row at a time with accumulation over eight gives the gradients of
eight rows at once (means of means would weight short answers more).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
import torchmetrics

from pretune.config.science import Optimizer, Stage
from pretune.errors import TrainingDiverged
from pretune.modeling import has_plain_head, logits_at
from pretune.training.optimizers import build_optimizer
from pretune.training.regularizers import Regularization
from pretune.training.schedules import factor_at
from pretune.training.steps import MicroBatch, StepBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLUSH_STEPS = 10
"""Steps between transfers of logged values from the device: a transfer each step would wait for the device."""


class CausalLanguageModeling(pl.LightningModule):
    """Trains ``model`` by the stage's schedule; ``first_step`` > 0 continues an interrupted training.

    ``history`` holds one record per optimizer step (step, loss, lr, gradient_norm, seconds, tokens), and
    ``validation_losses`` one mean loss in nats per supervised token for each finished epoch.
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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.plain_head = has_plain_head(model)
        self.stage = stage
        self.optimizer_config = optimizer
        self.regularization = regularization or Regularization()
        self.total_steps = total_steps
        self.step = first_step
        self.history: list[dict[str, float]] = []
        self.validation_losses: list[float] = []
        self.validation_mean = torchmetrics.MeanMetric(nan_strategy="disable")  # the default leaves NaN out
        self._pending: list[tuple[int, torch.Tensor, torch.Tensor, float, int]] = []
        self._clock = time.perf_counter()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimizer; the schedule is applied in :meth:`training_step`."""
        return build_optimizer(self.optimizer_config, self.model.parameters())

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, dataloader_idx: int) -> StepBatch:
        """Move the tensors of a step."""
        moved = [{name: value.to(device, non_blocking=True) for name, value in m.items()} for m in batch.micro_batches]
        return StepBatch(micro_batches=moved, tokens=batch.tokens, positions=batch.positions)

    def sum_loss(self, batch: MicroBatch) -> torch.Tensor:
        """Summed cross-entropy in nats over the supervised positions of a micro-batch (fp32)."""
        logits = logits_at(
            self.model,
            batch["input_ids"],
            batch["attention_mask"],
            batch["rows"],
            batch["columns"],
            plain_head=self.plain_head,
        )
        return torch.nn.functional.cross_entropy(logits.float(), batch["targets"], reduction="sum")

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
        total = torch.zeros((), device=self.device)
        for micro_batch in batch.micro_batches:
            loss = self.sum_loss(micro_batch) / batch.tokens
            self.manual_backward(loss)
            total += loss.detach()
        self.regularization.add_gradient()
        norm = self.clip_gradient_norm()
        optimizer.step()
        self.step += 1
        self._pending.append((self.step, total, norm, lr, batch.positions))
        if self.step % FLUSH_STEPS == 0 or self.step == self.total_steps:
            self.flush_history()

    def clip_gradient_norm(self) -> torch.Tensor:
        """Clip the gradient's norm in place; return the norm before.

        Done here because Lightning refuses ``gradient_clip_val`` together with a fused optimizer under bf16-mixed.
        """
        limit = self.stage.clip_norm if self.stage.clip_norm > 0 else math.inf
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)

    def flush_history(self) -> None:
        """Move logged values to the host, check that they are finite, and hand them to the loggers."""
        if not self._pending:
            return
        now = time.perf_counter()
        seconds = (now - self._clock) / len(self._pending)
        self._clock = now
        for step, loss, norm, lr, positions in self._pending:
            record = {
                "step": float(step),
                "loss": float(loss),
                "lr": lr,
                "gradient_norm": float(norm),
                "seconds": seconds,
                "tokens": float(positions),
            }
            if not (math.isfinite(record["loss"]) and math.isfinite(record["gradient_norm"])):
                recent = [f"{past['gradient_norm']:.3g}" for past in self.history[-5:]]
                raise TrainingDiverged(
                    f"step {step} of {self.total_steps}: loss {record['loss']}, "
                    f"gradient norm {record['gradient_norm']} "
                    f"(norms before: {', '.join(recent) or 'none'}; optimizer.lr={self.optimizer_config.lr:g})"
                )
            self.history.append(record)
            self._log(
                step,
                {
                    "train/loss": record["loss"],
                    "train/lr": lr,
                    "train/gradient_norm": record["gradient_norm"],
                    "train/tokens_per_second": positions / max(seconds, 1e-9),
                },
            )
        self._pending.clear()

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add one batch to the validation loss."""
        for micro_batch in batch.micro_batches:
            tokens = micro_batch["targets"].numel()
            if tokens:
                self.validation_mean.update(self.sum_loss(micro_batch) / tokens, weight=tokens)

    def on_validation_epoch_end(self) -> None:
        """Record the validation loss of the epoch."""
        loss = float(self.validation_mean.compute())
        self.validation_mean.reset()
        self.flush_history()
        self._clock = time.perf_counter()
        if not math.isfinite(loss):
            raise TrainingDiverged(f"step {self.step} of {self.total_steps}: validation loss {loss}")
        self.validation_losses.append(loss)
        self._log(self.step, {"validation/loss": loss})

    def _log(self, step: int, values: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics({**values, "trainer/step": step}, step=step)
