"""bf16 weights: the failure of plain rounding at small learning rates, and the two remedies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pretune.config.science import Optimizer
from pretune.training.rounding import RoundedUpdates, round_stochastically
from support.training import Interrupted, equal_weights, make_config, train

SMALL = Optimizer(name="sgd", lr=2e-6, fused=False)


def walk(rounding: str, steps: int = 1000) -> tuple[torch.Tensor, RoundedUpdates]:
    """Weights of one after ``steps`` updates of 2e-6 · 50 = 1e-4 downwards: in exact arithmetic 1 − 1e-4 · steps."""
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    optimizer = RoundedUpdates(SMALL, [parameter], rounding=rounding)
    for _ in range(steps):
        parameter.grad = torch.full_like(parameter, 50.0)
        optimizer.step()
    return parameter.detach().float(), optimizer


def test_plain_rounding_loses_every_small_update_and_says_so(caplog):
    weights, optimizer = walk("nearest", steps=10)
    assert torch.equal(weights, torch.ones(4000))
    assert optimizer.take_lost_share() == 1.0
    assert "100 % of the updates are lost to rounding" in caplog.text
    assert optimizer.take_lost_share() is None


def test_stochastic_rounding_is_right_on_average():
    weights, _ = walk("stochastic")
    assert weights.mean().item() == pytest.approx(0.9, abs=2e-3)
    assert weights.std().item() > 0


def test_kahan_compensation_follows_the_exact_sum():
    weights, _ = walk("kahan")
    assert torch.allclose(weights, torch.full((4000,), 0.9), atol=2.0**-8)
    assert weights.std().item() == 0


@given(st.floats(-1e30, 1e30, allow_subnormal=False))
def test_stochastic_rounding_picks_a_neighbour(value):
    values = torch.full((64,), value, dtype=torch.float32)
    rounded = round_stochastically(values).float()
    nearest = values.bfloat16().float()
    spacing = torch.maximum(nearest.abs() * 2.0**-7, torch.tensor(1e-38))
    assert ((rounded - values).abs() <= spacing).all()
    assert len(rounded.unique()) <= 2


def test_numbers_that_bf16_has_are_left_alone():
    values = torch.tensor([0.0, 1.0, -2.5, 3.0e38, float("inf"), -float("inf")]).bfloat16().float()
    assert torch.equal(round_stochastically(values).float(), values)
    assert round_stochastically(torch.tensor([float("nan")])).isnan().all()


def test_bf16_weights_learn_with_a_remedy_and_not_without(tmp_path):
    """At a learning rate at which bf16 weights stand still, both remedies follow the fp32 training."""
    how = {"optimizer__lr": 3e-5, "stage__epochs": 4, "stage__schedule": "constant"}
    base, reference = train(make_config(**how), tmp_path / "fp32")
    drop = {}
    for rounding in ("nearest", "stochastic", "kahan"):
        config = make_config(**how, trainer__precision="bf16-true", trainer__rounding=rounding)
        model, outcome = train(config, tmp_path / rounding)
        assert {p.dtype for p in model.parameters()} == {torch.float32}, "fp32 again after the training"
        assert all(torch.equal(p, p.bfloat16().float()) for p in model.parameters())
        drop[rounding] = outcome.history[0]["loss"] - outcome.validation_losses[-1]
        if rounding == "nearest":
            assert 0.1 < outcome.history[-1]["lost_updates"] <= 1.0
        expected = reference.validation_losses[0] - reference.validation_losses[-1]
        gained = outcome.validation_losses[0] - outcome.validation_losses[-1]
        if rounding == "nearest":
            assert gained < 0.6 * expected
        else:
            assert gained > 0.6 * expected


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
def test_interrupted_bf16_training_goes_on_as_if_nothing_had_happened(tmp_path, rounding):
    how = {"trainer__precision": "bf16-true", "trainer__rounding": rounding, "optimizer__lr": 1e-3}
    expected, _ = train(make_config(**how), tmp_path / "whole")
    saving = make_config(**how, trainer__save_seconds=1e-9)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=4)
    model, outcome = train(saving, tmp_path / "parts")
    assert outcome.resumed_at == 4
    assert equal_weights(model, expected)
