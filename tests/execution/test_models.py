"""The one model in memory, and the base weights that are kept beside it."""

from __future__ import annotations

import pytest
import torch

from pretune.checkpoints import resolution
from pretune.checkpoints.refs import RefCache
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError
from pretune.execution import models
from pretune.execution.models import ModelHost, check_special_tokens, copy_weights, doubts
from pretune.results.store import Study
from support.configs import change
from support.models import make_model, make_tokenizer


@pytest.fixture
def resolved(tmp_path):
    found = []
    for seed in (0, 1):
        folder = tmp_path / f"model{seed}"
        make_model(seed=seed).save_pretrained(folder)
        make_tokenizer("bpe").save_pretrained(folder)
        checkpoint = Checkpoint(source="path", family="path", path=str(folder))
        found.append(resolution.resolve(checkpoint, RefCache(Study(tmp_path))))
    return found


@pytest.fixture
def loads(monkeypatch):
    """Folders that weights were loaded from."""
    folders, load = [], models.load_model
    monkeypatch.setattr(models, "load_model", lambda folder, **how: folders.append(folder.name) or load(folder, **how))
    return folders


def weights_of(host):
    return {name: tensor.clone() for name, tensor in host.model.state_dict().items()}


def test_base_weights_are_loaded_once_and_come_back_after_a_training(resolved, loads, tmp_path):
    host = ModelHost(str(tmp_path), "cpu")
    host.use_base(resolved[0])
    before, model = weights_of(host), host.model
    for cell in ("one", "two"):
        host.spoil()
        with torch.no_grad():
            for parameter in host.model.parameters():
                parameter.add_(1)
        host.adopt(cell)
        host.use_base(resolved[0])
        assert all(torch.equal(value, before[name]) for name, value in weights_of(host).items())
    assert loads == ["model0"]
    assert host.model is model
    host.use_base(resolved[1])
    assert loads == ["model0", "model1"]


def test_kept_weights_are_in_cpu_memory_of_their_own():
    for name, tied in (("olmo", False), ("llama", True)):
        model = make_model(name)
        kept = copy_weights(model)
        assert {tensor.device.type for tensor in kept.values()} == {"cpu"}
        assert not {t.data_ptr() for t in kept.values()} & {t.data_ptr() for t in model.state_dict().values()}
        assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())
        shared = kept["lm_head.weight"].data_ptr() == kept["model.embed_tokens.weight"].data_ptr()
        assert shared is tied  # tied weights are not kept twice


@pytest.mark.parametrize("key", ["eos_token", "pad_token"])
def test_special_token_that_is_not_the_familys_is_refused(key):
    tokenizer = make_tokenizer("bpe")
    family = Checkpoint(repo="owner/model")
    check_special_tokens(family, tokenizer)
    check_special_tokens(change(family, key, getattr(tokenizer, key)), tokenizer)
    with pytest.raises(CheckpointError, match=rf"checkpoint\.{key}=<other>: the tokenizer of owner/model has"):
        check_special_tokens(change(family, key, "<other>"), tokenizer)


def test_odd_context_and_odd_end_of_text_are_said_once(resolved, tmp_path, caplog):
    host = ModelHost(str(tmp_path), "cpu")
    for each in resolved:
        family = change(each.checkpoint, "context_length", 4096)
        host.use_base(change(each, "checkpoint", family))
    assert caplog.text.count("made for 128 tokens, the family's for 4096") == 1
    model, tokenizer = make_model(), make_tokenizer("bpe")
    assert list(doubts(Checkpoint(context_length=64), model, tokenizer)) == []
    model.config.eos_token_id = [7, 9]
    assert "ends texts with token 7, 9, the tokenizer with 0" in next(doubts(Checkpoint(), model, tokenizer))
