"""What Lightning, step checkpoints and logging cost over a bare training loop with the same arithmetic.

    python benchmarks/lightning_overhead.py --model DIR --data DIR --task mnli

Both sides train on the same tensors: the bare loop calls the same loss, clipping and fused AdamW and nothing else. The
runs alternate. The model and rows should make a step last about 50 ms.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

from common import compose, describe_place, finetune_aside, load_rows, spread

SKIPPED = 3
"""Steps at the start of every run that are not timed."""


def run_bare(model: Any, rows: list[Any], config: Any, threads: int) -> float:
    """Median seconds of a step of the bare loop."""
    import torch

    from pretune.training.losses import sum_cross_entropy
    from pretune.training.packing import attending_to_packed_rows
    from pretune.training.steps import EpochSteps

    torch.set_num_threads(threads)
    steps = EpochSteps(rows, batch_size=8, epochs=1, seed=config.seed, pad_id=0, micro_batch=8, packed=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimizer.lr, weight_decay=0.0, fused=True)
    model.train()
    times = [time.perf_counter()]
    with attending_to_packed_rows(model):
        for step in steps:
            optimizer.zero_grad(set_to_none=True)
            (sum_cross_entropy(model, step.micro_batches[0], plain_head=True) / step.tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.stage.clip_norm)
            optimizer.step()
            times.append(time.perf_counter())
    return statistics.median(b - a for a, b in zip(times[SKIPPED:], times[SKIPPED + 1 :], strict=False))


def run_pretune(model: Any, tokenizer: Any, examples: list[Any], config: Any) -> float:
    """Median seconds of a step of a fine-tuning."""
    times: list[float] = []
    finetune_aside(model, tokenizer, config, examples, lambda done, total: times.append(time.perf_counter()))
    return statistics.median(b - a for a, b in zip(times[SKIPPED:], times[SKIPPED + 1 :], strict=False))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", default="mnli")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    from pretune.checkpoints.loading import load_model, load_tokenizer
    from pretune.modeling import context_length
    from pretune.training.finetune import encode_rows

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
    )
    base, tokenizer = load_model(Path(arguments.model)), load_tokenizer(Path(arguments.model))
    examples = load_rows(config)
    rows = encode_rows(examples, config, tokenizer, longest=context_length(base))
    bare, ours = [], []
    for _ in range(arguments.repeats):
        bare.append(1000 * run_bare(copy.deepcopy(base), rows, config, arguments.threads))
        ours.append(1000 * run_pretune(copy.deepcopy(base), tokenizer, examples, config))
    overhead = [100 * (b / a - 1) for a, b in zip(bare, ours, strict=True)]
    print(describe_place(arguments.threads))
    print(f"bare loop {spread(bare, 1)} ms a step, fine-tuning {spread(ours, 1)} ms: overhead {spread(overhead, 1)} %")


if __name__ == "__main__":
    main()
