from __future__ import annotations

import numpy as np
import pytest
import torch

from pretune.config.probing import Probe
from pretune.config.science import Task
from pretune.data.examples import Example
from pretune.probes.curvature import LossSurface, directional, estimate_trace, find_extremes, flatten
from pretune.probes.meters import TextMeter
from pretune.probes.sharpness import make_parts, probe_sharpness
from pretune.probes.subject import Subject
from support.models import SENTENCES, make_model, make_tokenizer

TASK = Task(name="text", family="text", answer="language")
TEXTS = [Example(id=str(index), target=text) for index, text in enumerate(SENTENCES[:6])]


@pytest.fixture(scope="module")
def network():
    """A network of 27 weights with two batches of data, its exact Hessian, and its surface."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double().float()
    inputs, targets = torch.randn(20, 3), torch.randint(0, 2, (20,))
    parameters = list(net.parameters())

    def part(start):
        return torch.nn.functional.cross_entropy(
            net(inputs[start : start + 10]), targets[start : start + 10], reduction="sum"
        ) / len(inputs)

    surface = LossSurface([lambda: part(0), lambda: part(10)], parameters)

    def loss(flat):
        pieces, at = [], 0
        for parameter in parameters:
            pieces.append(flat[at : at + parameter.numel()].reshape(parameter.shape))
            at += parameter.numel()
        names = [name for name, _ in net.named_parameters()]
        output = torch.func.functional_call(net, dict(zip(names, pieces, strict=True)), inputs)
        return torch.nn.functional.cross_entropy(output, targets)

    flat = flatten([parameter.detach() for parameter in parameters])
    return surface, torch.autograd.functional.hessian(loss, flat), torch.autograd.functional.jacobian(loss, flat)


def test_products_gradient_and_curvature_match_the_exact_hessian(network):
    surface, hessian, gradient = network
    vector = torch.randn(len(hessian), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(surface.product(vector), hessian @ vector, atol=1e-5)
    assert torch.allclose(surface.gradient(), gradient, atol=1e-6)
    expected = float(vector @ hessian @ vector / (vector @ vector))
    assert directional(surface.product, 3 * vector) == pytest.approx(expected, abs=1e-6)


def test_lanczos_finds_the_extreme_eigenvalues_of_the_exact_hessian(network):
    surface, hessian, _ = network
    smallest, largest = find_extremes(
        surface.product, len(hessian), iterations=len(hessian), generator=torch.Generator().manual_seed(0)
    )
    values = torch.linalg.eigvalsh(hessian.double())
    assert largest == pytest.approx(float(values[-1]), rel=1e-4)
    assert smallest == pytest.approx(float(values[0]), abs=1e-4 * float(values[-1]))


def test_hutchinson_meets_the_exact_trace_within_its_standard_error(network):
    surface, hessian, _ = network
    trace = float(hessian.trace())
    found = [
        estimate_trace(surface.product, len(hessian), samples=50, generator=torch.Generator().manual_seed(seed))
        for seed in range(20)
    ]
    scores = [(estimate.value - trace) / estimate.error for estimate in found]
    assert np.std(scores) == pytest.approx(1, abs=0.6)
    assert max(map(abs, scores)) < 4


def test_the_probe_measures_the_loss_that_is_evaluated_and_leaves_the_weights_alone():
    model, tokenizer = make_model(), make_tokenizer("word")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    meter = TextMeter(model, tokenizer, TASK, TEXTS)
    subject = Subject(
        model=model, tokenizer=tokenizer, meters=[meter], examples=[TEXTS],
        probe=Probe(name="sharpness", texts=6, samples=2, iterations=3, seeds=2),
        base={name: value + 0.01 for name, value in model.state_dict().items()},
    )  # fmt: skip
    found = probe_sharpness(subject)
    metrics = [row["metric"] for row in found.rows]
    assert metrics.count("hessian_trace") == metrics.count("top_eigenvalue") == 2
    assert {"gradient_norm", "gradient_curvature", "update_curvature", "critical_sharpness"} < set(metrics)
    assert found.facts["loss"] == pytest.approx(meter.read(model).value, rel=1e-5)
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


def test_the_critical_step_is_where_the_loss_stops_falling():
    model, tokenizer = make_model(), make_tokenizer("word")
    meter = TextMeter(model, tokenizer, TASK, TEXTS)
    subject = Subject(
        model=model, tokenizer=tokenizer, meters=[meter], examples=[TEXTS],
        probe=Probe(name="sharpness", samples=2, iterations=2),
    )  # fmt: skip
    (sharpness,) = [r["value"] for r in probe_sharpness(subject).rows if r["metric"] == "critical_sharpness"]
    parts, _ = make_parts(model, tokenizer, TEXTS)
    surface = LossSurface(parts, list(model.parameters()))
    start, gradient = surface.value(), surface.gradient()

    def loss_after(eta: float) -> float:
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        at = 0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= eta * gradient[at : at + parameter.numel()].reshape(parameter.shape)
                at += parameter.numel()
        value = surface.value()
        with torch.no_grad():
            for parameter, before in zip(model.parameters(), kept, strict=True):
                parameter.copy_(before)
        return value

    assert loss_after(2 / sharpness * 0.9) <= start < loss_after(2 / sharpness * 1.1)
