"""Whose weights they are, and how they come here: against a Hub on the loopback that misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pretune.checkpoints import downloads
from pretune.checkpoints.downloads import download, find_cached, missing_files, remove
from pretune.checkpoints.files import choose_weights
from pretune.checkpoints.ledger import WeightLedger
from pretune.checkpoints.loading import load_model
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import locate, resolve
from pretune.errors import CheckpointError, DataError, HubUnreachable
from pretune.results.store import Study
from support.configs import HUB, change
from support.hub import save_weights
from support.models import make_model

REPO = "owner/model"
NAMED = change(change(HUB, "step", None), "final_step", None)
STEPS = ("step1000-tokens4B", "step2000-tokens8B")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders of files of two models in shards, and of one in a single file."""
    kinds = ((0, "100KB"), (1, "100KB"), (2, "1GB"))
    return [save_weights(tmp_path_factory.mktemp("weights"), seed=seed, shard=shard) for seed, shard in kinds]


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "study")


@pytest.fixture
def refs(study):
    return RefCache(study)


@pytest.fixture
def model(hub, weights):
    return hub.add_model(REPO, {"main": weights[2], STEPS[0]: weights[0], STEPS[1]: weights[2]})


def content_of(loaded):
    return {name: tensor.sum().item() for name, tensor in loaded.state_dict().items()}


# --- which files


def test_all_shards_and_nothing_else_are_hashed_and_downloaded(hub, model, refs, tmp_path):
    model.revisions[STEPS[0]] |= {
        "consolidated.safetensors": b"other",
        "optimizer.safetensors": b"other",
        "pytorch_model.bin": b"pickle",
        "onnx/model.safetensors": b"other",
        "code.py": b"raise SystemExit",
    }
    found = resolve(HUB, refs)
    assert len(found.hashes) > 1
    assert all(name.startswith("model-0000") for name in found.hashes)
    folder = locate(found, str(tmp_path))
    assert {path.name for path in folder.iterdir()} == {file.name for file in found.files}
    assert not {"consolidated.safetensors", "pytorch_model.bin", "onnx", "code.py"} & {p.name for p in folder.iterdir()}
    assert content_of(load_model(folder)) == content_of(make_model(seed=0))


@pytest.mark.parametrize("lost", ["model-00002-of-", "model.safetensors.index.json"])
def test_shards_that_are_incomplete_on_the_hub_are_refused(hub, model, refs, lost):
    files = model.revisions[STEPS[0]]
    del files[next(name for name in files if name.startswith(lost))]
    with pytest.raises(CheckpointError, match=f"{REPO} at {STEPS[0]} .* sharded weights are incomplete"):
        resolve(HUB, refs)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["README.md"], "no safetensors weights$"),
        (["pytorch_model.bin"], "pickled weights are not loaded unless checkpoint.allow_pickle=true"),
        (["adapter_model.safetensors", "adapter_config.json"], "holds an adapter, not a model"),
        (["tf_model.h5", "consolidated.00.pth"], r"it has consolidated\.00\.pth"),
        (["sub/model.safetensors"], "no safetensors weights$"),
    ],
)
def test_repository_without_loadable_weights_says_what_it_has(names, said):
    with pytest.raises(CheckpointError, match=said):
        choose_weights(names, "owner/model at main")


def test_pickled_weights_are_taken_on_demand_only_and_never_run_code(hub, weights, refs, tmp_path):
    files = {name: body for name, body in weights[2].items() if name != "model.safetensors"}
    (tmp_path / "model.safetensors").write_bytes(weights[2]["model.safetensors"])
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    repository = hub.add_model(
        REPO, {"main": {**files, "pytorch_model.bin": (tmp_path / "pytorch_model.bin").read_bytes()}}
    )
    with pytest.raises(CheckpointError, match="allow_pickle=true"):
        resolve(NAMED, refs)
    allowed = change(NAMED, "allow_pickle", True)
    found = resolve(allowed, refs)
    assert list(found.hashes) == ["pytorch_model.bin"]
    folder = locate(found, str(tmp_path))
    assert content_of(load_model(folder, allow_pickle=True)) == content_of(make_model(seed=2))
    with pytest.raises(CheckpointError, match="no loadable"):
        load_model(folder)
    repository.revisions["main"]["pytorch_model.bin"] = pickle.dumps(Opens(str(tmp_path / "ran")))
    evil = resolve(allowed, RefCache(Study(tmp_path / "another")))
    with pytest.raises(CheckpointError, match="no loadable"):
        load_model(locate(evil, str(tmp_path)), allow_pickle=True)
    assert not (tmp_path / "ran").exists()


