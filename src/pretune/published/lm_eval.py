"""Result files of the lm-evaluation-harness (written by version 0.4.13; earlier 0.4 files have the same fields).

``results_<date>.json`` holds the metrics of each task under "metric,filter" keys with standard errors; beside it
``samples_<task>_<date>.jsonl`` may hold every row. Where they are, the interval is the bootstrap over rows instead of
the standard error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pretune.errors import DataError
from pretune.published.records import Origin, Published, bound, load_object, name_family, read_rows
from pretune.results.links import leads_out
from pretune.results.schema import metrics_frame

NAME = "lm_eval"
METRICS: Mapping[str, tuple[str, str]] = {
    "acc": ("accuracy", "sum"), "acc_norm": ("accuracy", "per_byte"), "acc_bytes": ("accuracy", "per_byte"),
    "acc_mutual_info": ("accuracy", "pmi"), "exact_match": ("exact_match", "generate"),
    "em": ("exact_match", "generate"),
    "rougeL": ("rouge_l", "generate"), "rouge_l": ("rouge_l", "generate"), "perplexity": ("perplexity", "likelihood"),
}  # fmt: skip
"""The harness's metrics that the results table has a name for; any other keeps its own, with the filter as scorer."""

LARGEST = 1.7e308
"""Numbers beyond it are no finite ones."""

SHARES = {"accuracy", "exact_match"}
NO_METRIC = {"alias", "name", "sample_len", "sample_count"}
STEP = re.compile(r"(?:step|ckpt|iter)[-_]?0*(\d{1,15})", re.IGNORECASE)
TOKENS = re.compile(r"tokens(\d{1,9})B")


