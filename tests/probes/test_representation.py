from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretune.config.probing import Probe
from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.errors import DataError
from pretune.probes.geometry import alpha_req, linear_cka, mean_principal_angle, rankme
from pretune.probes.meters import ChoiceMeter, TextMeter
from pretune.probes.representation import cross_validate, probe_representation
from pretune.probes.subject import Reference, Subject
from support.models import SENTENCES, make_model, make_tokenizer

RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(RNG.normal(size=(20, 20)))[0]


def of_spectrum(values, rows=400):
    """A matrix with these singular values."""
    columns = np.linalg.qr(RNG.normal(size=(rows, len(values))))[0]
    return columns * np.array(values) @ ROTATION[: len(values)]


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_rankme_of_equal_singular_values_is_their_number(rank):
    assert rankme(of_spectrum([2.0] * rank)) == pytest.approx(rank, rel=1e-3)


def test_rankme_falls_when_one_direction_dominates():
    assert rankme(of_spectrum([100.0, 1, 1, 1])) < 1.4 < rankme(of_spectrum([2.0, 1, 1, 1]))


def test_alpha_req_is_the_exponent_of_a_power_law():
    features = of_spectrum([(index + 1) ** -0.75 for index in range(20)], rows=4000)
    features -= features.mean(axis=0)
    assert alpha_req(features) == pytest.approx(1.5, abs=0.1)
    assert math.isnan(alpha_req(of_spectrum([1.0, 0.5])))


def test_cka_does_not_see_rotation_scale_and_shift_but_other_features():
    one = RNG.normal(size=(300, 20))
    assert linear_cka(one, 3 * one @ ROTATION + 5) == pytest.approx(1)
    assert linear_cka(one, RNG.normal(size=(300, 20))) < 0.2


def test_principal_angles_between_equal_tilted_and_perpendicular_spaces():
    coordinates, axes = RNG.normal(size=(500, 2)) * [5, 3], np.eye(6)
    tilt = math.pi / 6
    turned = np.stack([math.cos(tilt) * axes[0] + math.sin(tilt) * axes[2], axes[1]])
    flat = coordinates @ axes[:2]
    assert mean_principal_angle(flat, 2 * flat, dimensions=2) == pytest.approx(0, abs=1e-6)
    assert mean_principal_angle(flat, coordinates @ axes[4:], dimensions=2) == pytest.approx(math.pi / 2)
    assert mean_principal_angle(flat, coordinates @ turned, dimensions=2) == pytest.approx(tilt / 2, abs=1e-6)


def test_the_linear_probe_finds_a_line_and_is_at_chance_on_noise():
    golds = np.arange(120) % 3
    features = RNG.normal(size=(120, 8))
    separable = features + 6 * np.eye(8)[golds]
    assert cross_validate(separable, golds, folds=4).mean() > 0.97
    assert cross_validate(features, golds, folds=4).mean() < 0.55
    with pytest.raises(DataError, match=r"probe\.folds=9: the rarest label has only 1 items"):
        cross_validate(features[:10], np.array([0] * 9 + [1]), folds=9)
    with pytest.raises(DataError, match=r"probe\.folds=2: the rarest label has only 3 items"):
        cross_validate(features[:9], golds[:9], folds=2)  # one of three would be left to choose the penalty by


def test_a_probe_of_every_layer_and_the_distance_to_another_checkpoint():
    model, other, tokenizer = make_model(seed=0), make_model(seed=1), make_tokenizer("word")
    text = Task(name="text", family="text", answer="language")
    texts = [Example(id=str(i), target=sentence) for i, sentence in enumerate(SENTENCES[:8])]
    task = Task(name="pair", family="pair", labels={"0": "yes", "1": "no"})
    format_ = Format(name="f", templates={"pair": Template(prompt="{a}")})
    words = ("a small bird", "in the garden")
    items = [
        Example(id=str(i), fields={"a": f"{SENTENCES[i]} {words[i % 2]}"}, options=("yes", "no"), gold=i % 2,
                target="yes") for i in range(24)
    ]  # fmt: skip
    subject = Subject(
        model=model, tokenizer=tokenizer, examples=[texts, items], formats={"pair": format_},
        meters=[TextMeter(model, tokenizer, text, texts), ChoiceMeter(model, tokenizer, task, format_, items)],
        probe=Probe(name="representation", folds=3),
        reference=Reference(label="step0", weights=dict(other.named_parameters())),
    )  # fmt: skip
    before = [parameter.detach().clone() for parameter in model.parameters()]
    found = {(row["metric"], row.get("probe_variant")): row["value"] for row in probe_representation(subject).rows}
    layers = {f"layer:{layer}" for layer in range(model.config.num_hidden_layers + 1)}
    for metric in ("rankme", "cka", "principal_angle", "probe_accuracy"):
        assert {variant for name, variant in found if name == metric} == layers
    assert found["probe_accuracy", "layer:1"] > 0.9
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    square = sum(float((a - b).detach().square().sum()) for a, b in pairs)
    assert found["weight_distance", None] == pytest.approx(math.sqrt(square), rel=1e-5)
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))
