"""Configuration values of ``probe.py``: which probe, how strong, on which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pretune.config.options import option
from pretune.config.running import Logger, Plan, Sample, Swept, Trainer
from pretune.config.science import LARGEST_SEED, Checkpoint, Format

NORMALISATIONS = ("init", "rms", "frobenius", "global")
TENSORS = ("all", "attention", "mlp", "embeddings", "norms")
"""Groups of tensors; ``layer:N`` stands for one block besides."""
LAYER = r"layer:(\d+)"
QUANTISATIONS = ("nf4", "int8", "rtn3", "rtn4", "rtn8")

UNKNOWN_INIT = (
    "probe.normalisation=init: the family has no step 0 and the catalogue no checkpoint.init_std; "
    "valid: rms, frobenius, global (or give checkpoint.init_std)"
)

PROBE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "gaussian": ("tensors", "normalisation", "gammas", "seeds", "critical_increase", "solution_share"),
    "quantize": ("tensors", "kinds", "group_size"),
    "interpolate": ("alphas",),
    "sharpness": ("tensors", "texts", "samples", "iterations", "seeds"),
    "representation": ("texts", "reference_step", "folds"),
    "format": ("formats", "paraphrases"),
}
"""Probe → the fields that it looks at, which are part of its cells' identity."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe with its settings; each probe looks at some of them (:data:`PROBE_FIELDS`)."""

    name: str = option("gaussian", help="kind of probe", choices=tuple(PROBE_FIELDS))
    tensors: tuple[str, ...] = option(
        ("all",), help="tensors that are disturbed: all, attention, mlp, embeddings, norms, layer:N", nonempty=True
    )
    normalisation: str = option(
        "init", help="what γ is a multiple of, for each tensor (gaussian)", choices=NORMALISATIONS
    )
    gammas: tuple[float, ...] = option((0.1, 0.2, 0.4), help="sizes γ of the noise (gaussian)", nonempty=True, above=0)
    seeds: int = option(5, help="noise seeds (gaussian), or seeds of the random vectors (sharpness)", minimum=1)
    critical_increase: float = option(
        0.1, help="loss increase, in nats, that defines the critical noise; 0: not looked for (gaussian)", minimum=0
    )
    solution_share: float = option(0.9, help="share τ of a score that a solution keeps (gaussian)", above=0, maximum=1)
    kinds: tuple[str, ...] = option(
        QUANTISATIONS, help="quantisations (quantize)", nonempty=True, choices=QUANTISATIONS
    )
    group_size: int = option(64, help="weights that share a scale in rtn… (quantize)", minimum=2)
    alphas: tuple[float, ...] = option(
        (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5), help="places on the line base → tuned (interpolate)", nonempty=True
    )
    texts: int = option(64, help="texts that the loss or the features are computed on", minimum=2)
    samples: int = option(16, help="random vectors of the trace estimate (sharpness)", minimum=2)
    iterations: int = option(20, help="steps of the Lanczos iteration (sharpness)", minimum=2)
    reference_step: int | None = option(
        None, help="checkpoint of the same family to compare with; null: step 0 if there is one", minimum=0
    )
    formats: tuple[str, ...] = option(("default", "instruct", "io"), help="prompt formats (format)", nonempty=True)
    paraphrases: int = option(5, help="paraphrases of the prompt, besides the formats (format)", minimum=0)
    wordings: dict[str, tuple[str, ...]] = option(
        factory=dict, help="family of tasks → written prompts that paraphrases are made of (format)"
    )
    folds: int = option(5, help="folds of the cross-validated linear probe (representation)", minimum=2)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Swept):
    """``probe.py``: disturb a checkpoint, or a trained run, and measure what becomes of it."""

    checkpoint: Checkpoint = option(factory=Checkpoint, help="weights to probe")
    run: str | None = option(
        None, help="run_id of a trained run (or a unique prefix, or 'all'), instead of a checkpoint"
    )
    probe: Probe = option(factory=Probe, help="the probe")
    text: str | None = option(None, help="task whose text is measured; null: the checkpoint's pre-training text")
    tasks: tuple[str, ...] = option((), help="classification and choice tasks measured besides the text")
    format: Format = option(factory=Format, help="prompt format of the tasks")
    shot_sampling: str = option("fixed", help="how shots are chosen", choices=("fixed",))
    shot_seed: int = option(0, help="seed of the evaluated sample", minimum=0, maximum=LARGEST_SEED)
    trainer: Trainer = option(factory=Trainer, help="machine side")
    plan: Plan = option(factory=Plan, help="what mode=plan and mode=status show")
    logger: Logger = option(factory=Logger, help="logger")
    eval: Sample = option(factory=Sample, help="which rows")
    mode: str = option(
        "run",
        help="run: compute the cells; others show or fetch",
        choices=("run", "plan", "status", "retry", "verify", "prefetch"),
        scientific=False,
    )
    fail_fast: bool = option(False, help="stop at the first failed cell", scientific=False)
