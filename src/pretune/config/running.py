"""Configuration values that describe *how* and *where* a study runs, and the whole configuration of each script."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.config.options import option
from pretune.config.science import LARGEST_SEED, Checkpoint, Format, Optimizer, Regularizer, Stage, Task

MODES = ("run", "plan", "status", "retry", "show", "contamination", "checkpoints", "verify", "prefetch")
SHOT_SAMPLING = ("fixed", "balanced", "per_row")
ZERO_STAGES = {"deepspeed_zero2": 2, "deepspeed_zero3": 3}
"""DeepSpeed's strategies: what its processes divide grows with the stage."""
ZERO_BUCKET = 500_000_000
"""Elements that DeepSpeed's processes exchange at a time, at most."""
SHARDED = ("fsdp", *ZERO_STAGES)
"""Strategies in which each process holds a part of the weights, of the gradients or of the optimizer's state."""
STRATEGIES = ("single", "ddp", *SHARDED)


SESSION_KEYS = (
    "study_dir", "cache_dir", "cache", "mode", "fail_fast", "logger",
    "trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes",
    "plan.device", "plan.cells", "plan.follow", "plan.file",
)  # fmt: skip
"""Keys that hold for a whole command: they are neither swept nor set by a file of cells."""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The machine side of training."""

    precision: str = option(
        "bf16-mixed",
        help="bf16-mixed: fp32 master weights, bf16 compute; 32-true: all fp32; bf16-true: bf16 weights",
        choices=("bf16-mixed", "32-true", "bf16-true"),
    )
    rounding: str = option(
        "stochastic",
        help="how updates are added to bf16 weights (bf16-true); nearest loses small ones, and says how many",
        choices=("stochastic", "kahan", "nearest"),
    )
    micro_batch: int | None = option(
        None, help="rows per forward pass; null: as many as fit into memory", minimum=1, scientific=False
    )
    batching: str = option(
        "auto",
        help="rows of a forward pass: packed one after another without padding, or padded; auto: packed where exact",
        choices=("auto", "packed", "padded"),
        scientific=False,
    )
    activation_checkpointing: bool = option(
        False, help="recompute activations in the backward pass: less memory, more time", scientific=False
    )
    compile: bool = option(False, help="compile the transformer blocks with torch.compile", scientific=False)
    accelerator: str = option("auto", help="device", choices=("auto", "cpu", "gpu"), scientific=False)
    strategy: str = option(
        "single",
        help="processes per cell: single: one; ddp: one per device, each with all weights; others: each with a part",
        choices=STRATEGIES,
        scientific=False,
    )
    devices: int | None = option(
        None, help="devices of each machine that share a cell; null: all GPUs", minimum=1, scientific=False
    )
    num_nodes: int = option(1, help="machines that share a cell, each started by torchrun", minimum=1, scientific=False)
    threads: int | None = option(
        None, help="torch threads; null: 1 below 5 M parameters, else the cores", minimum=1, scientific=False
    )
    save_seconds: float = option(60.0, help="seconds between step checkpoints", above=0, scientific=False)
    save_gigabytes: float | None = option(
        None, help="most disk that the study's step checkpoints may take; null: no bound", above=0, scientific=False
    )


@dataclass(frozen=True, kw_only=True)
class Logger:
    """Where training is logged besides the results table."""

    name: str = option("wandb", help="kind of logger", choices=("wandb", "csv", "none"), scientific=False)
    project: str = option("pretune", help="W&B project", nonempty=True, scientific=False)
    entity: str | None = option(None, help="W&B team or user", scientific=False)
    group: str | None = option(None, help="W&B group; null: study and axes of the sweep", scientific=False)
    offline: bool | None = option(None, help="null: offline when no key or no network is found", scientific=False)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Which rows evaluate.py evaluates, and what it stores of them."""

    limit: int | None = option(None, help="rows per evaluation, drawn by seed; null: all", minimum=1)
    keep_prompts: bool = option(False, help="store the prompts in items.parquet", scientific=False)
    decode: bool = option(False, help="also let the model answer classification tasks freely (scorer generate)")


