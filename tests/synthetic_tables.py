"""Results tables with planted truths, for the tests of analysis and report."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pretune.results.schema import metrics_frame

STEPS = (0, 16, 32, 64, 128, 256, 512, 1024)
TOKENS_PER_STEP = 2048
FORMATS = ("default", "io", "instruct")

NEED_TUNING = {"pico/nli": (0.36, 0.84), "pico/paraphrase": (0.52, 0.86), "pico/question": (0.24, 0.71)}
"""Task → (base score at every checkpoint, tuned score at the last one)."""

PRIMARY = {
    **{f"{task}{twin}": ("accuracy", "sum") for task in NEED_TUNING for twin in ("", "-ood")},
    "pico/summary": ("rouge_l", "generate"),
    "pico/summary-ood": ("rouge_l", "generate"),
    "pico/choice": ("accuracy", "sum"),
    "pico/choice-ood": ("accuracy", "sum"),
    "pico/chat": ("accuracy", "sum"),
    "pico/text": ("loss", "likelihood"),
}


def measurement(**changes: Any) -> dict[str, Any]:
    """One row of a table: a base accuracy unless changed; the interval is ±3 points unless given."""
    row: dict[str, Any] = {
        "run_id": None, "kind": "evaluate", "family": "pico", "checkpoint": "step64", "phase": "main", "step": 64,
        "params": 540_000, "state": "base", "eval_task": "pico/nli", "eval_split": "validation",
        "eval_format": "default", "shots": 0, "scorer": "sum", "metric": "accuracy", "value": 0.5, "n": 400,
    } | changes  # fmt: skip
    if row["state"] == "tuned" and "train_task" not in changes:
        row["train_task"] = row["eval_task"]
    if row.get("train_task") is not None:
        row = {
            "stage": "sft", "train_format": "default", "train_rows": 3000, "epochs": 3, "optimizer": "adamw",
            "lr": 1e-3, "regularizer": "none", "regularizer_strength": 0.0, "seed": 0,
            "relation": "in_domain",
        } | row  # fmt: skip
    if "checkpoint" not in changes and row["step"] is not None:
        row["checkpoint"] = f"step{row['step']}"
    if row["step"] is not None and "tokens" not in changes:
        row["tokens"] = row["step"] * TOKENS_PER_STEP
    if row["run_id"] is None:
        names = ("kind", "family", "checkpoint", "train_task", "train_format", "lr", "seed", "eval_task",
                 "eval_format", "shots", "relation")  # fmt: skip
        row["run_id"] = "-".join(str(row.get(name)) for name in names).replace("/", "_")
    if row["value"] is not None:
        row.setdefault("ci_low", row["value"] - 0.03)
        row.setdefault("ci_high", row["value"] + 0.03)
    return row


def tabulate(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    return metrics_frame(rows)


def realistic_study(
    *, seed: int = 0, seeds: int = 1, family: str = "pico", steps: tuple[int, ...] = STEPS
) -> pd.DataFrame:
    """A fresh copy of :func:`_simulate_study`, which is made once per set of arguments."""
    return _simulate_study(seed, seeds, family, steps).copy()


@functools.cache
def _simulate_study(seed: int, seeds: int, family: str, steps: tuple[int, ...]) -> pd.DataFrame:
    """A whole study: 8 checkpoints, 5 trained tasks with out-of-domain twins, a choice task, text, 3 formats.

    Planted: the tasks of ``NEED_TUNING`` have a flat base and a tuned score that grows with pre-training;
    ``pico/choice`` grows without tuning and then is flat; some cells are missing.
    """
    noise = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    tuned_tasks = [*NEED_TUNING, "pico/summary", "pico/chat"]
    twins = [*NEED_TUNING, "pico/summary", "pico/choice"]
    for index, step in enumerate(steps):
        grown = float(np.clip((np.log2(max(step, 8)) - 3) / 5, 0, 1))

        def base_score(task: str, grown: float = grown) -> float:
            stem = task.removesuffix("-ood")
            if stem in NEED_TUNING:
                return NEED_TUNING[stem][0]
            if stem == "pico/choice":
                return 0.50 + 0.48 * grown
            return 0.11 + 0.04 * grown if stem == "pico/summary" else 0.30 + 0.2 * grown

        def tuned_score(task: str, grown: float = grown) -> float:
            stem = task.removesuffix("-ood")
            loss = 0.08 if task.endswith("-ood") else 0.0
            if stem in NEED_TUNING:
                low, high = NEED_TUNING[stem]
                return low + (high - low) * (0.25 + 0.75 * grown) - loss
            if stem == "pico/choice":
                return base_score(task) - 0.05
            return base_score(task) + (0.28 if stem == "pico/summary" else 0.25) * (0.3 + 0.7 * grown) - loss

        def score(value: float, n: int = 400) -> dict[str, Any]:
            half = 1.96 * np.sqrt(max(value * (1 - value), 0.01) / n)
            value = float(np.clip(value + noise.normal(0, half / 4), 0, 1))
            return {"value": value, "ci_low": max(0, value - half), "ci_high": min(1, value + half), "n": n}

        place = {"family": family, "step": step}
        evaluated = [name for task in twins for name in (task, f"{task}-ood")] + ["pico/chat"]
        for task in evaluated:
            metric, scorer = PRIMARY[task]
            named = {"eval_task": task, "metric": metric, "scorer": scorer}
            for format_ in FORMATS:
                shift = {"default": 0.0, "io": -0.015, "instruct": 0.005}[format_]
                rows.append(measurement(**place, **named, eval_format=format_, **score(base_score(task) + shift)))
                level = {"pico/nli": 0.35, "pico/paraphrase": 0.5, "pico/question": 0.25, "pico/choice": 0.5,
                         "pico/summary": 0.13, "pico/chat": 0.28}[task.removesuffix("-ood")]  # fmt: skip
                rows.append(measurement(**place, **(named | {"scorer": "baseline"}), eval_format=format_, value=level,
                                        ci_low=None, ci_high=None))  # fmt: skip
        text = 4.4 - 2.2 * grown
        rows.append(measurement(**place, eval_task="pico/text", eval_format=None, metric="loss", scorer="likelihood",
                                value=text, ci_low=text - 0.03, ci_high=text + 0.03))  # fmt: skip
        for train_task in tuned_tasks:
            if (train_task, step) in {("pico/question", 32), ("pico/summary", 512)}:
                continue
            for lr in (2e-4, 1e-3):
                for train_seed in range(seeds):
                    tuning = {"state": "tuned", "train_task": train_task, "lr": lr, "seed": train_seed}
                    penalty = 0.0 if lr == 1e-3 else 0.06
                    for task in evaluated:
                        metric, scorer = PRIMARY[task]
                        own = task.removesuffix("-ood") == train_task
                        relation = "cross_task" if not own else "in_domain" if task == train_task else "out_of_domain"
                        for format_ in FORMATS:
                            if format_ == "io" and (train_task, task) == ("pico/chat", "pico/nli-ood"):
                                continue
                            format_cost = {"default": 0.0, "io": 0.25 * (1 - grown) + 0.04, "instruct": 0.05}[format_]
                            value = tuned_score(task) - penalty - format_cost if own else base_score(task) - 0.03
                            rows.append(measurement(**place, **tuning, eval_task=task, metric=metric, scorer=scorer,
                                                    relation=relation, eval_format=format_,
                                                    **score(max(value, 0.02))))  # fmt: skip
                    metric, scorer = PRIMARY[train_task]
                    rows.append(measurement(**place, **tuning, eval_task=train_task, metric=metric, scorer=scorer,
                                            relation="validation", eval_split="train",
                                            **score(max(tuned_score(train_task) - penalty, 0.02), 200)))  # fmt: skip
                    after = text + 0.05 + 0.06 * index * (lr / 1e-3)
                    rows.append(measurement(**place, **tuning, eval_task="pico/text", eval_format=None, metric="loss",
                                            relation="pretraining", scorer="likelihood", value=after,
                                            ci_low=after - 0.03, ci_high=after + 0.03))  # fmt: skip
                    rows.append(measurement(**place, **tuning, kind="train", eval_task=None, eval_format=None,
                                            shots=None, scorer=None, relation=None, eval_split=None,
                                            metric="train_loss", value=0.4, ci_low=None, ci_high=None))  # fmt: skip
    return tabulate(rows)
