"""What the evaluation benchmarks work on: weights, rows in the columns of a data set, and how a run is described."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pretune.config.schema import freeze
from pretune.config.science import Format, Task
from pretune.data.examples import Example
from pretune.data.sources import load_split

ROOT = Path(__file__).resolve().parents[1]
TEXT = """
the a one some every small old quiet green heavy bright river garden house bird stone letter market winter morning
teacher child driver nurse painter window table basket bridge forest road song story answer question carried found
opened watched followed painted repaired forgot counted remembered near under behind across during after before slowly
quickly often never today again because although while when and but with without
"""


def add_arguments(parser: argparse.ArgumentParser, *, rows: int) -> None:
    """Arguments that all evaluation benchmarks have."""
    parser.add_argument("--weights", help="folder of a model with its tokenizer")
    parser.add_argument("--repo", help="or a repository of the Hub, owner/name or owner/name@revision")
    parser.add_argument("--data", help="folder of the data set's rows (<split>.parquet or .jsonl); none: made-up text")
    parser.add_argument("--rows", type=int, default=rows, help="evaluated rows")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of both sides")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="device of both sides")


def find_weights(arguments: argparse.Namespace) -> Path:
    """The folder of the weights, downloaded where a repository is named."""
    if arguments.weights:
        return Path(arguments.weights).expanduser().resolve()
    if not arguments.repo:
        sys.exit("give --weights FOLDER or --repo OWNER/NAME")
    from huggingface_hub import snapshot_download

    repo, _, revision = arguments.repo.partition("@")
    return Path(snapshot_download(repo, revision=revision or None))


def load_weights(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Model (fp32) and tokenizer, on the device, with the number of threads that both sides get."""
    import torch

    from pretune.checkpoints.loading import load_model, load_tokenizer

    torch.set_num_threads(arguments.threads)
    folder = find_weights(arguments)
    return load_model(folder).to(arguments.device), load_tokenizer(folder)


def read_format() -> Format:
    """The default format."""
    return freeze(Format, OmegaConf.load(ROOT / "conf/format/default.yaml"))


def read_task(name: str, data: str | None) -> Task:
    """A task of ``conf/task`` whose rows lie in ``data``, or are made up where that is not given."""
    plain: Any = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/task/{name}.yaml"))
    folder = make_rows(name) if data is None else Path(data).expanduser().resolve()
    return freeze(Task, OmegaConf.create({**plain, "source": "path", "path": str(folder)}))


def draw_rows(task: Task, split: str, count: int, *, seed: int = 0, words: int | None = None) -> list[Example]:
    """``count`` examples of a split, drawn by seed; with ``words`` only from texts of at most so many words."""
    examples = [
        example
        for example in load_split(task, split).examples
        if words is None or sum(len(text.split()) for text in example.fields.values()) <= words
    ]
    if len(examples) < count:
        sys.exit(f"{task.name}/{split}: {len(examples)} usable rows, {count} asked for")
    return random.Random(seed).sample(examples, count)


def make_rows(name: str) -> Path:
    """A folder with made-up rows of ``name``, as long as those of the real data set."""
    rng = random.Random(0)

    def sentence(least: int, most: int) -> str:
        return " ".join(rng.choices(TEXT.split(), k=rng.randint(least, most))).capitalize() + "."

    def row() -> dict[str, Any]:
        if name == "mnli":
            return {"premise": sentence(8, 32), "hypothesis": sentence(5, 15), "label": rng.randrange(3)}
        if name == "hellaswag":
            endings = [sentence(12, 36) for _ in range(4)]
            return {"activity_label": "", "ctx": sentence(25, 50), "endings": endings, "label": str(rng.randrange(4))}
        return {"document": " ".join(sentence(8, 20) for _ in range(5)), "summary": sentence(10, 20)}

    folder = Path(tempfile.mkdtemp(prefix="benchmark-rows-"))
    for split in ("train", "validation", "validation_matched", "test"):
        lines = [json.dumps(row()) for _ in range(2000)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def describe(arguments: argparse.Namespace) -> str:
    """Hardware and versions, in a line."""
    import torch

    names = ("torch", "transformers", "tokenizers", "lm_eval")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{os.cpu_count()} cores"
    return (
        f"{time.strftime('%d %B %Y')}, {device} ({platform.machine()}), {arguments.threads} threads, "
        f"Python {platform.python_version()}, {versions}"
    )


def clock(work: Callable[[], Any], *, device: str, repeats: int = 1) -> tuple[list[float], Any]:
    """Seconds of each repetition, and the last result."""
    import torch

    seconds, result = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds, result


def spread(seconds: Sequence[float]) -> str:
    """Median with the range of the repetitions."""
    if len(seconds) == 1:
        return f"{seconds[0]:.2f} s"
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def compare_scores(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], golds: Sequence[int]) -> str:
    """Whether two sets of log-likelihoods are the same, and the accuracy under each; exits when they are not."""
    worst, ties, hits = 0.0, 0, [0, 0]
    for mine, other, gold in zip(ours, theirs, golds, strict=True):
        allowed = [1e-4 * max(1.0, abs(score) / 10) for score in other]
        worst = max([worst, *(abs(a - b) / limit for a, b, limit in zip(mine, other, allowed, strict=True))])
        chosen = [max(range(len(scores)), key=scores.__getitem__) for scores in (mine, other)]
        hits = [hit + (choice == gold) for hit, choice in zip(hits, chosen, strict=True)]
        if chosen[0] != chosen[1]:
            ties += 1
            if abs(other[chosen[0]] - other[chosen[1]]) > 2 * max(allowed):
                sys.exit(f"different predictions without a tie: {mine} and {other}")
    if worst > 1:
        sys.exit(f"log-likelihoods differ by {worst:.2f} times what is allowed")
    return (
        f"largest difference {worst:.3f} of what is allowed (1e-4 · max(1, |score| / 10)); accuracy "
        f"{hits[0] / len(golds):.4f} and {hits[1] / len(golds):.4f}, {ties} ties decided otherwise"
    )
