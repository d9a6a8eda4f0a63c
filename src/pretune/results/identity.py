"""What makes two cells the same cell.

A *request* is plain data: everything asked for that can change a result, known without network, weights or torch.
Its hash, the *request key*, decides whether a cell is already finished. Once resolved, commit hash, weight hashes
and data fingerprints are added; the hash of the whole is the cell's *id* and ends the name of its run folder.

Paths, devices, loggers and worker counts are in neither: what comes from a local folder is identified by content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pretune.config.probing import PROBE_FIELDS, Probe, ProbeConfig
from pretune.config.running import EvaluateConfig, TrainConfig, Trainer
from pretune.config.schema import to_plain
from pretune.config.science import HELD_OUT, Checkpoint, Format, Recipe, Regularizer, Stage, Task

Request = Mapping[str, Any]

TRAINING_VERSION = 1
"""Raised when training changes its numbers for an unchanged configuration."""
FINETUNING_VERSION = 2
"""The same for fine-tunings alone. 2: the validation loss is a mean over tokens, not over batches."""
SCORING_VERSION = 3
"""Raised when evaluation changes its numbers for unchanged weights and rows."""
PROBING_VERSION = 1
"""Raised when a probe changes its numbers for unchanged weights and settings."""
CORPUS_VERSION = 1
"""Raised when the embedded miniature's language, corpus or tasks change."""

TEXT_VERSION = 1
"""Raised when a corpus of real text is read, tokenised or packed differently."""

EVALUATION_ONLY = ("eval_split", "metric", "scorer", "max_new_tokens", "in_domain", "out_of_domain", "cross_task")
TRAINING_ONLY = ("train_rows", "in_domain", "out_of_domain", "cross_task", "scorer")
OPTIONAL_FACTS = ("tokens_before", "batch_changes", "annealed_from", "final_phase", "pretrain_seed")
"""Facts about checkpoints that are part of a request only where a family states them."""
CHECKS_ONLY = ("path", "label_names", "labelled_splits")
"""Fields of a task that say where rows lie or what must be true of them: they change no number."""
PRETRAIN_ONLY = ("sequence_length", "save_steps")
SCHEDULE_ONLY = {"decay_ratio": "wsd"}
"""Fields of a stage that only one schedule looks at: with another one they are no part of the identity."""
REGULARIZER_FIELDS = {
    "ewc": ("windows", "window_length"),
    "replay": ("window_length",),
    "freeze": ("blocks",),
    "lora": ("rank", "alpha", "dropout", "targets"),
    "qlora": ("rank", "alpha", "dropout", "targets"),
}
"""Fields that a kind of regularizer looks at, besides its name and strength."""


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal data: sorted keys, no spaces, shortest round-trip floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of plain data."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _without(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


def describe_stage(stage: Stage, *without: str) -> dict[str, Any]:
    """Identity of a stage: what its schedule does not look at is left out."""
    unused = [field for field, schedule in SCHEDULE_ONLY.items() if stage.schedule != schedule]
    unused.append("warmup_steps" if stage.warmup_steps is None else "warmup_ratio")
    return _without(to_plain(stage), *without, *unused)


def describe_regularizer(
    regularizer: Regularizer, *, text: Task | None = None, text_content: str | None = None
) -> dict[str, Any]:
    """Identity of a regularizer: what its kind does not look at is left out. ``text``: its pre-training text."""
    plain: dict[str, Any] = to_plain(regularizer)
    described = {key: plain[key] for key in ("name", "strength", *REGULARIZER_FIELDS.get(regularizer.name, ()))}
    if text is not None:
        described["text"] = describe_task(text, without=EVALUATION_ONLY, content=text_content)
    return described


def describe_precision(trainer: Trainer) -> str:
    """Identity of the arithmetic of a training: how bf16 weights are rounded is part of it."""
    return f"{trainer.precision}, {trainer.rounding}" if trainer.precision == "bf16-true" else trainer.precision


def describe_recipe(recipe: Recipe, *, content: str | None = None) -> dict[str, Any]:
    """Identity of a ladder: all that determines its weights except the step. ``content``: hash of a folder's text."""
    plain: dict[str, Any] = to_plain(recipe)
    if recipe.text == "pico":
        del plain["corpus"]
    else:
        plain["corpus"] = {**_without(plain["corpus"], "path"), "content": content, "version": TEXT_VERSION}
    plain["optimizer"] = _without(plain["optimizer"], "fused")
    plain["stage"] = describe_stage(recipe.stage, "epochs", "max_length", "name")
    plain["model"] = _without(plain["model"], "name")
    if recipe.text == "pico":
        plain["corpus_version"] = CORPUS_VERSION
    return {**plain, "training_version": TRAINING_VERSION}


def describe_checkpoint(checkpoint: Checkpoint, *, content: Any = None) -> dict[str, Any]:
    """Identity of base weights as asked for. ``content``: hash of the files (source=path), identity of the ladder.

    What the results table says about the weights (family, phase, step, tokens, annealed) is part of it: a finished
    cell keeps its columns, so weights that are described otherwise must be another cell.
    """
    described: dict[str, Any] = {
        "source": checkpoint.source,
        "family": checkpoint.family,
        "phase": checkpoint.phase,
        "step": checkpoint.step,
        "annealed": checkpoint.annealed,
    }
    if checkpoint.source == "ladder":
        if content is None:
            assert checkpoint.recipe is not None
            content = describe_recipe(checkpoint.recipe)
        return {**described, "recipe": content}
    described |= {"tokens_per_step": checkpoint.tokens_per_step, "final_step": checkpoint.final_step}
    facts = {key: getattr(checkpoint, key) for key in OPTIONAL_FACTS}
    described |= {key: value for key, value in facts.items() if value != getattr(Checkpoint(), key)}
    if checkpoint.phase != "main" or checkpoint.final_phase != "main":
        described["phases"] = to_plain(checkpoint.phases)
    if checkpoint.source == "path":
        return {**described, "content": content}
    revision = checkpoint.revision or "main" if checkpoint.step is None else None
    return {**described, "repo": checkpoint.repo, "revision": revision}