class Opens:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_safetensors_come_first_even_where_pickles_are_allowed(weights):
    names = [*weights[2], "pytorch_model.bin"]
    assert choose_weights(names, "here", allow_pickle=True) == ["model.safetensors"]


def test_hashes_that_the_hub_does_not_record_are_computed_after_the_download(hub, model, weights, study, caplog):
    model.records = False
    caplog.set_level("INFO")
    found = resolve(change(HUB, "step", 2000), RefCache(study))
    assert found.hashes == {"model.safetensors": hashlib.sha256(weights[2]["model.safetensors"]).hexdigest()}
    assert "downloaded to compute it" in caplog.text
    hub.stop()
    assert resolve(change(HUB, "step", 2000), RefCache(study)) == found  # the study keeps them


# --- the same weights, other weights


def enter(study, *checkpoints):
    for checkpoint in checkpoints:
        WeightLedger(study).enter(resolve(checkpoint, RefCache(study)))


def test_equal_weights_are_refused_across_the_commands_of_a_study(hub, model, weights, study):
    model.revisions["step3000-tokens12B"] = weights[0]
    enter(study, HUB, HUB, change(HUB, "step", 2000))
    with pytest.raises(CheckpointError) as caught:
        enter(study, change(HUB, "step", 3000))
    assert f"{REPO}@{STEPS[0]} and {REPO}@step3000-tokens12B have equal weights" in str(caught.value)
    kept = next((study.root / "checkpoints").glob("*step1000*"))
    assert str(kept) in str(caught.value)
    kept.unlink()
    enter(study, change(HUB, "step", 3000))


def test_equal_weights_in_another_repository_are_refused_too(hub, model, weights, study):
    hub.add_model("other/copy", {"main": weights[0]})
    enter(study, HUB)
    with pytest.raises(CheckpointError, match=f"{REPO}@{STEPS[0]} and other/copy@main have equal weights"):
        enter(study, change(NAMED, "repo", "other/copy"))


def test_declared_alias_is_one_point_whichever_name_came_first(hub, model, tmp_path):
    family = change(HUB, "final_step", 2000)
    pair = (change(family, "step", None), change(family, "step", 2000))
    for number, order in enumerate((pair, pair[::-1])):
        enter(Study(tmp_path / str(number)), *order)


def test_declared_alias_that_is_none_is_refused(hub, model, refs):
    family = change(change(HUB, "final_step", 1000), "step", None)
    with pytest.raises(
        CheckpointError, match=rf"final_step=1000: main and {STEPS[0]} of {REPO} have different weights"
    ):
        resolve(family, refs)
    assert resolve(change(family, "final_step", None), refs).step is None


def test_branch_that_has_moved_is_reported_and_not_followed(hub, model, weights, study, caplog):
    before = resolve(NAMED, RefCache(study))
    model.revisions["main"] = weights[1]
    model.revisions["step3000-tokens12B"] = weights[0]
    cache = RefCache(study)
    assert resolve(NAMED, cache) == before
    resolve(change(HUB, "step", 3000), cache)  # asks for new branches
    assert f"main of {REPO} has moved ({before.commit[:12]}" in caplog.text
    assert str(cache.path(REPO)) in caplog.text
    assert resolve(NAMED, cache) == before
    assert resolve(NAMED, RefCache(study)) == before


def test_name_with_other_weights_than_before_is_refused(hub, model, weights, study):
    before = resolve(NAMED, RefCache(study))
    enter(study, NAMED)
    model.revisions["main"] = weights[1]
    RefCache(study).path(REPO).unlink()
    with pytest.raises(CheckpointError, match=rf"main has other weights .* checkpoint\.revision={before.commit}"):
        enter(study, NAMED)


@pytest.mark.parametrize("body", ["", "{", "[]", "{}"])
def test_damaged_entry_of_the_ledger_is_written_again(hub, model, study, body):
    enter(study, HUB)
    (path,) = (study.root / "checkpoints").iterdir()
    good = json.loads(path.read_text())
    path.write_text(body)
    enter(study, HUB)
    assert json.loads(path.read_text()) == good


# --- downloads


@pytest.fixture
def found(hub, model, refs):
    return resolve(change(HUB, "step", 2000), refs)


def fetch(found):
    return download(REPO, found.commit, found.files)


