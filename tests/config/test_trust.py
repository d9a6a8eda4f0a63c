"""Config folders from elsewhere may hold values only: what could make Hydra run code is refused before Hydra runs."""

from __future__ import annotations

import pytest

from pretune.config.trust import check_config_folders, named_folders
from pretune.errors import UsageError
from support.commands import run

VALUES = "name: snli\nfamily: nli\nlabels: {'0': entailment}\n"
HOSTILE = {
    "a callback": "hydra:\n  callbacks:\n    x:\n      _target_: os.mkdir\n",
    "a target": "trainer:\n  _target_: os.system\n",
    "a target in a list": "x:\n  - {_target_: os.system}\n",
    "hydra's package": "# @package hydra\ncallbacks: {}\n",
    "an override of a hydra group": "defaults:\n  - override hydra/launcher: x\n",
    "a config placed into hydra": "defaults:\n  - x@hydra.callbacks: y\n",
    "an object tag": "x: !!python/object/apply:os.system [ls]\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("how", ["--config-dir={}", "-cd {}", "--config-path={}", "hydra.searchpath=[file://{}]"])
def test_hostile_folder_is_refused(tmp_path, text, how):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"x\.yaml: .*values only"):
        check_config_folders(how.format(tmp_path).split())


def test_folder_of_values_is_accepted(tmp_path):
    (tmp_path / "snli.yaml").write_text(VALUES)
    check_config_folders([f"--config-dir={tmp_path}", "task=snli", "hydra.verbose=true"])


def test_folders_are_found_however_they_are_written():
    words = ["--config-dir", "a", "-cp", "b", "hydra.searchpath=[file://c,'d']", "task=x"]
    assert [str(folder) for folder in named_folders(words)] == ["a", "b", "c", "d"]


def test_hostile_folder_runs_nothing(tmp_path):
    """The command itself: the callback would make a folder before our code runs."""
    folder, mark = tmp_path / "theirs" / "trainer", tmp_path / "mark"
    folder.mkdir(parents=True)
    callback = f"# @package _global_\nhydra:\n  callbacks:\n    x: {{_target_: os.mkdir, path: '{mark}'}}\n"
    (folder / "nice.yaml").write_text(callback)
    work = tmp_path / "work"
    work.mkdir()
    result = run("train.py", f"--config-dir={folder.parent}", "trainer=nice", "mode=plan", cwd=work)
    assert result.status == 2
    assert "hydra" in result.err
    assert not mark.exists()
