from __future__ import annotations

import json

import pytest
import torch

from pretune.checkpoints.ladders import is_built, ladder_dir, read_manifest, step_dir
from pretune.checkpoints.loading import load_model, load_tokenizer
from pretune.config.running import Trainer
from pretune.config.science import Model
from pretune.errors import PretuneError
from pretune.training.pretrain import build_model, stream_windows, train_ladder
from pretune.training.resume import FILE_NAME
from support.configs import RECIPE, change
from support.models import SENTENCES, make_tokenizer
from support.training import Interrupted

TRAINER = Trainer(precision="32-true", accelerator="cpu", threads=1, save_seconds=1e-9)


def tokenizer():
    made = make_tokenizer("word")
    made.pad_token = made.eos_token
    return made


def build(folder, recipe=RECIPE, *, stop_at=None, documents=SENTENCES, seen=None):
    def on_step(done, total):
        if seen is not None:
            seen.append((done, total))
        if done == stop_at:
            raise Interrupted

    train_ladder(recipe, folder, tokenizer=tokenizer(), documents=documents, trainer=TRAINER, on_step=on_step)


def files(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix == ".safetensors"
    }


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder") / "whole"
    build(folder)
    return folder


def test_initial_weights_have_the_configured_spread_and_follow_the_seed():
    config = Model(hidden_size=64, intermediate_size=128, layers=2, heads=4, init_std=0.08)
    model = build_model(config, tokenizer(), seed=0)
    for name, parameter in model.named_parameters():
        assert parameter.std().item() == pytest.approx(0.08, rel=0.1), name
        assert abs(parameter.mean().item()) < 0.01
    assert model.get_input_embeddings().weight.shape == (len(tokenizer()), 64)
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight
    again, other = (build_model(config, tokenizer(), seed=seed) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(model.parameters()), next(other.parameters()))
    tied = build_model(change(config, "tie_embeddings", True), tokenizer(), seed=0)
    assert tied.get_input_embeddings().weight is tied.get_output_embeddings().weight


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_windows_are_the_stream_of_documents_cut_evenly(chunk):
    made = tokenizer()
    stream = [token for text in SENTENCES[:10] for token in (*made(text)["input_ids"], made.eos_token_id)]
    windows = list(stream_windows(iter(SENTENCES[:10]), made, length=16, chunk=chunk))
    assert {len(window) for window in windows} == {16}
    assert sum(windows, []) == stream[: len(stream) // 16 * 16]
    assert list(stream_windows([], made, length=16)) == []


def test_ladder_holds_its_steps_and_then_its_manifest(ladder):
    assert sorted(path.name for path in ladder.iterdir()) == ["SHA256SUMS", "ladder.json", "step0", "step2", "step5"]
    assert is_built(ladder)
    manifest = read_manifest(ladder)
    assert manifest["recipe"]["stage"]["save_steps"] == [0, 2, 5]
    assert manifest["parameters"] == load_model(step_dir(ladder, 5)).num_parameters()
    assert manifest["resumed_at"] == 0
    weights = list(files(ladder).values())
    assert len(set(weights)) == len(weights) == 3
    assert load_tokenizer(step_dir(ladder, 2)).get_vocab() == tokenizer().get_vocab()


def test_first_rung_is_the_initialisation(ladder):
    initial = build_model(RECIPE.model, tokenizer(), seed=RECIPE.seed)
    saved = load_model(step_dir(ladder, 0))
    assert all(torch.equal(a, b) for a, b in zip(initial.parameters(), saved.parameters(), strict=True))


def test_same_recipe_gives_the_same_ladder_and_another_seed_another(ladder, tmp_path):
    build(tmp_path / "again")
    build(tmp_path / "other", change(RECIPE, "seed", 1))
    assert files(tmp_path / "again") == files(ladder)
    assert all(files(tmp_path / "other")[name] != body for name, body in files(ladder).items())


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_interrupted_ladder_goes_on_to_the_same_weights(ladder, tmp_path, stop_at):
    folder, seen = tmp_path / "ladder", []
    with pytest.raises(Interrupted):
        build(folder, stop_at=stop_at)
    assert not is_built(folder)
    assert (folder / FILE_NAME).is_file()
    build(folder, seen=seen)
    assert seen == [(step, 5) for step in range(stop_at + 1, 6)]
    assert files(folder) == files(ladder)
    assert read_manifest(folder)["resumed_at"] == stop_at
    assert read_manifest(folder)["loss"] == read_manifest(ladder)["loss"]
    assert not (folder / FILE_NAME).exists()


def test_half_written_rung_is_written_again(ladder, tmp_path):
    folder = tmp_path / "ladder"
    (folder / ".step2").mkdir(parents=True)
    (folder / ".step2" / "model.safetensors").write_bytes(b"half")
    build(folder)
    assert files(folder) == files(ladder)
    assert not (folder / ".step2").exists()


def test_text_that_runs_out_leaves_no_manifest(tmp_path):
    with pytest.raises(PretuneError, match="pre-training text ends"):
        build(tmp_path / "ladder", documents=SENTENCES[:3])
    assert not is_built(tmp_path / "ladder")


def test_damaged_manifest_is_named(tmp_path):
    folder = ladder_dir(tmp_path, RECIPE)
    folder.mkdir(parents=True)
    (folder / "ladder.json").write_text("{")
    with pytest.raises(PretuneError, match=r"ladder\.json is damaged .* delete the folder"):
        read_manifest(folder)


def test_ladder_has_the_folder_of_its_recipe(tmp_path):
    assert ladder_dir(tmp_path, RECIPE) == ladder_dir(tmp_path, change(RECIPE, "optimizer.fused", False))
    assert ladder_dir(tmp_path, RECIPE) != ladder_dir(tmp_path, change(RECIPE, "seed", 1))
    assert ladder_dir(tmp_path, RECIPE).parent == tmp_path / "ladders"


def test_losses_are_those_of_the_steps_kept(ladder):
    manifest = json.loads((ladder / "ladder.json").read_text())
    assert list(manifest["loss"]) == ["2", "5"]
