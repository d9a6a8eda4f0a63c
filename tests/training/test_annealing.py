from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pretune.checkpoints.ladders import is_built, read_manifest, step_dir
from pretune.checkpoints.loading import load_model, load_tokenizer
from pretune.checkpoints.resolution import resolve
from pretune.config.running import Trainer
from pretune.config.science import Checkpoint, Corpus, Stage
from pretune.config.validation import find_problems
from pretune.data.packing import prepare_text
from pretune.training.annealing import LadderBuilder, PackedSteps
from pretune.training.fitting import fit
from pretune.training.module import CausalLanguageModeling
from pretune.training.pretrain import build_model
from support.configs import CONFIG, RECIPE, change
from support.models import SENTENCES
from support.training import Interrupted

TRAINER = Trainer(precision="32-true", accelerator="cpu", threads=1, save_seconds=1e-9)
STAGE = Stage(
    name="pretrain", batch_size=4, sequence_length=16, schedule="wsd", warmup_steps=2, decay_ratio=0.4,
    save_steps=(0, 5, 10),
)  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    pq.write_table(pa.table({"text": SENTENCES[:60]}), folder / "a.parquet")
    return folder


def recipe_for(text, **stage):
    recipe = change(change(RECIPE, "text", "folder"), "stage", STAGE)
    for key, value in stage.items():
        recipe = change(recipe, f"stage.{key}", value)
    return change(recipe, "corpus", Corpus(path=str(text), held_out=6, vocabulary=270, tokenizer_documents=20))


def build(recipe, folder, *, stop_at=None, seen=None):
    def on_step(done, total):
        if seen is not None:
            seen.append((done, total))
        if done == stop_at:
            raise Interrupted

    tokenizer, packed = prepare_text(recipe, folder)
    LadderBuilder(
        recipe=recipe, folder=folder, tokenizer=tokenizer, text=packed, trainer=TRAINER, on_step=on_step
    ).build()


def weights(folder):
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("step*/*.safetensors"))}


@pytest.fixture(scope="module")
def ladder(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder") / "whole"
    build(recipe_for(text), folder)
    return folder


def test_every_budget_equals_a_run_of_its_own(text, ladder):
    recipe = recipe_for(text)
    tokenizer, packed = prepare_text(recipe, ladder)
    for budget in (5, 10):
        model = build_model(recipe.model, tokenizer, seed=0)
        module = CausalLanguageModeling(model, stage=recipe.stage, optimizer=recipe.optimizer, total_steps=budget)
        steps = PackedSteps(packed, size=4, start=0, stop=budget, micro_batch=None)
        fit(module, steps, trainer=TRAINER, precision="32-true", epochs=1)
        saved = load_model(step_dir(ladder, budget))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), saved.parameters(), strict=True))


def test_manifest_says_how_often_the_text_was_seen_and_the_losses(text, ladder):
    manifest = read_manifest(ladder)
    tokens = manifest["text_tokens"]
    assert manifest["epochs"] == {"0": 0.0, "5": 5 * 64 / tokens, "10": 640 / tokens}
    assert manifest["repeats_text"] is (640 / tokens > 4)
    assert set(manifest["validation_loss"]) == set(manifest["loss"]) == {"5", "10"}
    assert manifest["validation_loss"]["10"] < manifest["validation_loss"]["5"]
    assert not list(ladder.glob("*.ckpt"))
    assert len(load_tokenizer(step_dir(ladder, 5))) == manifest["vocabulary"] == 270


@pytest.mark.parametrize("stop_at", [1, 4, 7, 9, 11])
def test_interrupted_ladder_goes_on_to_the_same_weights(text, ladder, tmp_path, stop_at):
    folder, seen = tmp_path / "ladder", []
    with pytest.raises(Interrupted):
        build(recipe_for(text), folder, stop_at=stop_at)
    assert not is_built(folder)
    build(recipe_for(text), folder, seen=seen)
    assert len(seen) <= 12 - stop_at + 1
    assert seen[-1] == (12, 12)
    assert weights(folder) == weights(ladder)
    assert read_manifest(folder)["loss"] == read_manifest(ladder)["loss"]
    assert read_manifest(folder)["validation_loss"] == read_manifest(ladder)["validation_loss"]


def test_other_schedules_train_each_budget_by_itself_or_keep_the_trunk(text, tmp_path):
    seen: list[tuple[int, int]] = []
    build(recipe_for(text, schedule="cosine"), tmp_path / "own", seen=seen)
    assert seen[-1] == (15, 15)
    build(recipe_for(text, schedule="constant"), tmp_path / "trunk", seen=seen)
    assert seen[-1] == (11, 11)  # of each budget the last step is trained apart from the trunk


def test_windows_shorter_than_the_context_are_refused(text):
    checkpoint = Checkpoint(source="ladder", family="text", recipe=recipe_for(text), step=10)
    problems = [problem.key for problem in find_problems(change(CONFIG, "checkpoint", checkpoint))]
    assert problems == ["checkpoint.recipe.stage.sequence_length"]
    fitting = change(checkpoint, "recipe.model.context_length", 16)
    assert find_problems(change(CONFIG, "checkpoint", fitting)) == []


def test_ladder_folder_and_recipe_are_the_same_checkpoint(text, ladder):
    by_folder = Checkpoint(source="ladder", family="text", path=str(ladder), step=10)
    by_recipe = Checkpoint(source="ladder", family="text", recipe=recipe_for(text), step=10)
    one, two = resolve(by_folder, None), resolve(by_recipe, None)
    assert one.identity == two.identity
    assert (one.tokens, one.annealed) == (640, True)
    assert resolve(change(by_folder, "step", 0), None).annealed is False
