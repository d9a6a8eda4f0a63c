"""Evaluation divided over processes gives the numbers of one, whatever the kind of answer."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example, Turn
from pretune.evaluation.evaluate import EvaluationResult, evaluate_examples
from support.models import SENTENCES, make_encoder, make_model

FORMAT = Format(
    name="default",
    templates={
        "nli": Template(prompt="### Input: {premise}\n### Inference:", body="premise"),
        "summary": Template(prompt="### Input: {document}\n### Summary:", body="document", stop="e"),
        "chat": Template(turns={"user": "Q: {content}\n"}, prompt="A:", completion=" {answer}", after="\n"),
    },
)
LABELS = ("entailment", "neutral", "contradiction")


def classify(count: int) -> EvaluationResult:
    rows = [
        Example(id=f"row{i}", fields={"premise": SENTENCES[i]}, options=LABELS, gold=i % 3, target=LABELS[i % 3])
        for i in range(count)
    ]
    task = Task(name="nli", family="nli")
    return evaluate_examples(make_model(), make_encoder(), task=task, format_=FORMAT, examples=rows, decode=True)


def generate(count: int) -> EvaluationResult:
    rows = [Example(id=f"row{i}", fields={"document": SENTENCES[i]}, target=SENTENCES[i + 1]) for i in range(count)]
    task = Task(
        name="summary", family="summary", answer="generation", metric="rouge_l", scorer="generate", max_new_tokens=8
    )
    return evaluate_examples(make_model(), make_encoder(), task=task, format_=FORMAT, examples=rows)


def read(count: int) -> EvaluationResult:
    rows = [Example(id=f"row{i}", fields={}, target=" ".join(SENTENCES[: i + 1])) for i in range(count)]
    task = Task(name="text", family="text", answer="language", metric="loss", scorer="likelihood")
    return evaluate_examples(make_model(), make_encoder(), task=task, format_=FORMAT, examples=rows)


def converse(count: int) -> EvaluationResult:
    rows = [
        Example(
            id=f"row{i}",
            fields={},
            target="",
            turns=(Turn(role="user", text=SENTENCES[i]), Turn(role="assistant", text=SENTENCES[i + 1])),
        )
        for i in range(count)
    ]
    task = Task(name="chat", family="chat", answer="chat", metric="loss", scorer="likelihood")
    return evaluate_examples(make_model(), make_encoder(), task=task, format_=FORMAT, examples=rows)


KINDS: dict[str, Callable[[int], EvaluationResult]] = {
    "classification": classify,
    "generation": generate,
    "text": read,
    "chat": converse,
}


def evaluate_all(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found = {(kind, count): call(count) for kind, call in KINDS.items() for count in (1, 7)}
    Path(folder, f"{rank}").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, int], EvaluationResult]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("divided")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    mp.start_processes(evaluate_all, args=(2, str(folder)), nprocs=2, start_method="fork")
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(2)]


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_find_what_one_finds(
    kind: str, count: int, divided: list[dict[tuple[str, int], EvaluationResult]]
) -> None:
    alone = KINDS[kind](count)
    first, second = (found[kind, count] for found in divided)
    assert (first.items, first.metrics, first.counts) == (second.items, second.metrics, second.counts)
    assert first.counts == alone.counts
    assert first.settings == alone.settings
    for ours, theirs in zip(first.items, alone.items, strict=True):
        assert without_scores(ours) == without_scores(theirs)
        assert ours["scores"] == pytest.approx(theirs["scores"], rel=1e-5, abs=1e-5)
    for ours, theirs in zip(first.metrics, alone.metrics, strict=True):
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-5)


def without_scores(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("scores", "value")}