def read_lm_eval(path: Path) -> Published:
    """Read one results file, or all ``results*.json`` below a folder (one model and revision each).

    The checkpoint is the ``revision`` of the model arguments ("main" without), its step what follows "step" in it or
    in the model's name. Raises :class:`DataError` naming file and field of what cannot be read.
    """
    files = sorted(path.rglob("results*.json")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: there is no results*.json in it or below")
    rows: list[dict[str, Any]] = []
    primary: dict[str, tuple[str, str]] = {}
    for file in files:
        for row in _read_file(file):
            rows.append(row)
            measure = (str(row["metric"]), str(row["scorer"]))
            if row["eval_task"] not in primary or measure == METRICS["acc"]:
                primary[row["eval_task"]] = measure
    return Published(table=metrics_frame(rows), primary=primary, notes=_write_notes(rows))


def _read_file(file: Path) -> list[dict[str, Any]]:
    origin = Origin(file=file, line=1)
    try:
        content = load_object(file.read_text(encoding="utf-8"), origin)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    results = _take(content, "results", file)
    weights = _find_weights(content, file)
    shots, counts, groups = (_take_optional(content, field, file) for field in ("n-shot", "n-samples", "groups"))
    rows = []
    for task in results:
        if task in groups:  # an aggregate of tasks that are listed themselves
            continue
        count = counts.get(task, {}).get("effective") if isinstance(counts.get(task), dict) else None
        evaluation = {
            "eval_task": str(task), "eval_split": "published", "eval_format": "default",
            "shots": _take_whole(shots.get(task)), "n": _take_whole(count),
        }  # fmt: skip
        metrics = _take(results, task, file, "results")
        for key, measured in _read_metrics(metrics, str(task), file):
            run_id = f"published:{NAME}:{file.name}:{task}:{key}"
            rows.append({**weights, **evaluation, **measured, "run_id": run_id})
    return rows


def _read_metrics(metrics: Mapping[str, Any], task: str, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    intervals = _bootstrap_samples(file, task)
    for key, value in metrics.items():
        metric, _, filtered = str(key).partition(",")
        blank = isinstance(value, str) and not value.strip()  # groups without an aggregate have blanks
        if metric in NO_METRIC or metric.endswith("_stderr") or blank:
            continue
        if not _is_number(value):
            raise DataError(f"{file}: field 'results.{task}.{key}' is {value!r}, not a number")
        name, scorer = METRICS.get(metric, (metric, filtered or "none"))
        if filtered not in ("", "none") and metric in METRICS:
            scorer = f"{scorer} ({filtered})"
        spread = metrics.get(f"{metric}_stderr,{filtered}")
        interval = bound(float(value), float(spread), share=name in SHARES) if _is_number(spread) else {}
        interval = intervals.get((metric, filtered or "none"), interval)
        yield str(key), {"metric": name, "scorer": scorer, "value": float(value), **interval}


def _take_whole(value: object) -> int | None:
    return int(value) if _is_number(value) and abs(value) < 2**63 else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _take(content: Mapping[str, Any], field: str, file: Path, parent: str = "") -> dict[str, Any]:
    value = content.get(field)
    if not isinstance(value, dict):
        name = f"{parent}.{field}" if parent else field
        raise DataError(f"{file}: field '{name}' is {type(value).__name__}, not an object: not a file of the harness")
    return value


def _take_optional(content: Mapping[str, Any], field: str, file: Path) -> dict[str, Any]:
    return _take(content, field, file) if content.get(field) else {}


def _find_weights(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    config = _take_optional(content, "config", file)
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        arguments = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    if not isinstance(arguments, dict):
        raise DataError(f"{file}: field 'config.model_args' is {type(arguments).__name__}, neither text nor object")
    model = arguments.get("pretrained") or content.get("model_name") or config.get("model")
    if not isinstance(model, str) or not model:
        raise DataError(f"{file}: neither 'config.model_args.pretrained' nor 'model_name' names the model")
    revision = str(arguments.get("revision") or "main")
    step = STEP.search(revision) or STEP.search(model.rsplit("/", 1)[-1])
    tokens = TOKENS.search(revision)
    return {
        "kind": "evaluate", "state": "base", "family": name_family(model, NAME), "checkpoint": revision,
        "phase": "main", "step": int(step[1]) if step else None,
        "tokens": int(tokens[1]) * 10**9 if tokens else None,
        "params": _take_whole(config.get("model_num_parameters")),
    }  # fmt: skip


def _bootstrap_samples(file: Path, task: str) -> dict[tuple[str, str], dict[str, float]]:
    """Intervals by (metric, filter) from the rows beside a results file, where they are."""
    date = file.stem.rpartition("results_")[2]
    name = f"samples_{task}_{date}.jsonl"
    if leads_out(name) or "\0" in name or len(name.encode("utf-8", "replace")) > 255:
        return {}
    samples = file.with_name(name)
    if not samples.is_file():
        return {}
    from pretune.evaluation.intervals import bootstrap_mean

    values: dict[tuple[str, str], list[float]] = {}
    for origin, row in read_rows(samples, required=("doc_id", "metrics")):
        if not isinstance(row["metrics"], list):
            raise origin.fail(f"field 'metrics' is {row['metrics']!r}, not a list")
        for name in row["metrics"]:
            value = row.get(name)
            if _is_number(value) or isinstance(value, bool):
                values.setdefault((str(name), str(row.get("filter", "none"))), []).append(float(value))
    found = {}
    for key, numbers in values.items():
        if METRICS.get(key[0], ("", ""))[0] in {*SHARES, "rouge_l"}:  # means over rows; perplexities are not
            interval = bootstrap_mean(numbers)
            found[key] = {"ci_low": interval.low, "ci_high": interval.high}
    return found


def _write_notes(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    note = "lm-evaluation-harness: 'acc' is scorer sum, 'acc_norm' is scorer per_byte."
    unknown = sorted({str(row["checkpoint"]) for row in rows if row["step"] is None})
    if unknown:
        return (note, f"lm-evaluation-harness: the step of {', '.join(unknown)} is unknown; the order is by name.")
    return (note,)
