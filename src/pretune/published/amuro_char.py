"""The results table of Sun & Dredze's code (github.com/KaiserWhoLearns/AmuroCharPTFTRelationship, all_perf_table.csv).

Columns: ``model_id`` ("olmo1b_hf_ckpt424000_mnli_3epoch_2e-6_4shots", "olmo1b_checkpoint-1000_original_hf_4shots"),
``eval dataset`` ("mnli_matched", "xsum_instruct"), ``Performance`` and ``std`` (the midpoint of a bootstrap interval
and its standard error, as their ``eval_pred.py`` computes them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretune.published.records import Origin, Published, bound, name_family, read_rows, take_number, take_text
from pretune.results.schema import BASELINE_SCORER, metrics_frame

NAME = "amuro_char"
MODEL = re.compile(
    r"(?:olmo1b_)?(?:hf_)?(?:(?:ckpt|checkpoint-)(?P<step>\d{1,12})|(?P<main>main))?_?"
    r"(?:original(?:_hf)?|(?P<task>mnli|paws|xsum|socialiqa|tulu)_(?P<epochs>\d{1,9})epoch_(?P<lr>\d+e-\d+))?"
    r"(?:_?(?P<shots>\d{1,9})shots)?"
)
FORMATS = {"_instruct": "instruct", "_inputoutput": "io"}
LAST_STEP, TOKENS_PER_STEP = 738_020, 4_194_304
RATES = {"mnli": "2e-6", "paws": "2e-6", "socialiqa": "2e-6", "xsum": "2e-7", "tulu": "2e-6"}
"""The learning rate that the study reports for each training task (its notebook's ``LRS``)."""

TASKS: Mapping[str, str] = {"mnli_matched": "mnli", "sciq": "sciq_question",
                            "llmbar_Natural": "llmbar_natural",
                            "llmbar_Adversarial_Manual": "llmbar_adversarial_manual",
                            "llmbar_Adversarial_Neighbor": "llmbar_adversarial_neighbor"}  # fmt: skip
GENERATED = ("xsum", "xlsum", "cnn", "socialiqa", "sciq_question", "tweetqa")
CLASSIFIED = ("mnli", "mnli_mismatched", "rte", "gpt3nli", "paws", "qqp", "stsb", "llmbar_natural",
              "llmbar_adversarial_manual", "llmbar_adversarial_neighbor")  # fmt: skip
IN_DOMAIN = {"mnli": ("mnli", "mnli_mismatched"), "paws": ("paws",), "xsum": ("xsum", "xlsum"),
             "socialiqa": ("socialiqa",)}  # fmt: skip
OUT_OF_DOMAIN = {
    "mnli": ("rte", "gpt3nli"),
    "paws": ("qqp", "stsb"),
    "xsum": ("cnn",),
    "socialiqa": ("sciq_question", "tweetqa"),
}
CROSS = ("mnli", "paws", "xsum", "socialiqa")

MAJORITY: Mapping[str, float] = {"mnli": 0.3545, "mnli_mismatched": 0.3522, "rte": 0.5016, "gpt3nli": 0.3333,
                                 "paws": 0.558}  # fmt: skip
"""Share of the most frequent label in the splits that the study evaluated on; not in its table."""

NOTES = (
    "Sun & Dredze: intervals are ±1.96 of the published bootstrap standard errors; numbers of rows are not published.",
    "Sun & Dredze: one run per cell (seed 42); the shots are the first evaluated rows, which are scored as well.",
    "Sun & Dredze: nothing was evaluated between steps 18,000 and 342,000.",
    "Sun & Dredze: trivial baselines (majority class) are known shares of the data sets, not part of the table.",
)


def read_amuro_char(path: Path) -> Published:
    """Read the study's table. Raises :class:`DataError` naming file, line and field of what cannot be read."""
    rows: list[dict[str, Any]] = []
    left_out = []
    for origin, row in read_rows(path, required=("model_id", "eval dataset", "Performance", "std")):
        weights = _parse_model(take_text(row, "model_id", origin), origin)
        if "lr" in weights and weights.pop("rate") != RATES[weights["train_task"]]:
            left_out.append(origin.line)
            continue
        evaluation = _parse_evaluation(take_text(row, "eval dataset", origin), origin)
        value, error = take_number(row, "Performance", origin), take_number(row, "std", origin)
        if not 0 <= value <= 1 or error < 0:
            raise origin.fail(f"Performance {value} or std {error} is not a share with its standard error")
        relation = _find_relation(weights.get("train_task"), evaluation["eval_task"])
        measured = {"value": value, **bound(value, error, share=True)}
        rows.append(weights | evaluation | measured | {"relation": relation, "run_id": origin.name(NAME)})
    notes = list(NOTES)
    if left_out:
        lines = ", ".join(map(str, left_out))
        notes.append(f"Sun & Dredze: rows at another learning rate than the reported one are left out (line {lines}).")
    primary = dict.fromkeys(GENERATED, ("rouge_l", "generate"))
    primary |= dict.fromkeys(CLASSIFIED, ("accuracy", "first_token"))
    return Published(table=metrics_frame([*rows, *_add_baselines(rows)]), primary=primary, notes=tuple(notes))


def _parse_model(name: str, origin: Origin) -> dict[str, Any]:
    found = MODEL.fullmatch(name)
    if not found:
        raise origin.fail(f"field 'model_id' is {name!r}: neither a base nor a fine-tuned checkpoint of the study")
    step = int(found["step"]) if found["step"] else LAST_STEP
    weights: dict[str, Any] = {
        "kind": "evaluate", "family": name_family("olmo1b", NAME), "step": step, "tokens": step * TOKENS_PER_STEP,
        "checkpoint": f"step{step}" if found["step"] else "main", "phase": "main", "annealed": False,
        "params": 1_176_764_416, "state": "base", "shots": int(found["shots"] or 0),
    }  # fmt: skip
    if found["task"]:
        weights |= {
            "state": "tuned", "stage": "sft", "train_task": found["task"], "train_format": "default",
            "train_rows": None if found["task"] == "tulu" else 6000, "epochs": int(found["epochs"]),
            "optimizer": "adamw", "lr": float(found["lr"]), "rate": found["lr"], "regularizer": "none",
            "regularizer_strength": 0.0, "seed": 42,
        }  # fmt: skip
    return weights


def _parse_evaluation(name: str, origin: Origin) -> dict[str, Any]:
    ending = next((ending for ending in FORMATS if name.endswith(ending)), "")
    stem = name.removesuffix(ending)
    task = TASKS.get(stem, stem)
    if task not in (*GENERATED, *CLASSIFIED):
        raise origin.fail(f"field 'eval dataset' is {name!r}: not one of the study's data sets")
    metric, scorer = ("rouge_l", "generate") if task in GENERATED else ("accuracy", "first_token")
    shared = {"eval_task": task, "eval_split": "published", "eval_format": FORMATS.get(ending, "default")}
    return shared | {"metric": metric, "scorer": scorer}


def _find_relation(train_task: str | None, task: str) -> str | None:
    if train_task is None:
        return None
    for relation, groups in (("in_domain", IN_DOMAIN), ("out_of_domain", OUT_OF_DOMAIN)):
        if task in groups.get(train_task, ()):
            return relation
    return "cross_task" if task in CROSS else None


def _add_baselines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One baseline row per checkpoint and task whose majority class is known."""
    weights = ("kind", "family", "step", "tokens", "checkpoint", "phase", "annealed", "params")
    baselines = {}
    for row in rows:
        if row["state"] == "base" and row["eval_task"] in MAJORITY:
            evaluation = {name: row[name] for name in ("eval_task", "eval_split", "eval_format", "shots", "metric")}
            baselines[tuple(evaluation.values()), row["step"]] = {
                **{name: row[name] for name in weights}, **evaluation, "state": "base", "scorer": BASELINE_SCORER,
                "value": MAJORITY[row["eval_task"]], "run_id": f"published:{NAME}:majority class",
            }  # fmt: skip
    return list(baselines.values())
