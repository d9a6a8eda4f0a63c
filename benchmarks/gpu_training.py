"""Fine-tuning throughput, utilisation and memory on a GPU: padded, padding-free, compiled, and TRL's SFTTrainer.

    python benchmarks/gpu_training.py
    python benchmarks/gpu_training.py --device cpu --small

A model of OLMo-1B's shape with random weights, fp32 master weights under bf16 autocast, on made-up rows: *short*, of
lengths like MNLI's (drawn uniformly from 40 to 120 tokens, the last two learnt), and *long*, of 2,048 tokens (the last
48 learnt). Nothing is downloaded. All sides train on the same rows in the same optimizer batches of eight; they
alternate, and the first steps of each run, in which most of the compilation happens, are left out. Memory is the peak
above what was held before the model was copied for the run. ``--small`` is for trying the script: a tiny model and few
rows, whose numbers say nothing.
"""

from __future__ import annotations

import argparse
import copy
import functools
import gc
import importlib.util
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import compose, describe_place, peak_memory, spread
from train_vs_trl import SKIPPED, run_pretune, run_trl

from pretune.data.encoding import Encoded
from pretune.data.examples import Example
from pretune.data.token_cache import TokenCache

BATCH = 8
SIDES = {
    "padded": ("trainer.batching=padded",),
    "padding-free": ("trainer.batching=packed",),
    "padding-free, compiled": ("trainer.batching=packed", "trainer.compile=true"),
}
"""Ways to train here, with their settings; the first one is what the others are compared with."""

OLMO_1B = {"hidden_size": 2048, "intermediate_size": 8192, "layers": 16, "heads": 16, "context_length": 2048}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "layers": 1, "heads": 2, "context_length": 128}


class ReadyRows(TokenCache):
    """Rows that are tokens already, in place of those that ``finetune`` would encode."""

    def __init__(self, rows: list[Encoded]) -> None:
        super().__init__()
        self.rows = rows

    def get(self, encode: Callable[[], list[Encoded]], **how: Any) -> list[Encoded]:
        """The rows where there are examples; none for validation."""
        return self.rows if how["examples"] else []


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one training took: useful tokens (padding not counted) a second, MiB at the peak, the last loss."""

    tokens_per_second: float
    memory: float
    loss: float


def make_rows(kind: str, count: int, *, context: int, vocabulary: int) -> list[Encoded]:
    """Made-up rows whose lengths are like MNLI's (``short``), or all the longest possible (``long``)."""
    chance = random.Random(kind)
    rows = []
    for _ in range(count):
        length = chance.randint(40, 120) if kind == "short" else context
        ids = tuple(chance.randrange(3, vocabulary) for _ in range(length))  # 0 to 2: special tokens
        rows.append(Encoded(ids=ids, context=length - (2 if kind == "short" else 48)))
    return rows


def make_model(shape: dict[str, int], vocabulary: int) -> tuple[Any, Any]:
    """A model with random weights, and a tokenizer whose special tokens it shares."""
    from pretune.config.science import Model
    from pretune.pico.tokenizer import build_tokenizer
    from pretune.training.pretrain import build_model

    tokenizer = build_tokenizer()
    config = Model(name="random", architecture="olmo", init_std=0.02, tie_embeddings=True, **shape)
    model = build_model(config, tokenizer, seed=0)
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    return model, tokenizer


def measure(train: Callable[[], tuple[list[float], float]], tokens: float, device: str) -> Run:
    """One training of a side, alone in memory; ``tokens``: those of its timed steps."""
    import torch

    found: list[tuple[list[float], float]] = []
    memory = peak_memory(lambda: found.append(train()), device)
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    ((losses, seconds),) = found
    return Run(tokens_per_second=tokens / seconds, memory=memory, loss=statistics.fmean(losses))


