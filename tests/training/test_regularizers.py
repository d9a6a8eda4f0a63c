"""Every regulariser on a case whose answer is known."""

from __future__ import annotations

import pytest
import torch

from pretune.config.science import Optimizer, Regularizer
from pretune.training.optimizers import build_optimizer
from pretune.training.regularizers import L2SP, build_regularization
from support.models import make_model
from support.training import equal_weights, make_config, train


def descend(parameter, target, stiffness, regularization, steps=400):
    """Minimise Σ ½ · stiffness · (w − target)² and the penalty by plain gradient descent."""
    for _ in range(steps):
        parameter.grad = (stiffness * (parameter - target)).detach()
        regularization.add_gradient()
        with torch.no_grad():
            parameter -= 0.2 * parameter.grad


def test_l2sp_settles_between_the_optimum_and_the_start():
    """argmin ½a(w − t)² + ½s(w − w₀)² is (a·t + s·w₀) / (a + s)."""
    start, target, stiffness = torch.tensor([2.0, -1.0]), torch.tensor([0.0, 3.0]), torch.tensor([1.0, 3.0])
    parameter = torch.nn.Parameter(start.clone())
    descend(parameter, target, stiffness, L2SP([parameter], 0.5))
    expected = (stiffness * target + 0.5 * start) / (stiffness + 0.5)
    assert torch.allclose(parameter.detach(), expected, atol=1e-6)


def test_l2sp_leaves_frozen_weights_alone_and_makes_a_missing_gradient():
    moved, frozen = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    penalty = L2SP([moved, frozen], 0.1)
    with torch.no_grad():
        moved += 1.0
    penalty.add_gradient()
    assert torch.allclose(moved.grad, torch.full((2,), 0.1))
    assert frozen.grad is None


def distance(model, other) -> float:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return float(torch.stack([(a - b).detach().norm() for a, b in pairs]).norm())


def test_stronger_l2sp_keeps_a_fine_tuning_nearer_to_the_base_weights(tmp_path):
    plain = {"optimizer__name": "sgd", "optimizer__lr": 0.02, "stage__clip_norm": 0.0, "stage__schedule": "constant"}
    base = make_model(context=128)
    distances = []
    for strength in (0.0, 5.0, 40.0):
        config = make_config(**plain, regularizer__name="l2sp", regularizer__strength=strength)
        model, _ = train(config, tmp_path / f"{strength}")
        distances.append(distance(model, base))
    assert distances[0] > 1.1 * distances[1] > 1.5 * distances[2] > 0
    model, _ = train(make_config(**plain), tmp_path / "none")
    assert distance(model, base) == pytest.approx(distances[0], rel=1e-6)


def test_l2sp_pulls_to_the_base_weights_after_a_resumption_too(tmp_path):
    from support.training import Interrupted

    config = make_config(regularizer__name="l2sp", regularizer__strength=5.0)
    expected, _ = train(config, tmp_path / "whole")
    saving = make_config(regularizer__name="l2sp", regularizer__strength=5.0, trainer__save_seconds=1e-9)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=5)
    model, outcome = train(saving, tmp_path / "parts")
    assert outcome.resumed_at == 5
    assert equal_weights(model, expected)


def test_no_regulariser_adds_nothing():
    parameter = torch.nn.Parameter(torch.ones(2))
    build_regularization(Regularizer(), torch.nn.ParameterList([parameter])).add_gradient()
    assert parameter.grad is None
    build_optimizer(Optimizer(name="sgd"), [parameter]).step()
    assert torch.equal(parameter, torch.ones(2))
