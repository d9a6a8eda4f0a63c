r"""Gaussian noise on the weights.

θ̃ = θ + ε, ε ~ N(0, γ²Σ) with Σ diagonal, one standard deviation σ_t per tensor (Springer et al., arXiv 2503.19206,
section 3.3). The probe's ``normalisation`` says what σ_t is:

=========  ==========================================================================================================
init       standard deviation of the tensor's initialisation (the paper's): of the family's step 0 where there is one,
           else the catalogue's ``checkpoint.init_std`` for all matrices. A tensor whose initialisation has no variance
           (norm weights, biases) is not disturbed, and named in the record
rms        root mean square of the tensor's own weights, as they are now
frobenius  the noise of each tensor has exactly the norm γ‖W‖_F (the noise is rescaled; as filter normalisation,
           Li et al., arXiv 1712.09913, for whole tensors)
global     one σ for all: the root mean square of all chosen weights together
=========  ==========================================================================================================

For each γ and noise seed: the loss (score) of the disturbed model, and its increase (drop) against the undisturbed
one with a bootstrap interval paired over items. To second order E[increase] = ½ γ² Σ_t σ_t² tr(H_tt).

*Critical noise*: for each seed the γ at which the loss has risen by ``critical_increase`` nats, by bisection on a
logarithmic axis (the increase is taken to grow with γ). *Solution density*: the share of noise seeds that keep at least
τ of the undisturbed score (``solution_share``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pretune.config.probing import UNKNOWN_INIT
from pretune.errors import NonFiniteScores, UsageError
from pretune.evaluation.intervals import bootstrap_share
from pretune.probes.disturbing import Weights, standard_noise
from pretune.probes.meters import Meter, Reading, bootstrap
from pretune.probes.subject import Findings, Subject

BISECTIONS = 5
"""Halvings of the bracket of the critical noise: from a factor of 2 to one of 2^(1/32), 2 per cent."""
WIDENINGS = 8
"""Doublings (halvings) of γ tried to bracket the critical noise."""


def probe_gaussian(subject: Subject) -> Findings:
    """Measure the subject under noise of every γ and seed."""
    probe = subject.probe
    weights = Weights(subject.model, probe.tensors)
    stds, facts = find_stds(subject, weights)
    variant = probe.normalisation if "all" in probe.tensors else f"{probe.normalisation}/{'+'.join(probe.tensors)}"
    base = [meter.read(subject.model) for meter in subject.meters]
    rows = [describe(meter, reading, {"probe_variant": variant, "magnitude": 0.0})
            for meter, reading in zip(subject.meters, base, strict=True)]  # fmt: skip
    total, done = len(probe.gammas) * probe.seeds, 0
    increases: dict[int, dict[float, float]] = {}
    scores: dict[tuple[int, float], list[float]] = {}
    for seed in range(probe.seeds):
        for gamma in probe.gammas:
            with weights.changed(noisy(weights, stds, gamma, seed, exact_norm=probe.normalisation == "frobenius")):
                readings = [meter.read(subject.model) for meter in subject.meters]
            where = {"probe_variant": variant, "magnitude": gamma, "probe_seed": seed}
            for index, (meter, before, after) in enumerate(zip(subject.meters, base, readings, strict=True)):
                rows += [describe(meter, after, where), *compare(meter, before, after, where)]
                scores.setdefault((index, gamma), []).append(after.value)
            increases.setdefault(seed, {})[gamma] = readings[0].value - base[0].value
            done += 1
            subject.on_step(done, total)
    rows += measure_density(subject, base, scores, variant)
    if probe.critical_increase:
        for seed, known in increases.items():
            rows.append(search_critical(subject, weights, stds, base[0], known, seed, variant))
    return Findings(rows=rows, facts={**facts, "tensors": len(weights.parameters)})


def find_stds(subject: Subject, weights: Weights) -> tuple[dict[str, float], dict[str, Any]]:
    """σ of each tensor by the probe's normalisation, and where it comes from."""
    normalisation = subject.probe.normalisation
    if normalisation == "init":
        return initial_stds(subject, weights)
    squares = {name: float(value.double().square().sum()) for name, value in weights.kept.items()}
    sizes = {name: value.numel() for name, value in weights.kept.items()}
    if normalisation == "global":
        one = math.sqrt(sum(squares.values()) / sum(sizes.values()))
        return dict.fromkeys(squares, one), {"std": one}
    return {name: math.sqrt(squares[name] / sizes[name]) for name in squares}, {}


