"""Fine-tuning throughput against TRL's SFTTrainer: the same rows, tokens, batches, weights and arithmetic.

    python benchmarks/train_vs_trl.py --model DIR --data DIR --task mnli

``--model``: a folder with weights and tokenizer; ``--data``: a folder with the task's Parquet files
(``train.parquet``, in a sub-folder named like the task's configuration if it has one). Both sides train in fp32 on the
same optimizer batches in the same order at a constant learning rate; TRL once with its defaults (activation
checkpointing) and once with its fastest settings (without). The runs alternate; the first steps are left out.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import compose, describe_place, finetune_aside, load_rows, spread

SKIPPED = 3
"""Steps at the start of every run that are not timed."""


class Clock:
    """Times at which optimizer steps ended; for the first and the last that count, the device has finished them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.times: list[float] = []

    def note(self, *_: Any) -> None:
        """A step has ended."""
        import torch

        if torch.cuda.is_available() and len(self.times) + 1 in (SKIPPED, self.steps):
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        """Seconds of the timed steps."""
        return self.times[-1] - self.times[SKIPPED - 1]


def run_pretune(
    model: Any, tokenizer: Any, config: Any, examples: list[Any], *, tokens: Any = None
) -> tuple[list[float], float]:
    """Losses of all steps, and seconds of the timed ones; ``tokens``: a cache that may hold the rows encoded."""
    clock = Clock(-(-len(examples) // config.stage.batch_size))
    outcome = finetune_aside(model, tokenizer, config, examples, clock.note, tokens=tokens)
    return [record["loss"] for record in outcome.history], clock.seconds()


def run_trl(
    model: Any,
    tokenizer: Any,
    config: Any,
    rows: list[Any],
    threads: int,
    *,
    checkpointing: bool,
    log_each: bool = True,
) -> tuple[list[float], float]:
    """The same from TRL, on rows that are tokenised and ordered already.

    Without ``log_each`` the only loss is the mean of all steps: to read one off a GPU holds a step up.
    """
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = Clock(-(-len(rows) // config.stage.batch_size))

    class Note(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.note()

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    columns = {
        "input_ids": [list(row.ids) for row in rows],
        "completion_mask": [[int(position >= row.context) for position in range(len(row.ids))] for row in rows],
    }
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=config.stage.batch_size,
            num_train_epochs=1,
            learning_rate=config.optimizer.lr,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            adam_beta2=config.optimizer.betas[1],
            max_grad_norm=config.stage.clip_norm,
            max_length=config.stage.max_length,
            gradient_checkpointing=checkpointing,
            completion_only_loss=True,
            bf16=config.trainer.precision == "bf16-mixed",
            use_cpu=config.trainer.accelerator == "cpu" or not torch.cuda.is_available(),
            logging_steps=1 if log_each else -(-len(rows) // config.stage.batch_size),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = InOrder(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            processing_class=tokenizer,
            callbacks=[Note()],
        )
        trainer.train()
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return losses, clock.seconds()


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="mnli")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-4)
    arguments = parser.parse_args()

    from pretune.checkpoints.loading import load_model, load_tokenizer
    from pretune.modeling import context_length
    from pretune.training.finetune import encode_rows
    from pretune.training.steps import EpochSteps

    config = compose(
        f"task={arguments.task}",
        "task.source=path",
        f"task.path={arguments.data}",
        f"task.train_rows={8 * arguments.steps}",
        "checkpoint=path",
        f"checkpoint.path={arguments.model}",
        "trainer=fp32",
        f"trainer.threads={arguments.threads}",
        "stage.epochs=1",
        "stage.schedule=constant",
        "stage.warmup_ratio=0",
        f"optimizer.lr={arguments.lr}",
    )
    base, tokenizer = load_model(Path(arguments.model)), load_tokenizer(Path(arguments.model))
    examples = load_rows(config)
    rows = encode_rows(examples, config, tokenizer, longest=context_length(base))
    batches = EpochSteps(rows, batch_size=8, epochs=1, seed=config.seed, pad_id=0, micro_batch=None)
    ordered = [rows[index] for index in batches.order(0)]
    sides = {
        "pretune": lambda model: run_pretune(model, tokenizer, config, examples),
        "TRL, defaults": lambda model: run_trl(
            model, tokenizer, config, ordered, arguments.threads, checkpointing=True
        ),
        "TRL, best": lambda model: run_trl(model, tokenizer, config, ordered, arguments.threads, checkpointing=False),
    }
    losses: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.repeats):
        for name, run in sides.items():
            losses[name], seconds = run(copy.deepcopy(base))
            rates[name].append(8 * (batches.total_steps - SKIPPED) / seconds)
    lengths = [len(row.ids) for row in rows]
    print(f"\n{arguments.task}: {len(rows)} rows of {statistics.mean(lengths):.0f} tokens on average, batches of 8")
    print(describe_place(arguments.threads))
    print("\n| | examples/s | pretune is faster by | loss of the last step | largest difference of any step |")
    print("|---|---|---|---|---|")
    for name in sides:
        ratios = [ours / theirs for ours, theirs in zip(rates["pretune"], rates[name], strict=True)]
        apart = max(abs(a - b) for a, b in zip(losses["pretune"], losses[name], strict=True))
        print(f"| {name} | {spread(rates[name], 1)} | {spread(ratios)} | {losses[name][-1]:.5f} | {apart:.1e} |")


if __name__ == "__main__":
    main()
