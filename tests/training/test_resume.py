from __future__ import annotations

import time

import pytest
import torch

from pretune.training.resume import FILE_NAME, TrainingState, load_state, save_state
from support.training import Interrupted, equal_weights, make_config, train, without_times

SAVING = {"trainer__save_seconds": 1e-9}
"""A step checkpoint after every step, but for the last of an epoch. Of 20 rows in steps of 8 an epoch has 3 steps."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train(make_config(stage__epochs=3), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("stop_at", "resumed_at"),
    [(1, 1), (2, 2), (3, 2), (4, 4), (6, 5), (8, 8)],
    ids=lambda value: str(value),
)
def test_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path, uninterrupted, stop_at, resumed_at):
    config = make_config(stage__epochs=3, **SAVING)
    with pytest.raises(Interrupted):
        train(config, tmp_path, stop_at=stop_at)
    model, outcome = train(config, tmp_path)
    expected, whole = uninterrupted
    assert outcome.resumed_at == resumed_at
    assert equal_weights(model, expected)
    assert without_times(outcome.history) == without_times(whole.history)
    assert outcome.validation_losses == whole.validation_losses


def test_training_may_be_interrupted_again_and_again(tmp_path, uninterrupted):
    config = make_config(stage__epochs=3, **SAVING)
    for stop_at in (2, 4, 5, 7):
        with pytest.raises(Interrupted):
            train(config, tmp_path, stop_at=stop_at)
    model, outcome = train(config, tmp_path)
    assert outcome.resumed_at == 7
    assert equal_weights(model, uninterrupted[0])
    assert without_times(outcome.history) == without_times(uninterrupted[1].history)


def test_dropout_goes_on_with_the_same_random_numbers(tmp_path):
    from support.models import make_model

    def with_dropout():
        model = make_model("gpt2", context=128)
        for layer in model.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.2
        return model

    config = make_config(**SAVING)
    expected, whole = train(config, tmp_path / "whole", model=with_dropout())
    with pytest.raises(Interrupted):
        train(config, tmp_path / "parts", stop_at=2, model=with_dropout())
    model, outcome = train(config, tmp_path / "parts", model=with_dropout())
    assert outcome.resumed_at == 2
    assert equal_weights(model, expected)
    assert without_times(outcome.history) == without_times(whole.history)


def test_no_step_checkpoint_before_its_time(tmp_path):
    with pytest.raises(Interrupted):
        train(make_config(trainer__save_seconds=3600.0), tmp_path, stop_at=4)
    assert not (tmp_path / FILE_NAME).exists()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def pickle_code(path):
    torch.save({"step": time.sleep}, path)


def drop_a_part(path):
    torch.save({"step": 2}, path)


def flip_a_bit(path):
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))


@pytest.mark.parametrize("damage", [truncate, empty, pickle_code, drop_a_part, flip_a_bit])
def test_damaged_step_checkpoint_is_set_aside_and_training_starts_anew(tmp_path, uninterrupted, caplog, damage):
    config = make_config(stage__epochs=3, **SAVING)
    with pytest.raises(Interrupted):
        train(config, tmp_path, stop_at=2)
    damage(tmp_path / FILE_NAME)
    model, outcome = train(config, tmp_path)
    assert outcome.resumed_at == 0
    assert "training starts from the beginning" in caplog.text
    assert equal_weights(model, uninterrupted[0])
    assert without_times(outcome.history) == without_times(uninterrupted[1].history)


def test_state_survives_writing_and_reading(tmp_path):
    state = TrainingState(
        step=3,
        model={"w": torch.randn(4)},
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}]},
        random=torch.get_rng_state(),
        history=[{"loss": 1.5}],
        validation_losses=[2.5],
    )
    save_state(tmp_path / FILE_NAME, state)
    again = load_state(tmp_path / FILE_NAME)
    assert again is not None
    assert torch.equal(again.model["w"], state.model["w"])
    assert torch.equal(again.random, state.random)
    assert again.optimizer == state.optimizer
    assert (again.step, again.history, again.validation_losses) == (3, [{"loss": 1.5}], [2.5])
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert load_state(tmp_path / "none") is None


def test_step_checkpoints_of_a_study_stay_below_their_bound(tmp_path):
    """Three cells, a bound for two checkpoints: the oldest goes; one that could never fit is not written."""
    for number in range(3):
        config = make_config(stage__epochs=3, **SAVING)
        with pytest.raises(Interrupted):
            train(config, tmp_path / f"cell{number}", stop_at=2)
    files = sorted(tmp_path.glob("*/step.ckpt"))
    size = files[0].stat().st_size
    bound = {"trainer__save_gigabytes": 3.6 * size / 1e9}
    with pytest.raises(Interrupted):
        train(make_config(stage__epochs=3, **SAVING, **bound), tmp_path / "cell3", stop_at=2)
    assert sorted(path.parent.name for path in tmp_path.glob("*/step.ckpt")) == ["cell2", "cell3"]
    tiny = {"trainer__save_gigabytes": 0.5 * size / 1e9}
    with pytest.raises(Interrupted):
        train(make_config(stage__epochs=3, **SAVING, **tiny), tmp_path / "cell4", stop_at=2)
    assert not (tmp_path / "cell4" / FILE_NAME).exists()


@pytest.mark.parametrize("when", ["step", "validation"])
def test_sigterm_saves_at_once(tmp_path, uninterrupted, monkeypatch, when):
    """In the middle of an epoch, and in the validation after it."""
    import os
    import signal

    from pretune.errors import Terminated
    from pretune.training.module import CausalLanguageModeling

    real = CausalLanguageModeling.validation_step if when == "validation" else CausalLanguageModeling.training_step
    calls = []

    def interrupted(self, batch, index):
        result = real(self, batch, index)
        calls.append(index)
        if self.step == (3 if when == "validation" else 2):
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    name = "validation_step" if when == "validation" else "training_step"
    with monkeypatch.context() as patch:
        patch.setattr(CausalLanguageModeling, name, interrupted)
        with pytest.raises(Terminated):
            train(make_config(stage__epochs=3), tmp_path)
    assert (tmp_path / FILE_NAME).is_file()
    model, outcome = train(make_config(stage__epochs=3), tmp_path)
    assert outcome.resumed_at == (3 if when == "validation" else 2)
    assert equal_weights(model, uninterrupted[0])
    assert without_times(outcome.history) == without_times(uninterrupted[1].history)
    assert outcome.validation_losses == uninterrupted[1].validation_losses
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
