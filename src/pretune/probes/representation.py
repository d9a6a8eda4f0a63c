"""Hidden states: what is in them, how many dimensions they use, and how far they have moved.

Per layer (``probe_variant`` is ``layer:N``; 0 are the embeddings):

* on the tokens of the pre-training text: ``rankme`` and ``alpha_req`` (:mod:`pretune.probes.geometry`; the phases of
  arXiv 2509.23024), and against the reference checkpoint on the same tokens ``cka`` and ``principal_angle`` (mean angle
  of the first ten principal directions, arXiv 2604.13627);
* for each classification task: ``probe_accuracy``, a linear probe (Alain & Bengio, arXiv 1610.01644) on the hidden
  state of the prompt's last token: standardised features, logistic regression with an L2 penalty chosen inside each
  fold, accuracy over held-out folds. What fine-tuning could reveal is in the states if a line can separate it.

Of the weights: ``weight_norm``, and against the reference ``weight_distance`` and ``relative_distance`` (over the
reference's norm). The reference is step 0 of the family where there is one, or ``probe.reference_step``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pretune.config.science import Format, Task
from pretune.data.examples import Example
from pretune.errors import DataError
from pretune.evaluation.evaluate import gold_of, make_encoder
from pretune.evaluation.forward import evaluating
from pretune.evaluation.intervals import bootstrap_mean
from pretune.evaluation.likelihood import separator_id
from pretune.evaluation.prompting import render_fitting
from pretune.modeling import input_device
from pretune.probes.disturbing import Weights
from pretune.probes.geometry import alpha_req, linear_cka, mean_principal_angle, rankme
from pretune.probes.meters import encode_texts
from pretune.probes.subject import Findings, Subject

Reals = npt.NDArray[np.float64]

MOST_TOKENS = 4096
"""Token states at most, evenly spaced over the texts."""
DIRECTIONS = 10
PENALTIES = 5
"""Strengths of the penalty tried for each linear probe, 10^-4 … 10^4."""


def probe_representation(subject: Subject) -> Findings:
    """Measure the subject's hidden states and weights."""
    probe, model = subject.probe, subject.model
    weights = Weights(model)
    text = subject.meters[0].task.name
    texts = subject.examples[0][: probe.texts]
    states = token_states(model, subject.tokenizer, texts)
    rows = [row for layer, features in enumerate(states) for row in describe_spectrum(layer, text, features)]
    rows.append({"metric": "weight_norm", "value": norm_of(weights.kept)})
    facts: dict[str, Any] = {"tokens": len(states[0])}
    if subject.reference is not None:
        start = {name: subject.reference.weights[name].detach() for name in weights.kept}
        with weights.changed(iter(start.items())):
            others = token_states(model, subject.tokenizer, texts)
        for layer, (features, other) in enumerate(zip(states, others, strict=True)):
            rows += compare_states(layer, text, features, other)
        distance = norm_of({name: value - start[name] for name, value in weights.kept.items()})
        rows += [
            {"metric": "weight_distance", "value": distance},
            {"metric": "relative_distance", "value": distance / max(norm_of(start), 1e-30)},
        ]
        facts["reference"] = subject.reference.label
    scored = [pair for pair in zip(subject.meters, subject.examples, strict=True) if pair[0].task.labels]
    for number, (meter, examples) in enumerate(scored, start=1):
        rows += probe_task(subject, meter.task, examples)
        subject.on_step(number, len(scored))
    return Findings(rows=rows, facts=facts)


def token_states(model: Any, tokenizer: Any, examples: Sequence[Example]) -> list[Reals]:
    """Hidden states [tokens, hidden] of every layer at the tokens of the texts, embeddings first."""
    encoder = make_encoder(model, tokenizer)
    lead = separator_id(encoder)
    sequences = [[lead, *ids][: encoder.max_length] for ids in encode_texts(encoder, examples) if ids]
    stride = max(1, math.ceil(sum(map(len, sequences)) / MOST_TOKENS))
    layers: list[list[Reals]] = []
    for ids in sequences:
        states = run_layers(model, ids)
        layers = layers or [[] for _ in states]
        for found, state in zip(layers, states, strict=True):
            found.append(state[::stride])
    return [np.concatenate(found) for found in layers]


