from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from pretune.checkpoints.loading import check_vocabulary, load_model, load_tokenizer
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import hash_weights, label_of, locate, resolve
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError
from pretune.results.store import Study
from support.configs import HUB, LADDER, change
from support.models import make_model, make_tokenizer


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "model"
    make_model().save_pretrained(target)
    make_tokenizer("bpe").save_pretrained(target)
    return target


@pytest.fixture
def refs(tmp_path):
    return RefCache(Study(tmp_path / "study"))


def edit(folder, change_):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change_(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_model_is_loaded_in_fp32_for_evaluation(folder):
    edit(folder, lambda t: t.update({name: value.bfloat16() for name, value in t.items()}))
    model = load_model(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training


def test_missing_weights_are_named(folder):
    edit(folder, lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match=r"missing or of the wrong shape: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(folder)


def test_weights_of_the_wrong_shape_are_refused(folder):
    edit(folder, lambda t: t.update({"lm_head.weight": torch.zeros(3, 32)}))
    with pytest.raises(CheckpointError, match=str(folder)):
        load_model(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(folder, value):
    edit(folder, lambda t: t["model.layers.0.self_attn.q_proj.weight"].view(-1)[7:8].fill_(value))
    with pytest.raises(CheckpointError, match=r"not finite: model\.layers\.0\.self_attn\.q_proj\.weight"):
        load_model(folder)


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="no loadable causal language model"):
        load_model(folder)


def test_pickled_weights_are_not_loaded(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no loadable causal language model"):
        load_model(folder)
    with pytest.raises(CheckpointError, match="no safetensors weights; pickled weights are not loaded unless"):
        hash_weights(folder)


@pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "no-such-model"}', '{"model_type": "t5"}'])
def test_configuration_of_no_language_model_is_refused(folder, config):
    (folder / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match="no loadable causal language model"):
        load_model(folder)


def test_code_of_a_repository_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    with pytest.raises(CheckpointError):
        load_model(folder)
    assert not (folder / "ran").exists()


def test_missing_or_damaged_tokenizer_is_refused(folder, tmp_path):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="no loadable tokenizer"):
        load_tokenizer(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no loadable tokenizer"):
        load_tokenizer(tmp_path / "empty")


def test_padding_falls_back_to_end_of_text(folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_tokenizer_larger_than_the_embedding_is_refused(folder):
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    check_vocabulary(model, tokenizer, folder)
    small = make_model(vocabulary=40)
    with pytest.raises(CheckpointError, match=rf"has {len(tokenizer)} tokens, the embedding only 40 rows"):
        check_vocabulary(small, tokenizer, folder)


def local(path) -> Checkpoint:
    return Checkpoint(source="path", family="path", path=str(path))


def test_local_weights_are_identified_by_content_not_by_place(folder, tmp_path, refs):
    here = resolve(local(folder), refs)
    moved = folder.rename(tmp_path / "moved")
    there = resolve(local(moved), refs)
    assert there.identity == here.identity
    assert here.label.startswith("model-")
    assert there.label.startswith("moved-")
    assert here.label[-6:] == there.label[-6:]
    assert locate(there, str(tmp_path)) == moved
    edit(moved, lambda t: t["lm_head.weight"].view(-1)[:1].add_(1))
    assert resolve(local(moved), refs).identity != here.identity


def test_a_mended_tokenizer_or_configuration_is_another_checkpoint(folder, refs):
    before = resolve(local(folder), refs).identity
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    assert resolve(local(folder), refs).identity != before


def test_local_folder_without_weights_is_named(tmp_path, refs):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=rf"checkpoint\.path={place}: no safetensors"):
            resolve(local(place), refs)


def test_ladder_is_identified_by_recipe_and_step(tmp_path, refs):
    found = resolve(LADDER, refs)
    assert (found.step, found.tokens, found.label, found.pretrain_seed) == (2, 2 * 4 * 16, "step2", 0)
    assert found.identity == resolve(change(LADDER, "recipe.optimizer.fused", False), refs).identity
    assert found.identity != resolve(change(LADDER, "recipe.seed", 1), refs).identity
    assert found.identity != resolve(change(LADDER, "step", 5), refs).identity
    assert locate(found, str(tmp_path)).name == "step2"


@pytest.mark.parametrize("step", [None, "all", 3])
def test_step_that_the_ladder_does_not_have_is_refused(refs, step):
    with pytest.raises(CheckpointError, match=rf"checkpoint\.step={step}: name a step of the ladder; valid: 0, 2, 5"):
        resolve(change(LADDER, "step", step), refs)


def test_labels_are_short_and_tell_checkpoints_apart():
    assert label_of(HUB) == "step1000"
    assert label_of(change(HUB, "phase", "stage2")) == "stage2-step1000"
    assert label_of(change(HUB, "step", None)) == "main"
    assert label_of(Checkpoint(family="hub", repo="a/b", revision="v1")) == "a/b@v1"