def test_a_download_that_stalls_goes_on_after_the_time_limit(hub, model, found, monkeypatch):
    """The server sends half of the weights and then nothing, with the connection open."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    hub.stall = {"model.safetensors": 2}
    started = time.monotonic()
    folder = fetch(found)
    assert hub.stall == {"model.safetensors": 0}
    assert time.monotonic() - started < 20
    assert (folder / "model.safetensors").read_bytes() == model.revisions[found.revision]["model.safetensors"]


def test_answer_of_503_is_asked_again(hub, found, weights):
    hub.fail = {"model.safetensors": 2, "config.json": 1}
    assert (fetch(found) / "model.safetensors").read_bytes() == weights[2]["model.safetensors"]


def test_listing_answered_with_503_is_asked_again(hub, model, refs):
    hub.fail = {"/refs": 1, f"/tree/{model.commit(STEPS[0])}": 1}
    assert resolve(HUB, refs).revision == STEPS[0]


def test_hub_that_stays_busy_is_one_clear_message(hub, found):
    hub.fail = {"model.safetensors": 99}
    with pytest.raises(HubUnreachable, match=rf"checkpoint.repo={REPO}: {hub.address} answered: .*503"):
        fetch(found)


def test_connection_that_breaks_off_is_gone_on_with(hub, found, weights, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut = {"model.safetensors": 1}
    assert (fetch(found) / "model.safetensors").read_bytes() == weights[2]["model.safetensors"]
    (again,) = [int(m[1]) for m in map(re.compile(r".*model\.safetensors bytes=(\d+)-").fullmatch, hub.requests) if m]
    assert 0 < again <= len(weights[2]["model.safetensors"]) // 2


def test_download_that_was_interrupted_goes_on_in_another_process(hub, found, weights, monkeypatch):
    """The partial file is what a killed process leaves behind."""
    whole = weights[2]["model.safetensors"]
    sha256 = found.hashes["model.safetensors"]
    blobs = blobs_of(REPO)
    blobs.mkdir(parents=True)
    (blobs / f"{sha256}.pretune.incomplete").write_bytes(whole[:70_000])
    assert (fetch(found) / "model.safetensors").read_bytes() == whole
    assert any(request.endswith("model.safetensors bytes=70000-") for request in hub.requests)
    assert not list(blobs.glob("*.incomplete"))


@pytest.mark.parametrize("rubbish", [b"x" * 70_000, b"x" * 10**6])
def test_partial_file_of_other_content_is_thrown_away(hub, found, weights, rubbish):
    blobs = blobs_of(REPO)
    blobs.mkdir(parents=True)
    (blobs / f"{found.hashes['model.safetensors']}.pretune.incomplete").write_bytes(rubbish)
    if len(rubbish) < len(weights[2]["model.safetensors"]):
        with pytest.raises(DataError, match="arrived with SHA-256 .* it was removed: run the same command again"):
            fetch(found)
    assert (fetch(found) / "model.safetensors").read_bytes() == weights[2]["model.safetensors"]


def test_what_is_in_the_cache_is_asked_of_nobody(hub, found):
    folder = fetch(found)
    hub.stop()
    assert fetch(found) == folder
    assert missing_files(REPO, found.commit, found.files) == []


def test_offline_mode_uses_the_cache_and_names_what_is_not_there(hub, model, found, study, monkeypatch):
    fetch(found)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.requests)
    again = resolve(change(HUB, "step", 2000), RefCache(study))
    assert fetch(again).is_dir()
    with pytest.raises(CheckpointError, match=r"step=1500: .* nearest: 1000, 2000"):
        resolve(change(HUB, "step", 1500), RefCache(study))
    monkeypatch.setattr("pretune.checkpoints.hub.PAUSES", (60.0,))  # nobody is asked again
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set, and neither.*\n.*mode=prefetch"):
        resolve(HUB, RefCache(study))
    assert len(hub.requests) == asked


def test_private_repository_says_what_to_do(hub, model, refs):
    model.private = True
    with pytest.raises(CheckpointError, match=r"not found on .* \(or private: set HF_TOKEN\)"):
        resolve(HUB, refs)


def test_removed_checkpoint_leaves_what_another_shares(hub, model, refs):
    one, other = (resolve(change(HUB, "step", step), refs) for step in (1000, 2000))
    for each in (one, other):
        download(REPO, each.commit, each.files)
    assert remove(REPO, one.commit) >= sum(len(model.revisions[STEPS[0]][name]) for name in one.hashes)
    assert find_cached(REPO, one.commit, "config.json") is None
    assert missing_files(REPO, other.commit, other.files) == []
    assert remove(REPO, one.commit) == 0
    assert remove("owner/none", one.commit) == 0


def test_many_files_are_downloaded_at_once(hub, model, refs, monkeypatch):
    monkeypatch.setattr(downloads, "PARALLEL", 8)
    found = resolve(HUB, refs)
    folder = download(REPO, found.commit, found.files)
    assert all((folder / f.name).stat().st_size == f.size for f in found.files)


def blobs_of(repo: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{repo.replace('/', '--')}", "blobs")
