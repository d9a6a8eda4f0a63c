"""What only a CUDA device can show: the variable-length kernel, fused steps under autocast, its random generator."""

from __future__ import annotations

import pytest
import torch

from pretune.training.packing import attending_to_packed_rows, row_offsets
from pretune.training.resume import FILE_NAME, load_state
from support.models import make_model
from support.training import Interrupted, make_config, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

ON_GPU = {"trainer__accelerator": "gpu", "trainer__precision": "bf16-mixed"}


@pytest.mark.parametrize("name", ["olmo", "llama", "neox"])
def test_the_variable_length_kernel_gives_what_the_rows_give_one_by_one(name, monkeypatch):
    from torch.nn.attention import varlen

    calls = []
    real = varlen.varlen_attn
    monkeypatch.setattr(varlen, "varlen_attn", lambda *a, **k: calls.append(1) or real(*a, **k))
    model = make_model(name, context=128).cuda().bfloat16()
    lengths = [40, 17, 3]
    rows = [torch.arange(length, device="cuda") * 7 % 90 + 1 for length in lengths]
    with torch.no_grad():
        apart = torch.cat([model(row[None]).logits[0] for row in rows])
        assert not calls
        with attending_to_packed_rows(model):
            packed = model(
                torch.cat(rows)[None],
                position_ids=torch.cat([torch.arange(length, device="cuda") for length in lengths])[None],
                lengths=lengths,
                offsets=row_offsets(lengths).cuda(),
                use_cache=False,
            ).logits[0]
    assert len(calls) == model.config.num_hidden_layers
    assert (packed - apart).norm() < 2e-2 * apart.norm()  # two kernels, each rounding to bf16


def test_packed_and_padded_trainings_learn_the_same_under_autocast(tmp_path):
    runs = {how: train(make_config(**ON_GPU, trainer__batching=how), tmp_path / how) for how in ("packed", "padded")}
    (model, packed), (_, padded) = runs.values()
    assert packed.packed
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}, "master weights"
    for one, two in zip(packed.history, padded.history, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=2e-2)
    assert packed.history[-1]["loss"] < packed.history[0]["loss"]


def test_a_step_checkpoint_holds_the_device_s_random_generator_and_goes_on_with_it(tmp_path):
    """Stochastic rounding draws from it in every step, so its last state tells whether it was restored."""
    config = make_config(
        trainer__accelerator="gpu", trainer__precision="bf16-true", trainer__rounding="stochastic",
        trainer__batching="padded", trainer__save_seconds=1e-9,
    )  # fmt: skip
    _, whole = train(config, tmp_path / "whole")
    expected = torch.cuda.get_rng_state()
    broken = tmp_path / "broken"
    with pytest.raises(Interrupted):
        train(config, broken, stop_at=4)
    state = load_state(broken / FILE_NAME)
    assert state is not None
    assert state.device_random is not None
    assert not torch.equal(state.device_random, expected)
    _, outcome = train(config, broken)
    assert outcome.resumed_at == state.step == 4
    assert torch.equal(torch.cuda.get_rng_state(), expected)
    losses = [[record["loss"] for record in each.history] for each in (outcome, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