def describe_task(task: Task, *, without: tuple[str, ...], content: str | None = None) -> dict[str, Any]:
    """Identity of a task's rows as asked for. ``content``: hash of the files, for ``source=path``."""
    plain = _without(to_plain(task), *CHECKS_ONLY, *without)
    if task.eval_split == HELD_OUT:
        plain[HELD_OUT] = True  # those rows are neither trained on nor shots
    if task.source == "pico":
        plain["corpus_version"] = CORPUS_VERSION
    if task.source == "path":
        # ``config`` stays: it may name the folder, below ``path``, that the rows are read from
        plain = {**_without(plain, "repo", "revision"), "content": content}
    return plain


def describe_format(format_: Format, task: Task, *, shots: int) -> dict[str, Any]:
    """Identity of the wording: the template of the task's family only, the separator only where it is used."""
    template = format_.templates.get(task.family)
    described: dict[str, Any] = {"name": format_.name, "template": to_plain(template)}
    if shots:
        described["separator"] = format_.separator
    return described


def train_request(
    config: TrainConfig,
    *,
    checkpoint_content: Any = None,
    task_content: str | None = None,
    text: Task | None = None,
    text_content: str | None = None,
) -> dict[str, Any]:
    """Request of a train cell. Evaluation settings are never part of it. ``text``: what the regularizer reads."""
    return {
        "kind": "train",
        "training_version": FINETUNING_VERSION,
        "checkpoint": describe_checkpoint(config.checkpoint, content=checkpoint_content),
        "task": describe_task(config.task, without=EVALUATION_ONLY, content=task_content),
        "format": describe_format(config.format, config.task, shots=0),
        "stage": describe_stage(config.stage, *PRETRAIN_ONLY),
        "optimizer": _without(to_plain(config.optimizer), "fused"),
        "regularizer": describe_regularizer(config.regularizer, text=text, text_content=text_content),
        "precision": describe_precision(config.trainer),
        "seed": config.seed,
    }


def base_weights(checkpoint: Checkpoint, *, content: Any = None) -> dict[str, Any]:
    """Request of the weights of a base checkpoint."""
    return {"state": "base", "checkpoint": describe_checkpoint(checkpoint, content=content)}


def tuned_weights(train_key: str) -> dict[str, Any]:
    """Request of the weights that a train cell (by its request key) produced."""
    return {"state": "tuned", "train": train_key}


def evaluate_request(
    weights: Request,
    *,
    task: Task,
    split: str,
    format_: Format,
    shots: int,
    config: TrainConfig | EvaluateConfig | ProbeConfig,
    task_content: str | None = None,
) -> dict[str, Any]:
    """Request of an evaluate cell. ``split`` is ``evaluation`` or ``validation`` (held-out training rows)."""
    # shots, held-out rows and the targets of a generation task's baseline come from the divided training split
    divided = split == "validation" or shots > 0 or task.answer == "generation" or task.eval_split == HELD_OUT
    unused: tuple[str, ...] = () if divided else ("train_split", "validation_split", "validation_rows")
    if split == "validation":
        unused = ("eval_split",)
    request: dict[str, Any] = {
        "kind": "evaluate",
        "scoring_version": SCORING_VERSION,
        "weights": dict(weights),
        "task": describe_task(task, without=(*TRAINING_ONLY, *unused), content=task_content),
        "split": split,
        "format": describe_format(format_, task, shots=shots),
        "shots": shots,
        "limit": config.eval.limit,
    }
    if shots:
        request["shot_sampling"] = config.shot_sampling
    if config.eval.decode and task.answer == "classification":
        request["decode"] = True
    if shots or config.eval.limit:
        request["shot_seed"] = config.shot_seed
    return request


def probe_request(
    weights: Request, *, probe: Probe, measured: Sequence[Request], init_std: float | None = None
) -> dict[str, Any]:
    """Request of a probe cell: weights, the fields its probe looks at, and the rows it measures on."""
    described = {"name": probe.name, **{key: to_plain(getattr(probe, key)) for key in PROBE_FIELDS[probe.name]}}
    if probe.name == "gaussian" and probe.normalisation == "init" and init_std is not None:
        described["init_std"] = init_std
    return {
        "kind": "probe",
        "probing_version": PROBING_VERSION,
        "weights": dict(weights),
        "probe": described,
        "measured": [_without(request, "kind", "weights") for request in measured],
    }


def slug(*parts: object) -> str:
    """Join ``parts`` into a name that is safe as a folder name on every system."""
    text = "-".join(str(part) for part in parts if part not in (None, ""))
    return re.sub(r"[^A-Za-z0-9._+-]+", ".", text).strip(".-")[:96] or "cell"


def make_run_id(kind: str, name: str, identity: str) -> str:
    """Name of a run folder: ``<kind>-<readable name>-<first 12 digits of the id>``."""
    return f"{kind}-{slug(name)}-{identity[:12]}"
