"""A grid is fetched where there is a network, and run where there is none: the real commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.commands import environment, run
from support.hub import LoopbackHub, parquet, save_weights

ROWS = [{"premise": "a bird sat", "hypothesis": f"a tree {number}", "label": number % 3} for number in range(12)]
TEXT = [{"text": f"a robin sat in the garden {number} ."} for number in range(5)]
WORDS = (
    "-m", "checkpoint=hub", "checkpoint.repo=owner/model", "checkpoint.revision=step1,step2", "task=mnli",
    "task.repo=owner/nli", "task.config=plain", "task.train_rows=4", "task.validation_rows=2", "stage.epochs=1",
    "eval.relations=[validation]", "logger=none", "trainer=fp32", "keep_model=none",
)  # fmt: skip


@pytest.fixture
def hub(tmp_path):
    loopback = LoopbackHub()
    loopback.add_model(
        "owner/model", {f"step{seed}": save_weights(tmp_path / f"weights{seed}", seed=seed) for seed in (1, 2)}
    )
    splits = {name: parquet(ROWS) for name in ("train", "validation_matched")}
    loopback.add_dataset("owner/nli", {"plain": splits})
    loopback.start()
    yield loopback
    loopback.stop()


def test_grid_that_was_prefetched_runs_without_a_network(hub, tmp_path: Path):
    (tmp_path / "here").mkdir()
    words = ("train.py", *WORDS, f"study_dir={tmp_path / 'study'}")
    env = environment(tmp_path, HF_ENDPOINT=hub.address, HF_HOME=str(tmp_path / "hf"), HF_HUB_DISABLE_XET="1")

    def call(*more: str, **variables: str):
        return run(*words, *more, cwd=tmp_path / "here", env={**env, **variables}, fresh=True)

    hub.fail, hub.cut = {"model.safetensors": 1}, {"train.parquet": 1}
    offline = call(HF_HUB_OFFLINE="1")
    assert offline.status == 1
    assert "mode=prefetch" in offline.err
    fetched = call("mode=prefetch")
    assert fetched.status == 0, fetched.text
    assert "Weights of 2 checkpoints, 2 of them to download: 0.4 MB" in fetched.out
    asked = len(hub.requests)
    hub.stop()
    done = call("cache.evict=true", HF_HUB_OFFLINE="1")
    assert done.status == 0, done.text
    assert done.done == (2, 4)
    assert len(hub.requests) == asked
    assert not list((tmp_path / "hf" / "hub").glob("models--*/snapshots/*/*"))
    assert list((tmp_path / "here").iterdir()) == []
    runs = [json.loads(path.read_text()) for path in (tmp_path / "study" / "runs").glob("train-*/run.json")]
    assert {tuple(found["facts"]["weight_hashes"]) for found in runs} == {("model.safetensors",)}
    assert len({found["facts"]["commit"] for found in runs}) == 2
