"""Checkpoints of a stranger run nothing: pickles, code beside the weights, kernels, adapters, indices that lead out."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import shutil

import pytest
import torch

from pretune.checkpoints.loading import check_vocabulary, load_model, load_tokenizer
from pretune.checkpoints.resolution import hash_weights
from pretune.errors import CheckpointError
from pretune.training.resume import load_state
from support.models import make_model, make_tokenizer


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "model"
    make_model(vocabulary=330).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    """A sound checkpoint, to be spoilt."""
    return shutil.copytree(sound, tmp_path / "theirs")


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(load, folder, mark, *parts, **how):
    with pytest.raises(CheckpointError) as caught:
        load(folder, **how)
    assert not mark.exists(), "the payload ran"
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    for part in parts:
        assert part in str(caught.value)
    assert "trust_remote_code" not in str(caught.value)


def write_zip(path, payload):
    torch.save({"model.embed_tokens.weight": torch.zeros(2), "x": payload}, path)


def write_legacy(path, payload):
    torch.save({"x": payload}, path, _use_new_zipfile_serialization=False)


def write_bare(path, payload):
    path.write_bytes(pickle.dumps(payload))


@pytest.mark.parametrize("write", [write_zip, write_legacy, write_bare])
def test_pickled_weights(folder, mark, payload, write):
    (folder / "model.safetensors").unlink()
    write(folder / "pytorch_model.bin", payload)
    refused(load_model, folder, mark)
    with pytest.raises(CheckpointError, match="pickled weights are not loaded unless"):
        hash_weights(folder)
    refused(load_model, folder, mark, "not unpickled", allow_pickle=True)


def test_the_payload_would_run(mark, payload):
    """The tests above can fail."""
    pickle.loads(pickle.dumps(payload))
    assert mark.exists()


def test_a_pickle_under_the_name_of_safetensors(folder, mark, payload):
    write_bare(folder / "model.safetensors", payload)
    refused(load_model, folder, mark)


def test_code_of_a_model_of_a_known_kind_is_not_used(folder, mark, code):
    (folder / "modeling_evil.py").write_text(code)
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    assert load_model(folder).config.model_type == "olmo"
    assert not mark.exists()


def test_code_of_a_model_of_an_unknown_kind(folder, mark, code):
    (folder / "modeling_evil.py").write_text(code)
    (folder / "configuration_evil.py").write_text(code)
    maps = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
    change(folder / "config.json", model_type="evil", auto_map=maps)
    refused(load_model, folder, mark, "never run")


@pytest.mark.parametrize("name", ["EvilTokenizer", "PreTrainedTokenizerFast", None])
def test_code_of_a_tokenizer(folder, mark, code, name):
    (folder / "tokenization_evil.py").write_text(code)
    maps = {"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]}
    change(folder / "tokenizer_config.json", auto_map=maps, tokenizer_class=name)
    with contextlib.suppress(CheckpointError):  # a kind that is known is loaded by the library's own class
        load_tokenizer(folder)
    assert not mark.exists()


def test_a_chat_template_is_not_rendered_and_could_not_leave_its_sandbox(folder, mark):
    escape = "{{ cycler.__init__.__globals__.os.mkdir('" + str(mark) + "') }}"
    change(folder / "tokenizer_config.json", chat_template=escape)
    (folder / "chat_template.jinja").write_text(escape)
    tokenizer = load_tokenizer(folder)
    assert tokenizer("a bird")["input_ids"]
    with pytest.raises(Exception, match="unsafe|undefined|not allowed|has no attribute"):
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert not mark.exists()


@pytest.mark.parametrize("where", [{}, {"text_config": {}}])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_to_fetch(folder, mark, key, where):
    named = {key: "evil/kernel"}
    change(folder / "config.json", **({"text_config": named} if where else named))
    refused(load_model, folder, mark, "evil/kernel", "kernel")


def test_an_adapter_that_names_another_model(folder, mark):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../elsewhere"}))
    refused(load_model, folder, mark, "adapter")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "other.safetensors", 7])
def test_an_index_that_leads_elsewhere(folder, mark, name):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    refused(load_model, folder, mark, "is no shard")


BROKEN_CONFIGS = {
    "no JSON": "{",
    "a list": "[]",
    "very deep": "[" * 100_000,
    "of nothing": "{}",
    "of another architecture": '{"model_type": "bert"}',
    "of a speech model": '{"model_type": "whisper"}',
    "of an unknown kind": '{"model_type": "nope"}',
    "with texts for numbers": '{"model_type": "olmo", "hidden_size": "x"}',
    "with no heads": '{"model_type": "olmo", "hidden_size": 32, "num_attention_heads": 0}',
    "with a negative size": '{"model_type": "olmo", "hidden_size": -32}',
    "with another size": '{"model_type": "olmo", "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 330}',
}


@pytest.mark.parametrize("name", BROKEN_CONFIGS)
def test_a_broken_configuration_is_one_message(folder, mark, name):
    (folder / "config.json").write_text(BROKEN_CONFIGS[name])
    refused(load_model, folder, mark)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 1}', '{"version": "1.0", "model": {"type": "Evil"}}', "\0"])
def test_a_broken_tokenizer_is_one_message(folder, mark, text):
    (folder / "tokenizer.json").write_text(text)
    refused(load_tokenizer, folder, mark)


def test_no_tokenizer_is_one_message(folder, mark):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    refused(load_tokenizer, folder, mark)


def test_another_vocabulary_is_one_message(folder):
    make_model(vocabulary=20).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="330 tokens, the embedding only 20 rows"):
        check_vocabulary(load_model(folder), load_tokenizer(folder), folder)


def test_a_payload_in_a_step_checkpoint(tmp_path, mark, payload, caplog):
    path = tmp_path / "step.ckpt"
    state = {"step": 1, "model": {}, "optimizer": {"state": {0: payload}}, "random": torch.get_rng_state()}
    for how in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save(state, path, **how)
        with caplog.at_level(logging.WARNING):
            assert load_state(path) is None
        assert not mark.exists()
        assert not path.exists()
        assert "training starts from the beginning" in caplog.text
