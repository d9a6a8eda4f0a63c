"""Weights in the Hub's cache that changed since their download: noticed while they are loaded, and fetched again."""

from __future__ import annotations

import pytest

from pretune.checkpoints.loading import load_model
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import locate, resolve
from pretune.checkpoints.soundness import checking, known_sums, set_aside
from pretune.errors import CheckpointError, WeightsDamaged
from pretune.results.store import Study
from support.configs import HUB
from support.hub import save_weights

REPO = "owner/model"


@pytest.fixture
def found(hub, tmp_path, tmp_path_factory):
    hub.add_model(REPO, {"step1000-tokens4B": save_weights(tmp_path_factory.mktemp("weights"))})
    return resolve(HUB, RefCache(Study(tmp_path / "study")))


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_download_is_set_aside_and_fetched_again(hub, found, tmp_path, damage):
    folder = locate(found, str(tmp_path))
    path = folder / "model.safetensors"
    content = path.read_bytes()
    changed = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:] if damage == "flip" else content[:-9]
    path.resolve().write_bytes(changed)
    with (
        pytest.raises(WeightsDamaged, match=r"model\.safetensors: damaged") as caught,
        checking(folder, known_sums(found, folder)),
    ):
        load_model(folder)
    assert set_aside(found, folder, caught.value)
    assert not path.exists()
    folder = locate(found, str(tmp_path))
    assert path.read_bytes() == content
    with checking(folder, known_sums(found, folder)):
        load_model(folder)
    (aside,) = path.resolve().parent.glob("*.pretune.damaged")
    assert aside.read_bytes() == changed


def test_other_errors_of_sound_files_stay_what_they_are(found, tmp_path):
    folder = locate(found, str(tmp_path))
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError), checking(folder, known_sums(found, folder)):
        load_model(folder)
