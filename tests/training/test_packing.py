"""Packed rows give what the rows give one by one: losses, gradients, and no sight of one another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretune.data.encoding import Encoded
from pretune.errors import UsageError
from pretune.training.losses import count_right, sum_cross_entropy
from pretune.training.packing import attending_to_packed_rows, can_pack
from pretune.training.steps import make_step
from support.models import make_model
from support.training import make_config, train, without_times

ROWS = [Encoded(ids=tuple((3 * i + j) % 90 + 1 for i in range(4 + 5 * j)), context=2 + j) for j in range(6)]


def loss_and_gradients(model, rows, *, packed, micro_batch=8):
    step = make_step(rows, pad_id=0, micro_batch=micro_batch, packed=packed)
    model.zero_grad()
    total = 0.0
    for micro in step.micro_batches:
        loss = sum_cross_entropy(model, micro, plain_head=True)
        loss.backward()
        total += loss.item()
    return total, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", ["olmo", "llama", "neox"])
def test_packed_loss_and_gradients_are_those_of_the_rows_apart(name):
    model = make_model(name)
    assert can_pack(model)
    apart, expected = loss_and_gradients(model, ROWS, packed=False, micro_batch=1)
    padded, other = loss_and_gradients(model, ROWS, packed=False)
    with attending_to_packed_rows(model):
        packed, gradients = loss_and_gradients(model, ROWS, packed=True)
    assert packed == pytest.approx(apart, rel=1e-5)
    assert padded == pytest.approx(apart, rel=1e-5)
    assert (gradients - expected).norm() < 1e-5 * expected.norm()
    assert (other - expected).norm() < 1e-5 * expected.norm()


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 5))
def test_no_row_sees_another(lengths, changed):
    model = make_model("olmo")
    rows = [Encoded(ids=tuple((7 * i + j) % 90 + 1 for i in range(n + 1)), context=1) for j, n in enumerate(lengths)]
    index = changed % len(rows)
    other = [Encoded(ids=tuple(95 for _ in row.ids), context=1) if j == index else row for j, row in enumerate(rows)]

    def losses(these):
        (micro,) = make_step(these, pad_id=0, micro_batch=len(these), packed=True).micro_batches
        with torch.no_grad(), attending_to_packed_rows(model):
            logits = model(micro["input_ids"], position_ids=micro["position_ids"], lengths=micro["lengths"]).logits[0]
        return dict(zip([row.ids for row in sorted(these, key=lambda r: -len(r.ids))],
                        logits.split(micro["lengths"]), strict=True))  # fmt: skip

    before, after = losses(rows), losses(other)
    for ids in before.keys() & after.keys():
        assert torch.equal(before[ids], after[ids])


@pytest.mark.parametrize("name", ["gemma2", "mistral", "cohere2"])
def test_attention_that_is_more_than_causal_is_not_packed(name, tmp_path):
    model = make_model(name, attention="eager" if name == "gemma2" else "sdpa")
    assert not can_pack(model)
    with pytest.raises(UsageError, match="trainer.batching=packed"):
        train(make_config(trainer__batching="packed"), tmp_path, model=model)


def test_packed_and_padded_trainings_have_the_same_losses(tmp_path):
    runs = {how: train(make_config(trainer__batching=how), tmp_path / how) for how in ("packed", "padded")}
    (packed_model, packed), (_, padded) = runs.values()
    assert packed.packed
    assert not padded.packed
    for one, two in zip(packed.history, padded.history, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["tokens"] == one["computed"] == two["tokens"] < two["computed"]
    assert packed.validation_losses == pytest.approx(padded.validation_losses, rel=1e-5)
    assert packed.describe_speed()["padding_share"] == 0.0
    assert 0.0 < padded.describe_speed()["padding_share"] < 1.0
    assert packed_model.config._attn_implementation == "sdpa"
    assert without_times(packed.history)


def test_many_supervised_positions_are_computed_in_chunks(monkeypatch):
    from pretune.training import losses

    model = make_model("olmo")
    (micro,) = make_step(ROWS, pad_id=0, micro_batch=8).micro_batches
    whole = sum_cross_entropy(model, micro, plain_head=True)
    expected = torch.autograd.grad(whole, list(model.parameters()))
    monkeypatch.setattr(losses, "LOGIT_ELEMENTS", 400 * 5)
    seen = []
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    chunked = sum_cross_entropy(model, micro, plain_head=True)
    gradients = torch.autograd.grad(chunked, list(model.parameters()))
    assert max(seen) == 5
    assert sum(seen) == 2 * len(micro["targets"]), "once forward, once again for the backward pass"
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)
    for one, two in zip(gradients, expected, strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    loss, right = count_right(model, micro, plain_head=True)
    handle.remove()
    logits = model(micro["input_ids"]).logits[micro["rows"], micro["columns"]]
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    assert right.item() == (logits.argmax(-1) == micro["targets"]).sum().item()
