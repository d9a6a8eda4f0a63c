from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pretune.modeling import context_length, has_plain_head, input_device, relative_difference, text_config
from support.models import CONFIGS, make_model

PLAIN = {"olmo", "olmo2", "llama", "neox", "gpt2", "mistral", "mistral_40", "gemma3_40"}


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


def test_soft_cap_would_be_missed_by_the_plain_way():
    model = unusual("gemma2")
    ids = torch.arange(6)[None]
    with torch.no_grad():
        right = model(input_ids=ids).logits
        wrong = model.get_output_embeddings()(model.base_model(input_ids=ids).last_hidden_state)
    assert relative_difference(wrong, right) > 1e-4


def test_broken_weights_take_the_plain_way_round():
    model = make_model("olmo")
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    assert not has_plain_head(model)


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
