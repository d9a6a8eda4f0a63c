from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretune.config.probing import Probe
from pretune.config.science import Task
from pretune.errors import UsageError
from pretune.probes.disturbing import Weights, select_tensors, standard_noise
from pretune.probes.gaussian import probe_gaussian
from pretune.probes.meters import Reading
from pretune.probes.subject import Reference, Subject
from support.models import make_model


class Quadratic(torch.nn.Module):
    """Weights whose loss is ½ wᵀ H w, with H known."""

    def __init__(self, curvature: torch.Tensor, name: str = "weight") -> None:
        super().__init__()
        self.curvature = curvature
        self.register_parameter(name, torch.nn.Parameter(torch.linspace(-1, 1, len(curvature)).reshape(2, -1)))


class QuadraticMeter:
    task, metric, scorer, less_is_better = Task(name="quadratic", family="text"), "loss", "likelihood", True
    reads = 0

    def read(self, model) -> Reading:
        self.reads += 1
        w = next(model.parameters()).detach().flatten().double()
        return Reading(totals=np.array([float(0.5 * w @ model.curvature.double() @ w)] * 2), weights=np.ones(2))


def random_hessian(size: int = 12) -> torch.Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return root @ root.T / size


def run(model, meter, **settings):
    subject = Subject(
        model=model, tokenizer=None, meters=[meter], init_std=settings.pop("init_std", None),
        reference=settings.pop("reference", None), probe=Probe(**{"critical_increase": 0.0, **settings}),
    )  # fmt: skip
    return probe_gaussian(subject)


def values(findings, metric, gamma=None):
    return [row["value"] for row in findings.rows if row["metric"] == metric and gamma in (None, row["magnitude"])]


@pytest.mark.parametrize(("gamma", "at"), [(0.1, 0.0), (0.5, 0.05), (2.0, 0.05)])
def test_mean_increase_is_half_gamma_squared_times_the_trace_of_sigma_h(gamma, at):
    hessian, std, seeds = random_hessian(), 0.3, 400
    model = Quadratic(hessian)
    with torch.no_grad():
        model.weight *= at
    found = values(run(model, QuadraticMeter(), gammas=(gamma,), seeds=seeds, init_std=std), "loss_increase")
    expected = 0.5 * gamma**2 * std**2 * float(hessian.trace())
    error = np.std(found) / math.sqrt(seeds)
    assert error < 0.05 * expected
    assert np.mean(found) == pytest.approx(expected, abs=3.5 * error)


@pytest.mark.parametrize("normalisation", ["rms", "frobenius", "global"])
def test_relative_normalisations_scale_with_the_weights(normalisation):
    one, ten = Quadratic(random_hessian()), Quadratic(random_hessian())
    with torch.no_grad():
        ten.weight *= 10
    settings = {"gammas": (0.2,), "seeds": 3, "normalisation": normalisation}
    small = values(run(one, QuadraticMeter(), **settings), "loss_increase")
    assert np.allclose(values(run(ten, QuadraticMeter(), **settings), "loss_increase"), 100 * np.array(small))


def test_frobenius_noise_has_exactly_the_norm_it_says():
    model = Quadratic(torch.eye(12))
    before = model.weight.detach().clone()
    seen = []

    class Distance(QuadraticMeter):
        def read(self, model):
            seen.append(float((model.weight.detach() - before).norm() / before.norm()))
            return super().read(model)

    run(model, Distance(), gammas=(0.3,), seeds=2, normalisation="frobenius")
    assert seen == pytest.approx([0.0, 0.3, 0.3])


def test_noise_is_common_to_checkpoints_and_sizes():
    zeros, ones = torch.zeros(3, 4), torch.ones(3, 4)
    assert torch.equal(standard_noise("a", zeros, 0), standard_noise("a", ones, 0))
    assert not torch.equal(standard_noise("a", zeros, 0), standard_noise("a", zeros, 1))
    assert not torch.equal(standard_noise("a", zeros, 0), standard_noise("b", zeros, 0))


def test_weights_are_afterwards_bit_by_bit_what_they_were_and_each_perturbation_is_one_evaluation():
    model, meter = Quadratic(random_hessian()), QuadraticMeter()
    with torch.no_grad():
        model.weight.add_(torch.rand(2, 6) * 1e-7)
    before = model.weight.detach().clone()
    run(model, meter, gammas=(0.1, 1.0, 1e6), seeds=5, init_std=0.02)
    assert torch.equal(model.weight, before)
    assert meter.reads == 15 + 1


def test_weights_are_put_back_when_a_measurement_fails():
    model = Quadratic(random_hessian())
    before = model.weight.detach().clone()
    weights = Weights(model)

    def fail_inside():
        with weights.changed(weights.with_noise({"weight": 1.0}, 0)):
            assert not torch.equal(model.weight, before)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert torch.equal(model.weight, before)


def test_initial_spread_is_that_of_step_0_and_tensors_without_variance_stay():
    model = Quadratic(random_hessian())
    model.register_parameter("norm", torch.nn.Parameter(torch.ones(4)))
    start = {"weight": torch.randn(2, 6) * 0.5, "norm": torch.ones(4)}
    seen = []

    class Watch(QuadraticMeter):
        def read(self, model):
            seen.append(model.norm.detach().clone())
            return super().read(model)

    found = run(model, Watch(), gammas=(0.1,), seeds=1, reference=Reference(label="step0", weights=start))
    assert found.facts["init_source"] == "empirical, step0"
    assert found.facts["undisturbed"] == ["norm"]
    assert all(torch.equal(each, torch.ones(4)) for each in seen)


def test_unknown_initialisation_is_refused_with_the_other_normalisations():
    with pytest.raises(UsageError, match="valid: rms, frobenius, global"):
        run(Quadratic(random_hessian()), QuadraticMeter())


def test_critical_noise_is_where_the_loss_has_risen_by_the_wanted_amount():
    hessian = torch.eye(12)
    found = run(Quadratic(hessian), QuadraticMeter(), gammas=(0.1,), seeds=3, init_std=1.0, critical_increase=0.5)
    for seed, gamma in enumerate(values(found, "critical_noise")):
        w = torch.linspace(-1, 1, 12)
        moved = w + gamma * standard_noise("weight", torch.zeros(2, 6), seed).flatten()
        assert float(0.5 * (moved @ moved - w @ w)) == pytest.approx(0.5, rel=0.06)


def test_tensors_are_chosen_by_kind_and_layer():
    model = make_model("llama")
    names = {selector: set(select_tensors(model, [selector])) for selector in ("all", "attention", "mlp", "norms")}
    layer = set(select_tensors(model, ["layer:0"]))
    embeddings = set(select_tensors(model, ["embeddings"]))
    parts = [names["attention"], names["mlp"], names["norms"], embeddings]
    assert set.union(*parts) == names["all"] == {name for name, _ in model.named_parameters()}
    assert sum(map(len, parts)) == len(names["all"])
    assert layer
    assert all(".0." in name for name in layer)
    with pytest.raises(UsageError, match=r"probe\.tensors=atention: did you mean attention"):
        select_tensors(model, ["atention"])
    with pytest.raises(UsageError, match=r"layer:99: LlamaForCausalLM has no such tensors"):
        select_tensors(model, ["layer:99"])
