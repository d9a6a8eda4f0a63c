"""The per-checkpoint evaluations of the Pythia suite (github.com/EleutherAI/pythia, ``evals/``), in one long table.

Columns: ``model``, ``step``, ``num_fewshot``, ``task``, ``metric`` ("acc", "acc_norm", "ppl" and each with "_stderr"),
``value``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretune.published.records import Origin, Published, bound, name_family, read_rows, take_number, take_text
from pretune.results.schema import metrics_frame

NAME = "pythia"
TOKENS_PER_STEP = 2_097_152
METRICS = {
    "acc": ("accuracy", "sum"), "acc_norm": ("accuracy", "per_byte"), "ppl": ("perplexity", "likelihood"),
    "em": ("exact_match", "generate"),
}  # fmt: skip
ERROR = "_stderr"

Cell = tuple[str, int, int, str]


def read_pythia(path: Path) -> Published:
    """Read the suite's table. Raises :class:`DataError` naming file, line and field of what cannot be read."""
    values: dict[tuple[Cell, str], tuple[Origin, float]] = {}
    for origin, row in read_rows(path, required=("model", "step", "num_fewshot", "task", "metric", "value")):
        cell = (
            take_text(row, "model", origin), int(take_number(row, "step", origin, whole=True)),
            int(take_number(row, "num_fewshot", origin, whole=True)), take_text(row, "task", origin),
        )  # fmt: skip
        metric = take_text(row, "metric", origin)
        if metric.removesuffix(ERROR) not in METRICS:
            valid = ", ".join(METRICS)
            raise origin.fail(f"field 'metric' is {metric!r}; valid: {valid}, and each with '{ERROR}'")
        if (cell, metric) in values:
            first = values[cell, metric][0].line
            raise origin.fail(
                f"{metric} of {cell[3]} at step {cell[1]}, {cell[2]} shots, stands on line {first} already"
            )
        values[cell, metric] = (origin, take_number(row, "value", origin))
    rows: list[dict[str, Any]] = []
    for (cell, name), (origin, value) in values.items():
        if name.endswith(ERROR):
            continue
        model, step, shots, task = cell
        metric, scorer = METRICS[name]
        _, error = values.get((cell, name + ERROR), (None, None))
        interval = bound(value, error, share=metric != "perplexity") if error is not None else {}
        rows.append({
            "run_id": origin.name(NAME), "kind": "evaluate", "family": name_family(model, NAME),
            "checkpoint": f"step{step}", "phase": "main", "step": step, "tokens": step * TOKENS_PER_STEP,
            "state": "base", "eval_task": task, "eval_split": "published", "eval_format": "default", "shots": shots,
            "metric": metric, "scorer": scorer, "value": value, **interval,
        })  # fmt: skip
    primary = dict.fromkeys((cell[3] for cell, _ in values), METRICS["acc"])
    note = "Pythia: intervals are ±1.96 of the published standard errors; 'acc_norm' is scorer per_byte."
    return Published(table=metrics_frame(rows), primary=primary, notes=(note,))
