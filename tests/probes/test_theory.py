"""The linear model of overtraining: closed forms against integration and sampling, and what follows from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

from pretune import theory as command
from pretune.probes.theory import (
    LinearNetwork,
    find_inflection,
    measure_forgetting,
    measure_loss,
    measure_noise_sensitivity,
)

NETWORK = LinearNetwork()
TIMES = np.geomspace(4, 2000, 200)


def test_growth_is_that_of_gradient_flow_on_the_two_matrices():
    network = LinearNetwork(dimension=3, decay=0.6, initial=1e-3)
    teacher = np.diag(network.teacher)

    def flow(_, flat):
        first, second = flat.reshape(2, 3, 3)
        residual = teacher - second @ first
        return np.stack([second.T @ residual, residual @ first.T]).ravel()

    times = np.linspace(0.0, 20.0, 11)
    start = np.stack([np.eye(3) * np.sqrt(network.initial)] * 2).ravel()
    path = solve_ivp(flow, (0.0, 20.0), start, t_eval=times, rtol=1e-9, atol=1e-12).y.T.reshape(-1, 2, 3, 3)
    products = path[:, 1] @ path[:, 0]
    expected = network.learn(times)[:, :, None] * np.eye(3)
    assert np.allclose(products, expected, atol=1e-6)
    assert np.allclose(measure_loss(network, times), 0.5 * ((products - teacher) ** 2).sum(axis=(1, 2)), atol=1e-6)


def test_directions_are_learnt_one_after_the_other_each_along_a_sigmoid():
    half = np.array([NETWORK.learn(np.array([t]))[0, i] for i, t in enumerate(NETWORK.learning_times)])
    assert np.allclose(half, NETWORK.teacher / 2)
    assert (np.diff(NETWORK.learning_times) > 0).all()
    scaled = NETWORK.learning_times * NETWORK.teacher * 2 / np.log(NETWORK.teacher / NETWORK.initial)
    assert np.allclose(scaled, 1.0, atol=1e-4)  # learning time ∝ 1/s, up to the logarithm
    for index, middle in enumerate(NETWORK.learning_times):
        speed = np.diff(NETWORK.learn(np.linspace(0, 2 * middle, 201))[:, index])
        assert (np.diff(speed[:99]) > 0).all()
        assert (np.diff(speed[101:]) < 0).all()


def test_noise_sensitivity_matches_sampled_noise_and_never_falls():
    time, gamma = np.array([30.0]), 0.1
    layer = np.diag(np.sqrt(NETWORK.learn(time)[0]))
    noise = np.random.default_rng(0).normal(0, gamma, (4000, 2, 16, 16))
    losses = 0.5 * (((layer + noise[:, 1]) @ (layer + noise[:, 0]) - np.diag(NETWORK.teacher)) ** 2).sum(axis=(1, 2))
    rise, error = losses.mean() - measure_loss(NETWORK, time)[0], losses.std() / np.sqrt(len(losses))
    assert abs(rise - measure_noise_sensitivity(NETWORK, time, gamma)[0]) < 4 * error
    assert (np.diff(measure_noise_sensitivity(NETWORK, TIMES, gamma)) >= 0).all()


def test_the_disturbed_loss_turns_where_the_directions_are_within_the_threshold():
    inflections = []
    for gamma in (0.02, 0.05, 0.1):
        losses = measure_loss(NETWORK, TIMES) + measure_noise_sensitivity(NETWORK, TIMES, gamma)
        inflections.append(find_inflection(TIMES, losses))
        grown = NETWORK.learn(TIMES)
        inside = (NETWORK.teacher - grown <= gamma**2 * NETWORK.dimension).all(axis=1)
        assert (np.diff(losses[inside]) >= -1e-15).all()
        assert inside.any()
    assert inflections[0] > inflections[1] > inflections[2]
    assert np.isnan(find_inflection(TIMES, measure_loss(NETWORK, TIMES)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fine_tuning_turns_too_and_earlier_at_larger_rates(seed):
    inflections = []
    for rate in (0.05, 0.1, 0.2):
        forgetting, left = measure_forgetting(NETWORK, TIMES, rate, seed=seed)
        inflections.append(find_inflection(TIMES, measure_loss(NETWORK, TIMES) + forgetting))
        assert forgetting[-1] > forgetting[len(TIMES) // 2] > forgetting[0]
        assert left[-1] > 0
    assert inflections[0] > inflections[1] > inflections[2]
    still = measure_forgetting(NETWORK, TIMES, 0.0, seed=seed)[0]
    assert np.allclose(still, 0.0, atol=1e-12)


@pytest.mark.parametrize("bad", [{"decay": 0.0}, {"decay": 1.5}, {"initial": 0.0}, {"initial": 0.5}, {"dimension": 0}])
def test_impossible_networks_are_refused(bad):
    with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
        LinearNetwork(**bad)


def test_the_command_writes_table_and_figures(tmp_path, capsys):
    assert command.main([f"out={tmp_path / 'figures'}", "seed=3"]) == 0
    table = pd.read_csv(tmp_path / "figures" / "theory.csv")
    assert set(table["curve"]) == {"direction", "base", "noise", "fine-tuning", "fine-tuning task"}
    assert np.isfinite(table["value"]).all()
    for kind in ("direction", "noise", "fine-tuning"):
        assert "</svg>" in (tmp_path / "figures" / f"theory-{kind}.svg").read_text()
    assert "noise 0.1: lowest loss, then a rise: time 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [("outt=x", "did you mean out"), ("seed=-1", "not a whole number"), ("out", "out=VALUE")],
)
def test_a_wrong_argument_is_one_clear_error(argument, message, capsys):
    assert command.main([argument]) == 2
    assert message in capsys.readouterr().err
