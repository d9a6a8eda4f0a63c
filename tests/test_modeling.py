from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pretune.modeling import context_length, has_plain_head, input_device, logits_at, relative_difference, text_config
from support.models import CONFIGS, make_model

PLAIN = {"olmo", "llama", "neox", "gpt2", "mistral"}


def unusual(name: str):
    return make_model(name, attention="eager" if name == "gemma2" else "sdpa")


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_plain_heads_are_told_from_those_that_cap_or_scale(name):
    model = unusual(name)
    assert has_plain_head(model) is (name in PLAIN)
    assert not model.training
    model.train()
    has_plain_head(model)
    assert model.training


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_logits_at_positions_are_those_of_the_whole(name):
    model = unusual(name)
    ids = torch.arange(24).reshape(2, 12) % 40
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    rows, columns = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 11, 3, 6])
    with torch.no_grad():
        full = model(input_ids=ids, attention_mask=mask).logits[rows, columns]
        picked = logits_at(model, ids, mask, rows, columns, plain_head=has_plain_head(model))
    assert picked.shape == (4, 400)
    torch.testing.assert_close(picked, full, rtol=1e-5, atol=1e-5)


def test_soft_cap_would_be_missed_by_the_plain_way():
    model = unusual("gemma2")
    ids = torch.arange(6)[None]
    rows, columns = torch.tensor([0]), torch.tensor([5])
    with torch.no_grad():
        right = logits_at(model, ids, torch.ones_like(ids), rows, columns, plain_head=False)
        wrong = logits_at(model, ids, torch.ones_like(ids), rows, columns, plain_head=True)
    assert relative_difference(wrong, right) > 1e-4


def test_broken_weights_take_the_plain_way_round():
    model = make_model("olmo")
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    assert not has_plain_head(model)


def test_gradients_flow_through_picked_logits():
    model = make_model("olmo")
    ids = torch.arange(8)[None]
    logits = logits_at(model, ids, torch.ones_like(ids), torch.tensor([0]), torch.tensor([3]), plain_head=True)
    logits.sum().backward()
    assert model.get_input_embeddings().weight.grad is not None


@pytest.mark.parametrize("name", ["olmo", "gpt2", "neox"])
def test_context_length_is_read_whatever_its_name(name):
    assert context_length(make_model(name, context=96)) == 96


def test_context_length_that_nobody_states_is_unknown():
    assert context_length(SimpleNamespace(config=SimpleNamespace(max_position_embeddings=None, n_positions=0))) is None


def test_text_part_of_a_larger_model_is_asked():
    inner = SimpleNamespace(max_position_embeddings=7)
    outer = SimpleNamespace(get_text_config=lambda decoder: inner)
    assert text_config(SimpleNamespace(config=outer)) is inner
    assert context_length(SimpleNamespace(config=outer)) == 7


def test_ids_go_where_the_embeddings_are():
    assert input_device(make_model("olmo")) == torch.device("cpu")
