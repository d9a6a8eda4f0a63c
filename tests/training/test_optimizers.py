"""The optimizers on a problem whose answer is known, and their state through an interruption."""

from __future__ import annotations

import pytest
import torch

from pretune.config.science import Optimizer
from pretune.training.optimizers import build_optimizer
from support.training import Interrupted, equal_weights, make_config, train

NAMES = ("adamw", "adamw8bit", "paged_adamw8bit", "lion8bit", "sgd")
STEP = {"sgd": 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_finds_the_minimum_of_a_parabola(name):
    torch.manual_seed(0)
    target, weights = torch.randn(64, 128), torch.nn.Parameter(torch.zeros(64, 128))
    config = Optimizer(name=name, lr=STEP.get(name, 3e-2), betas=(0.9, 0.99))
    optimizer = build_optimizer(config, [weights])
    total = 400
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (1 - step / total)
        optimizer.zero_grad()
        (0.5 * ((weights - target) ** 2)).sum().backward()
        optimizer.step()
    error = float((weights - target).detach().norm() / target.norm())
    assert error < 0.02, error


@pytest.mark.parametrize("name", ["adamw8bit", "paged_adamw8bit", "lion8bit"])
def test_moments_are_kept_in_eight_bits(name):
    weights = torch.nn.Parameter(torch.zeros(64, 128))
    optimizer = build_optimizer(Optimizer(name=name), [weights])
    weights.grad = torch.ones_like(weights)
    optimizer.step()
    assert optimizer.state[weights]["state1"].dtype == torch.uint8


def test_first_step_of_adamw8bit_is_that_of_adamw():
    """AdamW's first update is lr · sign(g) for gradients far above eps: known exactly, whatever the bits."""
    torch.manual_seed(0)
    weights = torch.nn.Parameter(torch.zeros(64, 128))
    weights.grad = torch.randn(64, 128).sign() * 0.5
    build_optimizer(Optimizer(name="adamw8bit", lr=1e-2), [weights]).step()
    assert torch.allclose(weights.detach(), -1e-2 * weights.grad.sign(), rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw8bit", "lion8bit"])
def test_interrupted_training_with_eight_bits_goes_on_as_if_nothing_had_happened(tmp_path, name):
    expected, _ = train(make_config(optimizer__name=name), tmp_path / "whole")
    saving = make_config(optimizer__name=name, trainer__save_seconds=1e-9)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=4)
    model, outcome = train(saving, tmp_path / "parts")
    assert outcome.resumed_at == 4
    assert equal_weights(model, expected)
