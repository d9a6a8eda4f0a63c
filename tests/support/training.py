"""A fine-tuning of seconds: rows, model and settings, and runs of it that break off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pretune.config.running import TrainConfig
from pretune.data.examples import Example
from pretune.training.finetune import TrainingOutcome, finetune
from support.configs import CONFIG, change
from support.models import SENTENCES, make_model, make_tokenizer

LABELS = ("entailment", "neutral , that is", "no bird lay in a garden")
SETTINGS: dict[str, Any] = {
    "stage.batch_size": 8,
    "stage.epochs": 2,
    "stage.max_length": 96,
    "optimizer.lr": 1e-2,
    "trainer.save_seconds": 1e9,
}


class Interrupted(Exception):
    """What a test raises in the middle of a training."""


def make_config(**changes: Any) -> TrainConfig:
    """The small configuration with fields changed; ``__`` stands for the dot of a key."""
    config = CONFIG
    for key, value in {**SETTINGS, **{name.replace("__", "."): value for name, value in changes.items()}}.items():
        config = change(config, key, value)
    return config


def make_examples(count: int, start: int = 0) -> list[Example]:
    """Rows whose completions have unequal lengths in a byte-level tokenizer."""
    return [
        Example(
            id=str(i),
            fields={"premise": " ".join(SENTENCES[i % 60].split()[: 3 + i % 7]), "hypothesis": "a bird sat"},
            options=LABELS,
            gold=i % 3,
            target=LABELS[i % 3],
        )
        for i in range(start, start + count)
    ]


def train(
    config: TrainConfig, folder: Path, *, rows: int = 20, stop_at: int | None = None, model: Any = None, **how: Any
) -> tuple[Any, TrainingOutcome]:
    """Fine-tune a tiny model; raise :class:`Interrupted` after step ``stop_at``."""

    def on_step(done: int, total: int) -> None:
        if done == stop_at:
            raise Interrupted

    folder.mkdir(exist_ok=True, parents=True)
    model = model if model is not None else make_model(context=128)
    outcome = finetune(
        model,
        make_padded_tokenizer(),
        config,
        training=make_examples(rows),
        validation=make_examples(6, start=30),
        work_dir=folder,
        on_step=on_step,
        **how,
    )
    return model, outcome


def make_padded_tokenizer() -> Any:
    """The byte-level tokenizer, able to pad."""
    tokenizer = make_tokenizer("bpe")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def equal_weights(one: Any, two: Any) -> bool:
    """Whether two models have the same weights to the last bit."""
    mine, theirs = one.state_dict(), two.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """What of a history must repeat exactly."""
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]