def initial_stds(subject: Subject, weights: Weights) -> tuple[dict[str, float], dict[str, Any]]:
    """Standard deviations of the initialisation, and their source; refused where neither source is there."""
    reference, stated = subject.reference, subject.init_std
    if reference is not None:
        stds = {name: float(reference.weights[name].detach().double().std(correction=0)) for name in weights.kept}
        facts: dict[str, Any] = {"init_source": f"empirical, {reference.label}"}
    elif stated is not None:
        stds = {name: stated if value.dim() > 1 else 0.0 for name, value in weights.kept.items()}
        facts = {"init_source": f"checkpoint.init_std={stated:g}"}
    else:
        raise UsageError(UNKNOWN_INIT)
    facts["undisturbed"] = [name for name, std in stds.items() if not std]
    if not any(stds.values()):
        raise UsageError("probe.normalisation=init: the initialisation of the chosen tensors has no variance")
    return stds, facts


def noisy(
    weights: Weights, stds: Mapping[str, float], gamma: float, seed: int, *, exact_norm: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights plus noise of size γ; ``exact_norm`` rescales each tensor's noise to norm γ‖W‖."""
    if not exact_norm:
        yield from weights.with_noise({name: gamma * std for name, std in stds.items()}, seed)
        return
    for name, kept in weights.kept.items():
        noise = standard_noise(name, kept, seed)
        yield name, kept + noise * (gamma * kept.norm() / noise.norm())


def describe(meter: Meter, reading: Reading, where: Mapping[str, Any]) -> dict[str, Any]:
    """One row: the value itself, with the interval over items."""
    interval = reading.interval()
    return {
        **where,
        "eval_task": meter.task.name,
        "scorer": meter.scorer,
        "metric": meter.metric,
        "value": interval.value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n": interval.n,
    }


def compare(meter: Meter, before: Reading, after: Reading, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The damage: ``<metric>_increase`` of a loss (and the rise of the perplexity), ``<metric>_drop`` of a score.

    The interval is paired: it resamples items, each with both of its values.
    """
    sign, name = (1.0, "increase") if meter.less_is_better else (-1.0, "drop")
    interval = bootstrap(sign * (after.totals - before.totals), before.weights)
    row = {**describe(meter, after, where), "metric": f"{meter.metric}_{name}"}
    row |= {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high}
    if meter.metric != "loss":
        return [row]
    rise = math.exp(min(after.value, 700.0)) - math.exp(before.value)
    return [row, {**row, "metric": "perplexity_increase", "value": rise, "ci_low": None, "ci_high": None}]


def measure_density(
    subject: Subject, base: list[Reading], scores: Mapping[tuple[int, float], list[float]], variant: str
) -> list[dict[str, Any]]:
    """Solution density of every scored task and γ, with the exact binomial interval where all seeds agree."""
    rows = []
    for (index, gamma), values in scores.items():
        meter = subject.meters[index]
        if meter.less_is_better:
            continue
        kept = [float(value >= subject.probe.solution_share * base[index].value) for value in values]
        interval = bootstrap_share(kept)
        rows.append(
            {
                "probe_variant": variant,
                "magnitude": gamma,
                "eval_task": meter.task.name,
                "scorer": meter.scorer,
                "metric": "solution_density",
                "value": interval.value,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "n": interval.n,
            }
        )
    return rows


def search_critical(
    subject: Subject,
    weights: Weights,
    stds: Mapping[str, float],
    base: Reading,
    known: dict[float, float],
    seed: int,
    variant: str,
) -> dict[str, Any]:
    """Critical noise of one seed; ``known`` holds the increases measured already and gets the new ones.

    The value is null where :data:`WIDENINGS` doublings of γ do not lead past the wanted increase.
    """
    meter, wanted = subject.meters[0], subject.probe.critical_increase
    exact = subject.probe.normalisation == "frobenius"

    def increase(gamma: float) -> float:
        if gamma not in known:
            with weights.changed(noisy(weights, stds, gamma, seed, exact_norm=exact)):
                try:
                    known[gamma] = meter.read(subject.model).value - base.value
                except NonFiniteScores:
                    known[gamma] = math.inf
        return known[gamma]

    low = max((gamma for gamma, value in known.items() if value < wanted), default=min(known) / 2)
    high = min((gamma for gamma, value in known.items() if value >= wanted and gamma > low), default=2 * low)
    for _ in range(WIDENINGS):
        if increase(low) < wanted:
            break
        low, high = low / 2, low
    for _ in range(WIDENINGS):
        if increase(high) >= wanted:
            break
        low, high = high, 2 * high
    found = increase(low) < wanted <= increase(high)
    for _ in range(BISECTIONS if found else 0):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if increase(middle) < wanted else (low, middle)
    return {
        "probe_variant": variant,
        "magnitude": wanted,
        "probe_seed": seed,
        "eval_task": meter.task.name,
        "scorer": meter.scorer,
        "metric": "critical_noise",
        "value": math.sqrt(low * high) if found else None,
        "n": len(base.totals),
    }
