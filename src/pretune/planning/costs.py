"""Operations and memory of a cell, from the shape of the model and the size of the rows.

Operations follow the usual count: 2 per weight and token forwards, 6 forwards and backwards, and 2 (6) · layers ·
width · length for causal attention (PaLM, arXiv 2204.02311, appendix B, halved); the output head runs at learnt or
scored positions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pretune.config.probing import ProbeConfig
from pretune.config.running import ZERO_BUCKET, ZERO_STAGES, TrainConfig
from pretune.config.science import Checkpoint, Model, Shape, Task
from pretune.planning.sizes import size_of

BYTES_PER_WEIGHT: Mapping[str, float] = {"bf16-mixed": 4, "32-true": 4, "bf16-true": 2}
MOMENTS: Mapping[str, float] = {"adamw": 8, "adamw8bit": 2, "paged_adamw8bit": 2, "lion8bit": 1, "sgd": 0}
"""Bytes of an optimizer's state per trained weight, with fp32 moments (bf16-true: half)."""
ACTIVATION_BYTES: Mapping[str, float] = {"bf16-mixed": 34, "32-true": 60, "bf16-true": 34}
"""Bytes kept for the backward pass per token, layer and unit of width (Korthikanti et al., arXiv 2205.05198, eq. 1,
without what flash attention recomputes)."""
PICO_VOCABULARY = 195
"""Words of the miniature's language."""
WORKSPACE = 1.5e9
"""Bytes of the device's own libraries and of fragments."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """``flops`` of passes of ``tokens_in_pass`` tokens; ``decoding``: those of answers decoded token by token."""

    flops: float
    tokens_in_pass: float
    decoding: float = 0.0
    known: bool = True


def shape_of(checkpoint: Checkpoint) -> Shape | None:
    """Shape of a checkpoint's model: recorded, or of the recipe it is trained by; ``None`` where neither says."""
    if checkpoint.shape is not None:
        return checkpoint.shape
    recipe = checkpoint.recipe
    if recipe is None:
        return None
    return shape_of_recipe(recipe.model, PICO_VOCABULARY if recipe.text == "pico" else recipe.corpus.vocabulary)


def shape_of_recipe(model: Model, vocabulary: int) -> Shape:
    """Shape of a model that this project trains itself."""
    width = model.hidden_size
    blocks = model.layers * (4 * width**2 + 3 * width * model.intermediate_size)
    tables = vocabulary * width * (1 if model.tie_embeddings else 2)
    return Shape(
        parameters=blocks + tables,
        layers=model.layers,
        hidden_size=width,
        vocabulary=vocabulary,
        tied=model.tie_embeddings,
    )


def forward_flops(shape: Shape, *, tokens: float, length: float, heads: float) -> float:
    """Operations of a forward pass over ``tokens`` in sequences of ``length``, the head at ``heads`` positions."""
    head = shape.vocabulary * shape.hidden_size
    blocks = shape.parameters - head * (1 if shape.tied else 2)
    return tokens * (2.0 * blocks + 2.0 * shape.layers * shape.hidden_size * length) + heads * 2.0 * head


def work_of_training(config: TrainConfig, shape: Shape) -> Work:
    """Operations of a fine-tuning."""
    size = size_of(config.task)
    length = min(size.prompt + size.answer, config.stage.max_length)
    rows = config.task.train_rows * config.stage.epochs
    forward = forward_flops(shape, tokens=rows * length, length=length, heads=rows * size.answer)
    passes = 3.0 * (2.0 if config.regularizer.name == "sam" else 1.0)
    passes += 1.0 if config.trainer.activation_checkpointing else 0.0
    micro = config.trainer.micro_batch or config.stage.batch_size
    return Work(flops=passes * forward, tokens_in_pass=micro * length, known=size.known)


