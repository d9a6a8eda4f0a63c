"""The number of rows per forward pass follows the memory, and survives an interruption."""

from __future__ import annotations

import contextlib

import pytest
import torch

from pretune.errors import TooLargeForMemory
from pretune.training import memory
from pretune.training.memory import choose_micro_batch, fits, free_bytes, kept_bytes
from pretune.training.module import CausalLanguageModeling
from pretune.training.packing import attending_to_packed_rows
from pretune.training.steps import cut_micro_batch, make_step, row_count
from support.models import make_model
from support.training import Interrupted, equal_weights, make_config, train
from training.test_finetune import encoded


@pytest.fixture
def module():
    config = make_config()
    return CausalLanguageModeling(
        make_model(context=128), stage=config.stage, optimizer=config.optimizer, total_steps=1
    )


def test_kept_memory_grows_with_the_tokens(module):
    rows = encoded(make_config(), 8)
    one, all_ = kept_bytes(module, rows[:1], packed=False), kept_bytes(module, rows, packed=False)
    tokens = [len(row.ids) for row in rows]
    assert all_ / one == pytest.approx(8 * max(tokens) / tokens[0], rel=0.25)
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize(("free", "expected"), [(1e12, 8), (3.2e6, 4), (1e3, 1)])
def test_rows_are_halved_until_they_fit(module, monkeypatch, free, expected):
    tried = []
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(free))
    monkeypatch.setattr(memory, "fits", lambda module, rows, **how: tried.append(len(rows)) or True)
    rows = encoded(make_config(), 20)
    chosen = choose_micro_batch(module, rows, batch_size=8, pad_id=0, packed=False)
    assert (chosen == expected) if expected != 4 else (1 <= chosen < 8)
    assert tried == ([] if expected == 8 else [chosen]), "only an estimate near the limit is tried"


def test_a_trial_that_runs_out_of_memory_halves_the_rows(module, monkeypatch):
    real = module.sum_loss

    def tight(batch):
        if len(batch["input_ids"]) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return real(batch)

    monkeypatch.setattr(memory, "WORTH_TRYING", 0.0)
    rows = encoded(make_config(), 20)
    kept = kept_bytes(module, rows[:1], packed=False)
    monkeypatch.setattr(module, "sum_loss", tight)
    monkeypatch.setattr(memory, "kept_bytes", lambda *_, **__: kept)
    before = torch.get_rng_state()
    assert choose_micro_batch(module, rows, batch_size=8, pad_id=0, packed=False) == 2
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_other_errors_of_a_trial_are_not_hidden(module, monkeypatch):
    monkeypatch.setattr(module, "sum_loss", lambda batch: (_ for _ in ()).throw(RuntimeError("wrong shape")))
    with pytest.raises(RuntimeError, match="wrong shape"):
        fits(module, encoded(make_config(), 2), pad_id=0, packed=False)


def test_free_memory_of_this_machine_is_found():
    assert 1e6 < free_bytes(torch.device("cpu")) < 1e14


def test_a_resumed_training_keeps_its_rows_per_forward_pass(tmp_path, monkeypatch):
    """On a machine with other memory the arithmetic must not change in the middle."""
    monkeypatch.setattr("pretune.training.finetune.choose_micro_batch", lambda *_, **__: 3)
    expected, whole = train(make_config(), tmp_path / "whole")
    assert whole.micro_batch == 3
    saving = make_config(trainer__save_seconds=1e-9)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=4)
    monkeypatch.setattr("pretune.training.finetune.choose_micro_batch", lambda *_, **__: 8)
    model, outcome = train(saving, tmp_path / "parts")
    assert outcome.micro_batch == 3
    assert equal_weights(model, expected)


def test_recomputed_activations_change_nothing_but_the_memory(tmp_path, module):
    plain, _ = train(make_config(), tmp_path / "plain")
    lean, _ = train(make_config(trainer__activation_checkpointing=True), tmp_path / "lean")
    assert equal_weights(plain, lean)
    assert not lean.is_gradient_checkpointing
    rows = encoded(make_config(), 8)
    module.model.train()
    before = kept_bytes(module, rows, packed=False)
    module.model.gradient_checkpointing_enable({"use_reentrant": False})
    assert kept_bytes(module, rows, packed=False) < 0.5 * before