def run_layers(model: Any, ids: Sequence[int]) -> list[Reals]:
    """Hidden states [length, hidden] of every layer for one sequence."""
    with evaluating(model):
        inputs = torch.tensor([list(ids)], device=input_device(model))
        output = model(input_ids=inputs, output_hidden_states=True, use_cache=False)
        return [state[0].double().cpu().numpy() for state in output.hidden_states]


def describe_spectrum(layer: int, task: str, features: Reals) -> list[dict[str, Any]]:
    """Effective rank and decay of the spectrum of one layer."""
    where = {"probe_variant": f"layer:{layer}", "eval_task": task, "n": len(features)}
    found = [{**where, "metric": "rankme", "value": rankme(features)}]
    alpha = alpha_req(features)
    return found if math.isnan(alpha) else [*found, {**where, "metric": "alpha_req", "value": alpha}]


def compare_states(layer: int, task: str, features: Reals, other: Reals) -> list[dict[str, Any]]:
    """Similarity of one layer's states with the reference's on the same tokens."""
    where = {"probe_variant": f"layer:{layer}", "eval_task": task, "n": len(features)}
    angle = mean_principal_angle(features, other, dimensions=DIRECTIONS)
    return [
        {**where, "metric": "cka", "value": linear_cka(features, other)},
        {**where, "metric": "principal_angle", "value": angle},
    ]


def norm_of(tensors: Mapping[str, torch.Tensor]) -> float:
    """Euclidean norm of all elements."""
    return math.sqrt(math.fsum(float(value.double().square().sum()) for value in tensors.values()))


def probe_task(subject: Subject, task: Task, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Accuracy of a linear probe on each layer, with the interval over items."""
    golds = np.array([gold_of(task, example) for example in examples])
    features = prompt_states(subject, task, subject.formats[task.name], examples)
    rows = []
    for layer, states in enumerate(features):
        right = cross_validate(states, golds, folds=subject.probe.folds)
        interval = bootstrap_mean(right)
        rows.append(
            {
                "probe_variant": f"layer:{layer}",
                "eval_task": task.name,
                "metric": "probe_accuracy",
                "value": interval.value,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "n": interval.n,
            }
        )
    return rows


def prompt_states(subject: Subject, task: Task, format_: Format, examples: Sequence[Example]) -> list[Reals]:
    """Hidden state of every layer at the last token of each prompt: [items, hidden]."""
    encoder = make_encoder(subject.model, subject.tokenizer)
    prompts, _ = render_fitting(encoder, examples, task=task, format_=format_, shots=(), reserve=0)
    states = []
    for encoded in encoder.encode_many([(prompt, prompt.completions[0]) for prompt in prompts]):
        ids = encoded.ids[: encoded.context] or (separator_id(encoder),)
        states.append([layer[-1] for layer in run_layers(subject.model, ids)])
    return [np.stack(layer) for layer in zip(*states, strict=True)]


def cross_validate(features: Reals, golds: npt.NDArray[np.int64], *, folds: int) -> Reals:
    """Whether each item is classified rightly by a probe that was fitted to the other folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fewest = int(np.bincount(golds)[np.unique(golds)].min())
    kept = fewest - -(-fewest // folds)  # of the rarest label, while a fold is held out
    if len(np.unique(golds)) < 2 or fewest < folds or kept < 2:
        raise DataError(f"probe.folds={folds}: the rarest label has only {fewest} items; evaluate more rows")
    grid = {"logisticregression__C": np.logspace(-4, 4, PENALTIES)}
    inner = StratifiedKFold(n_splits=min(3, kept), shuffle=True, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), grid, cv=inner)
    outer = StratifiedKFold(n_splits=folds, shuffle=True, random_state=0)
    predicted = cross_val_predict(search, features, golds, cv=outer)
    return np.asarray(predicted == golds, dtype=np.float64)