def work_of_evaluation(task: Task, shape: Shape, *, shots: int, limit: int | None, own_shots: bool = False) -> Work:
    """Operations of an evaluation: shared shots are read once, a prompt once, each option by itself."""
    size = size_of(task)
    rows = min(size.rows, limit) if limit is not None else size.rows
    shot = size.prompt + size.answer
    read = rows * (size.prompt + (shots * shot if own_shots else 0)) + shots * shot
    options = rows * size.options * size.answer * (2 if task.answer in ("classification", "choice") else 1)
    length = shots * shot + size.prompt + size.answer
    forward = forward_flops(shape, tokens=read + options, length=length, heads=options)
    decoding = 0.0
    if task.answer == "generation":
        tokens = rows * task.max_new_tokens
        decoding = forward_flops(shape, tokens=tokens, length=length, heads=tokens)
    return Work(flops=forward, tokens_in_pass=32 * max(size.prompt, size.answer), decoding=decoding, known=size.known)


def count_measurements(config: ProbeConfig) -> int:
    """How often a probe measures its rows."""
    probe = config.probe
    counts = {
        "gaussian": 1 + len(probe.gammas) * probe.seeds + (12 if probe.critical_increase else 0),
        "quantize": 1 + len(probe.kinds),
        "interpolate": 1 + len(probe.alphas),
        "sharpness": 6 * (probe.iterations + probe.samples),
        "format": 1,
        "representation": 2,
    }
    return counts[probe.name]


def work_of_probe(config: ProbeConfig, measured: list[Work]) -> Work:
    """Operations of a probe, from those of measuring its rows once."""
    times = count_measurements(config)
    return Work(
        flops=times * sum(work.flops for work in measured),
        tokens_in_pass=max((work.tokens_in_pass for work in measured), default=1.0),
        known=all(work.known for work in measured),
    )


def training_memory(config: TrainConfig, shape: Shape, *, micro_batch: int | None = None) -> float:
    """Bytes at the peak of a fine-tuning on one device."""
    trainer, regularizer = config.trainer, config.regularizer
    adapters = regularizer.name in ("lora", "qlora")
    trained = shape.parameters * (0.005 if adapters else 1.0)
    weights = shape.parameters * (0.6 if regularizer.name == "qlora" else BYTES_PER_WEIGHT[trainer.precision])
    moments = MOMENTS[config.optimizer.name] / (2 if trainer.precision == "bf16-true" else 1)
    gradients = BYTES_PER_WEIGHT[trainer.precision]
    anchors = 4 * shape.parameters if regularizer.name in ("l2sp", "ewc") else 0
    devices = (trainer.devices or 1) * trainer.num_nodes
    states = weights + trained * (moments + gradients) + anchors
    if trainer.strategy == "fsdp":
        states /= devices
    elif trainer.strategy in ZERO_STAGES:  # which keep a second copy of the weights that are trained
        divided, whole = trained * (4 + moments + gradients), weights
        if ZERO_STAGES[trainer.strategy] == 3:
            divided, whole = divided + weights, 0.0
        states = whole + divided / devices + 4 * min(trained, ZERO_BUCKET)
    if trainer.precision == "bf16-mixed" and not trainer.activation_checkpointing:
        states += 2 * shape.parameters  # the backward pass needs the weights that the forward pass has computed with
    size = size_of(config.task)
    tokens = min(2 * (size.prompt + size.answer), config.stage.max_length) * (
        micro_batch or trainer.micro_batch or config.stage.batch_size
    )
    per_token = ACTIVATION_BYTES[trainer.precision] * shape.hidden_size * shape.layers
    if trainer.activation_checkpointing:
        per_token = 2 * shape.hidden_size * shape.layers + ACTIVATION_BYTES[trainer.precision] * shape.hidden_size
    return states + tokens * per_token + WORKSPACE


def evaluation_memory(shape: Shape) -> float:
    """Bytes of an evaluation: the weights in fp32, a copy of the base, and the keys of a batch."""
    return 4.0 * shape.parameters * 1.3 + WORKSPACE