def test_compiled_blocks_compute_the_same(tmp_path, monkeypatch):
    """With the graph capture of torch.compile, but without its code generator, which takes a minute."""
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: real(self, backend="eager", **how))
    plain, _ = train(make_config(stage__epochs=1, trainer__batching="padded"), tmp_path / "plain")
    compiled, outcome = train(make_config(stage__epochs=1, trainer__compile=True), tmp_path / "compiled")
    assert not outcome.packed
    for one, two in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    assert all(block._compiled_call_impl is None for block in compiled.model.layers)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_micro_batch_that_is_cut_has_the_same_loss(module, packed, limit):
    rows = encoded(make_config(), 5)
    (whole,) = make_step(rows, pad_id=0, micro_batch=5, packed=packed).micro_batches
    parts = list(cut_micro_batch(whole, limit))
    assert [row_count(part) for part in parts] == [min(limit, 5 - first) for first in range(0, 5, limit)]
    with attending_to_packed_rows(module.model) if packed else contextlib.nullcontext():
        expected, found = module.sum_loss(whole), sum(module.sum_loss(part) for part in parts)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert sum(part["targets"].numel() for part in parts) == whole["targets"].numel()


class Tight:
    """Memory for so many rows in a pass, forward or backward, after some passes that still had enough."""

    def __init__(self, monkeypatch, rows, *, after=0, backward=False):
        self.rows, self.left, self.seen, self.backward = rows, after, [], backward
        real = CausalLanguageModeling.sum_loss

        def sum_loss(module, batch):
            self.left -= 1
            count = row_count(batch)
            full = self.left < 0 and count > self.rows and module.model.training
            if full and not self.backward:
                raise torch.OutOfMemoryError("out of memory")
            self.seen.append(count)
            loss = real(module, batch)
            if full:
                loss.register_hook(self.run_out)
            return loss

        monkeypatch.setattr(CausalLanguageModeling, "sum_loss", sum_loss)

    def run_out(self, gradient):
        raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize("batching", ["padded", "packed"])
@pytest.mark.parametrize("backward", [False, True])
def test_training_that_runs_out_of_memory_goes_on_with_fewer_rows(tmp_path, monkeypatch, caplog, batching, backward):
    config = make_config(trainer__batching=batching, trainer__micro_batch=8)
    expected, plain = train(config, tmp_path / "plain")
    with monkeypatch.context() as patch:
        tight = Tight(patch, 3, after=1, backward=backward)
        model, outcome = train(config, tmp_path / "tight")
    assert max(tight.seen[-6:]) <= 2
    assert "out of memory: going on with 4 rows per forward pass" in caplog.text
    assert "out of memory: going on with 2 rows per forward pass" in caplog.text
    assert (outcome.micro_batch, outcome.micro_batch_planned) == (2, 8)
    assert outcome.describe_speed()["micro_batch_planned"] == 8
    assert "micro_batch_planned" not in plain.describe_speed()
    for (name, value), other in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-4, msg=name)
    losses = [[record["loss"] for record in each.history] for each in (outcome, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_training_resumed_after_it_ran_out_of_memory_keeps_the_fewer_rows(tmp_path, monkeypatch):
    config = make_config(trainer__micro_batch=None, trainer__save_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "free_bytes", lambda device: int(1e12))
        Tight(patch, 3, after=1)
        with pytest.raises(Interrupted):
            train(config, tmp_path, stop_at=3)
    _, outcome = train(config, tmp_path)
    assert (outcome.resumed_at, outcome.micro_batch) == (2, 2)


def test_single_row_that_is_too_large_is_said_plainly(tmp_path, monkeypatch):
    Tight(monkeypatch, 0)
    with pytest.raises(TooLargeForMemory, match=r"a single row of \d+ tokens: lower stage\.max_length"):
        train(make_config(trainer__micro_batch=8, trainer__batching="padded"), tmp_path)


def test_validation_that_runs_out_of_memory_goes_on_with_fewer_rows(tmp_path, monkeypatch, caplog):
    from pretune.training import module as where

    config = make_config(trainer__micro_batch=8)
    _, plain = train(config, tmp_path / "plain")
    real = where.count_right

    def tight(model, batch, **how):
        if row_count(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, batch, **how)

    monkeypatch.setattr(where, "count_right", tight)
    _, outcome = train(config, tmp_path / "tight")
    assert "rows in validation: going on with half as many" in caplog.text
    assert outcome.validation_losses == pytest.approx(plain.validation_losses, rel=1e-5)
