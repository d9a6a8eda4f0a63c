"""Training a part of the model: what may change, what must not, and what is left afterwards."""

from __future__ import annotations

import pytest
import torch

from pretune.config.science import Regularizer
from pretune.errors import UsageError
from pretune.training.adapters import adapted, find_blocks
from support.models import make_model
from support.training import Interrupted, equal_weights, make_config, train

RANK = 2


def changes(model, base) -> dict[str, torch.Tensor]:
    old = base.state_dict()
    return {n: (v - old[n]) for n, v in model.state_dict().items() if not torch.equal(v, old[n])}


@pytest.mark.parametrize("blocks", [0, 1])
def test_freeze_trains_the_last_blocks_and_the_head_only(tmp_path, blocks):
    base = make_model(context=128)
    config = make_config(regularizer__name="freeze", regularizer__blocks=blocks)
    model, outcome = train(config, tmp_path)
    moved = changes(model, base)
    assert "lm_head.weight" in moved
    assert {name.split(".")[2] for name in moved if name.startswith("model.layers")} == ({"1"} if blocks else set())
    assert all(name.startswith(("model.layers.1.", "lm_head.")) for name in moved)
    assert outcome.trained_parameters == sum(value.numel() for value in moved.values())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_more_blocks_than_there_are_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="regularizer.blocks=3: the model has 2 blocks"):
        train(make_config(regularizer__name="freeze", regularizer__blocks=3), tmp_path)


def test_lora_changes_the_linear_layers_of_the_blocks_by_its_rank(tmp_path):
    base = make_model(context=128)
    config = make_config(regularizer__name="lora", regularizer__rank=RANK, regularizer__alpha=8.0)
    model, outcome = train(config, tmp_path)
    moved = changes(model, base)
    assert len(moved) == 14, "seven linear layers in each of two blocks"
    for name, change in moved.items():
        assert ".layers." in name
        spread = torch.linalg.svdvals(change.double())
        assert spread[RANK] < 1e-5 * spread[0], name
        assert spread[RANK - 1] > 1e-5 * spread[0], "the whole rank is used"
    assert [type(layer).__name__ for _, layer in model.named_modules()] == [
        type(layer).__name__ for _, layer in base.named_modules()
    ]
    expected = sum(RANK * sum(value.shape) for value in moved.values())
    assert outcome.trained_parameters == expected
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


def test_targets_choose_the_layers_with_adapters(tmp_path):
    base = make_model(context=128)
    config = make_config(regularizer__name="lora", regularizer__targets=("q_proj", "v_proj"))
    model, _ = train(config, tmp_path)
    assert {name.split(".")[-2] for name in changes(model, base)} == {"q_proj", "v_proj"}
    with pytest.raises(UsageError, match=r"regularizer.targets=query: .*q_proj"):
        train(make_config(regularizer__name="lora", regularizer__targets=("query",)), tmp_path / "bad")


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_merged_weights_compute_what_the_adapter_computed(kind):
    model, ids = make_model(context=128), torch.arange(2, 30)[None]
    base = make_model(context=128)
    with adapted(model, Regularizer(name=kind, rank=RANK)), torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        expected = model(ids).logits
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, expected, atol=1e-4)
        assert not torch.allclose(base(ids).logits, expected, atol=1e-2)


def test_qlora_leaves_the_dequantised_weights_plus_a_change_of_its_rank(tmp_path):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    base = make_model(context=128)
    config = make_config(regularizer__name="qlora", regularizer__rank=RANK)
    model, outcome = train(config, tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    before = base.state_dict()[name]
    rounded = dequantize_4bit(*quantize_4bit(before, compress_statistics=True, quant_type="nf4"))
    spread = torch.linalg.svdvals((model.state_dict()[name] - rounded).double())
    assert spread[RANK] < 1e-4 * spread[0]
    assert spread[0] > 1e-3
    assert torch.equal(model.state_dict()["lm_head.weight"], base.state_dict()["lm_head.weight"])
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


@pytest.mark.parametrize("kind", ["lora", "qlora", "freeze"])
def test_interrupted_training_of_a_part_goes_on_as_if_nothing_had_happened(tmp_path, kind):
    expected, whole = train(make_config(regularizer__name=kind), tmp_path / "whole")
    saving = make_config(regularizer__name=kind, trainer__save_seconds=1e-9)
    model = make_model(context=128)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=4, model=model)
    size = (tmp_path / "parts" / "step.ckpt").stat().st_size
    assert [type(m) for m in model.modules()] == [type(m) for m in make_model(context=128).modules()]
    again, outcome = train(saving, tmp_path / "parts")
    assert outcome.resumed_at == 4
    assert equal_weights(again, expected)
    assert outcome.validation_losses == whole.validation_losses
    if kind == "lora":
        everything = sum(p.numel() for p in expected.parameters()) * 12
        assert size < 0.9 * everything, "only what is trained is saved"


def test_blocks_are_found_whatever_their_name():
    for name in ("olmo", "neox", "gpt2"):
        assert len(find_blocks(make_model(name))[1]) == 2