@dataclass(frozen=True, kw_only=True)
class Eval(Sample):
    """How train.py evaluates base and tuned models."""

    formats: tuple[str, ...] = option(("default",), help="prompt formats", nonempty=True)
    shots: tuple[int, ...] = option((0,), help="numbers of shots", nonempty=True, minimum=0)
    relations: tuple[str, ...] = option(
        ("validation", "in_domain", "out_of_domain", "cross_task", "pretraining"),
        help="which evaluations are made",
        choices=("validation", "in_domain", "out_of_domain", "cross_task", "pretraining"),
    )


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """What evaluated rows are looked up in (``mode=contamination``)."""

    text: str = option("c4", help="task of plain text (or text, with a path)", nonempty=True, scientific=False)
    path: str | None = option(None, help="folder of the text, instead of the task's own rows", scientific=False)
    rows: int | None = option(
        None, help="documents read from the start; null: as the task says", minimum=1, scientific=False
    )
    ngram: int = option(13, help="words of an n-gram", minimum=2, scientific=False)


@dataclass(frozen=True, kw_only=True)
class Cache:
    """What is done with the Hub's cache."""

    evict: bool = option(
        False, help="remove a checkpoint's files from the Hub's cache once its last cell is done", scientific=False
    )


DEVICES = ("B200", "H200", "H100", "A100", "L40S", "L4", "A10", "RTX 4090", "CPU")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``mode=plan`` and ``mode=status`` show."""

    device: str | None = option(
        None,
        help="accelerator that costs are estimated for; null: the one of the study's finished runs",
        choices=DEVICES,
        scientific=False,
    )
    cells: bool | None = option(None, help="list every cell; null: where there are at most 60", scientific=False)
    follow: float | None = option(
        None, help="mode=status: show again after so many seconds, until nothing is missing", above=0, scientific=False
    )
    file: str | None = option(
        None, help="CSV file that mode=plan and mode=status write every cell to", nonempty=True, scientific=False
    )


@dataclass(frozen=True, kw_only=True)
class Common:
    """Keys that every script has."""

    study_dir: str = option("studies/default", help="folder of the results", nonempty=True, scientific=False)
    cache_dir: str = option("~/.cache/pretune", help="folder of ladders and caches", nonempty=True, scientific=False)
    cache: Cache = option(factory=Cache, help="what is done with the Hub's cache")
    debug: bool = option(False, help="show tracebacks", scientific=False)
    chunk: str | None = option(
        None, help="set by the sweeper for a launcher's job: file with its cells", scientific=False
    )


@dataclass(frozen=True, kw_only=True)
class Search:
    """How learning rates are searched."""

    name: str = option(
        "none",
        help="optuna: rates are proposed for each checkpoint and task by what held-out rows said of earlier ones",
        choices=("none", "optuna"),
        scientific=False,
    )
    trials: int = option(8, help="learning rates tried at each point of the sweep", minimum=1, scientific=False)
    lr: tuple[float, ...] = option(
        (1e-6, 1e-3), help="lowest and highest rate; proposed on a logarithmic scale", above=0, scientific=False
    )
    startup: int = option(
        4, help="trials that cover the range evenly, before the sampler learns from them", minimum=1, scientific=False
    )
    seed: int = option(0, help="seed of the sampler", minimum=0, scientific=False)


@dataclass(frozen=True, kw_only=True)
class Swept(Common):
    """Keys of the scripts that are swept (``-m``)."""

    pairs: str | None = option(
        None,
        help="axes walked together (with -m): pairs=checkpoint=step342k,step738k:optimizer.lr=2e-6,2e-7",
        scientific=False,
    )
    only: str | None = option(
        None,
        help="points to keep (with -m): only=format=io:task=mnli,rte has format io for these tasks alone",
        scientific=False,
    )
    cells: str | None = option(
        None, help="CSV file with one point per row (with -m); its columns are keys", scientific=False
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Swept):
    """``train.py``: fine-tune a checkpoint on a task, then evaluate base and tuned model."""

    checkpoint: Checkpoint = option(factory=Checkpoint, help="starting weights")
    task: Task = option(factory=Task, help="training task")
    format: Format = option(factory=Format, help="training format")
    stage: Stage = option(factory=Stage, help="kind of training")
    optimizer: Optimizer = option(factory=Optimizer, help="optimizer")
    regularizer: Regularizer = option(factory=Regularizer, help="regularisation")
    trainer: Trainer = option(factory=Trainer, help="machine side of training")
    plan: Plan = option(factory=Plan, help="what mode=plan and mode=status show")
    logger: Logger = option(factory=Logger, help="logger")
    eval: Eval = option(factory=Eval, help="evaluation of base and tuned model")
    seed: int = option(0, help="seed of rows, order and dropout", minimum=0, maximum=LARGEST_SEED)
    shot_sampling: str = option(
        "fixed", help="the same shots before all rows, with classes as equal, or each row's own", choices=SHOT_SAMPLING
    )
    shot_seed: int = option(0, help="seed of the shots and of the evaluated sample", minimum=0, maximum=LARGEST_SEED)
    mode: str = option("run", help="run: compute the cells; others show or fetch", choices=MODES, scientific=False)
    fail_fast: bool = option(False, help="stop at the first failed cell", scientific=False)
    search: Search = option(factory=Search, help="search for learning rates")
    select: str | None = option(
        None,
        help="mark the best learning rate per checkpoint and task: in_domain, on held-out rows of the training task",
        choices=("in_domain",),
        scientific=False,
    )
    keep_model: str | None = option(
        None,
        help="fine-tuned weights to keep; null: all below 50 M parameters, else selected",
        choices=("none", "selected", "all"),
        scientific=False,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Swept):
    """``evaluate.py``: evaluate a base checkpoint, or a trained run, on a task in a format."""

    checkpoint: Checkpoint = option(factory=Checkpoint, help="weights to evaluate")
    run: str | None = option(
        None, help="run_id of a trained run (or a unique prefix, or 'all'), instead of a checkpoint"
    )
    task: Task = option(factory=Task, help="evaluated task")
    suite: str | None = option(None, help="a training task whose whole map is evaluated, instead of a task")
    format: Format = option(factory=Format, help="prompt format")
    shots: int = option(0, help="number of shots", minimum=0)
    shot_sampling: str = option(
        "fixed", help="the same shots before all rows, with classes as equal, or each row's own", choices=SHOT_SAMPLING
    )
    shot_seed: int = option(0, help="seed of the shots and of the evaluated sample", minimum=0, maximum=LARGEST_SEED)
    trainer: Trainer = option(factory=Trainer, help="machine side")
    plan: Plan = option(factory=Plan, help="what mode=plan and mode=status show")
    logger: Logger = option(factory=Logger, help="logger")
    eval: Sample = option(factory=Sample, help="which rows")
    contamination: Contamination = option(factory=Contamination, help="text in which evaluated rows are looked up")
    mode: str = option("run", help="run: compute the cells; others show or fetch", choices=MODES, scientific=False)
    fail_fast: bool = option(False, help="stop at the first failed cell", scientific=False)


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Results that others published, read into the same report."""

    file: str | None = option(None, help="published results to report on, beside the study's own or alone")
    format: str = option("tidy", help="how they are written", choices=("amuro_char", "lm_eval", "pythia", "tidy"))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What report.py writes."""

    format: str = option("page", help="page; paper: figures for a paper, too (PDF, SVG)", choices=("page", "paper"))
    width: float = option(5.5, help="width of the figures for a paper, in inches", above=0)


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Common):
    """``report.py``: from the table of results to a page."""

    compare: tuple[str, ...] = option(
        (),
        help="print a comparison of the first run with each other one instead: run_ids, their beginnings, 'base'",
        scientific=False,
    )
    alpaca_eval: tuple[str, ...] = option(
        (),
        help="write the generated answers of these evaluations for AlpacaEval instead: run_ids or their beginnings",
        scientific=False,
    )
    published: PublishedTable = option(factory=PublishedTable, help="results that others published")
    report: Layout = option(factory=Layout, help="what is written")
    logger: Logger = option(factory=Logger, help="logger that gets the tables as one summary run")