def compare(kind: str, model: Any, tokenizer: Any, configs: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Measure all sides on rows of one kind; print a table."""
    from pretune.training.steps import EpochSteps
    from pretune.training.utilisation import flops_per_token, peak_flops

    config = next(iter(configs.values()))
    vocabulary = model.get_input_embeddings().weight.shape[0]
    context = model.config.max_position_embeddings
    rows = make_rows(kind, BATCH * arguments.steps, context=context, vocabulary=vocabulary)
    examples = [Example(id=str(number), target="") for number in range(len(rows))]
    steps = EpochSteps(rows, batch_size=BATCH, epochs=1, seed=config.seed, pad_id=0, micro_batch=None)
    ordered = [rows[number] for number in steps.order(0)]
    tokens = sum(len(row.ids) for row in ordered[BATCH * SKIPPED :])

    def ours(config: Any) -> tuple[list[float], float]:
        return run_pretune(copy.deepcopy(model), tokenizer, config, examples, tokens=ReadyRows(rows))

    def theirs(checkpointing: bool) -> tuple[list[float], float]:
        return run_trl(
            copy.deepcopy(model), tokenizer, config, ordered, arguments.threads,
            checkpointing=checkpointing, log_each=arguments.device == "cpu",
        )  # fmt: skip

    sides: dict[str, Callable[[], tuple[list[float], float]]] = {
        name: functools.partial(ours, chosen) for name, chosen in configs.items()
    }
    if importlib.util.find_spec("trl"):
        sides |= {
            "TRL, defaults": functools.partial(theirs, True),
            "TRL, without checkpointing": functools.partial(theirs, False),
        }
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for _ in range(arguments.repeats):
        for name, train in sides.items():
            runs[name].append(measure(train, tokens, arguments.device))

    import torch

    lengths = [len(row.ids) for row in rows]
    useful = flops_per_token(
        model,
        length=sum(n * n for n in lengths) / sum(lengths),
        supervised=sum(len(row.supervised()) for row in rows) / sum(lengths),
    )
    peak = peak_flops(torch.device(arguments.device))
    first = next(iter(runs))
    print(f"\n{kind} rows: {len(rows)} of {sum(lengths) / len(lengths):.0f} tokens on average, batches of {BATCH}\n")
    print(f"| | tokens/s | times {first} | MFU, % | peak memory, MiB | mean loss |")
    print("|---|---|---|---|---|---|")
    for name, done in runs.items():
        rates = [run.tokens_per_second for run in done]
        ratios = [run.tokens_per_second / base.tokens_per_second for run, base in zip(done, runs[first], strict=True)]
        mfu = spread([100 * rate * useful / peak for rate in rates], 1) if peak else "peak unknown"
        memory = spread([run.memory for run in done], 0)
        print(f"| {name} | {spread(rates, 0)} | {spread(ratios)} | {mfu} | {memory} | {done[-1].loss:.4f} |")


def main() -> None:
    """Measure and print a table for each kind of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny model, six steps, once: to see that all of it runs")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro-batch", type=int, default=BATCH, help="rows of a forward pass here; TRL's are eight")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES, help="ways to train here")
    arguments = parser.parse_args()
    arguments.steps = arguments.steps or (SKIPPED + 3 if arguments.small else 40)
    arguments.repeats = arguments.repeats or (1 if arguments.small else 3)

    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device; --device cpu --small tries the script without one")
    if arguments.steps <= SKIPPED:
        parser.error(f"--steps {arguments.steps}: the first {SKIPPED} steps are not timed")
    shared = (
        "checkpoint=olmo1b",
        "task=mnli",
        "stage.epochs=1",
        "stage.schedule=constant",
        "stage.warmup_ratio=0",
        f"stage.batch_size={BATCH}",
        "optimizer.lr=1e-5",
        f"trainer.accelerator={'gpu' if arguments.device == 'cuda' else 'cpu'}",
        f"trainer.micro_batch={arguments.micro_batch}",
        f"trainer.threads={arguments.threads}",
        "trainer.save_seconds=1e9",
    )
    configs = {name: compose(*shared, *SIDES[name]) for name in arguments.sides}
    shape, vocabulary = (SMALL, 512) if arguments.small else (OLMO_1B, 50304)
    model, tokenizer = make_model(shape, vocabulary)
    print(f"{model.num_parameters() / 1e6:.1f} M parameters, bf16 autocast, {arguments.repeats} alternating runs")
    print(describe_place(arguments.threads, arguments.device))
    for kind in ("short", "long"):
        compare(kind, model, tokenizer, configs, arguments)


if __name__ == "__main__":
    main()
