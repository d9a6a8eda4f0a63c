"""Config folders from elsewhere may hold values only: what could make Hydra run code is refused before Hydra runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pretune.config.trust import check_config_folders, find_code, find_search_path
from pretune.errors import UsageError
from support.commands import run

VALUES = "name: snli\nfamily: nli\nlabels: {'0': entailment}\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
HOSTILE = {
    "a callback": ("hydra:\n  callbacks:\n    x:\n      _target_: os.mkdir\n", "hydra"),
    "a target": ("trainer:\n  _target_: os.system\n", "_target_"),
    "a target in a list": ("x:\n  - {_target_: os.system}\n", "_target_"),
    "a target behind a merge": ("x: &x {_target_: os.system}\ny: {<<: *x}\n", "_target_"),
    "a target in a list of lists": ("x: [[[{_target_: os.system}]]]\n", "_target_"),
    "hydra's package": ("# @package hydra\ncallbacks: {}\n", "package"),
    "hydra's package, global": ("# @package _global_.hydra.callbacks\nx: {}\n", "package"),
    "hydra's package, squeezed": ("##@package hydra\ncallbacks: {}\n", "package"),
    "a dotted key": ("hydra.callbacks: {x: 1}\n", "hydra"),
    "an override of a hydra group": ("defaults:\n  - override hydra/launcher: x\n", "Hydra itself"),
    "an absolute override of a hydra group": ("defaults:\n  - override /hydra/job_logging: x\n", "Hydra itself"),
    "a config placed into hydra": ("defaults:\n  - x@hydra.callbacks: y\n", "Hydra itself"),
    "a config placed into hydra globally": ("defaults:\n  - x@_global_.hydra.callbacks: y\n", "Hydra itself"),
    "a config file placed into hydra": ("defaults:\n  - /x/y@hydra.callbacks\n", "Hydra itself"),
    "an option outside": ("defaults:\n  - task: ../../elsewhere/x\n", "looked through"),
    "a file outside": ("defaults:\n  - ../../elsewhere/x\n", "looked through"),
    "a computed option": ("defaults:\n  - task: ${a}\n", "looked through"),
    "the environment": ("name: ${oc.env:HF_TOKEN}\n", "computes"),
    "the environment, hidden": ("x: env\nname: ${oc.${x}:HF_TOKEN}\n", "computes"),
    "an object tag": ("x: !!python/object/apply:os.system [ls]\n", "plain YAML"),
    "an object of a class": ("x: !!python/object:os.system {}\n", "plain YAML"),
    "a name of Python": ("x: !!python/name:os.system\n", "plain YAML"),
    "two documents": ("x: 1\n---\nhydra: {}\n", "plain YAML"),
    "billions of values": (BOMB, "values"),
    "a value within itself": ("x: &x [*x]\n", "nested"),
    "very deep nesting": ("x: " + "[" * 4000 + "]" * 4000, "nested"),
    "a date that is none": ("x: 2020-99-99\n", "plain YAML"),
}
WAYS = ("--config-dir={}", "--config-di={}", "-cd {}", "--config-path={}", "hydra.searchpath=[file://{}]",
        "++hydra.searchpath=['{}']", "task=snli --config-d {}")  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file_is_refused_by_name(tmp_path, text, reason):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"x\.yaml: .*values only") as caught:
        check_config_folders([f"--config-dir={tmp_path}"])
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["theirs", "their config's folder"])
def test_every_way_to_name_a_folder_is_seen(tmp_path, how, name):
    folder = tmp_path / name.replace("'", "")
    folder.mkdir()
    (folder / "x.yaml").write_text("hydra: {}\n")
    words = [part.format(folder) for part in how.split()]
    with pytest.raises(UsageError, match=r"x\.yaml: .*values only"):
        check_config_folders(words)


def test_a_relative_path_begins_beside_the_script(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x.yaml").write_text("hydra: {}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"x\.yaml"):
        check_config_folders(["--config-path=theirs"], script=tmp_path / "train.py")


@pytest.mark.parametrize("place", ["hydra/launcher/x.yaml", "task/hydra/x.yaml", "Hydra/x.yml", "hydra.yaml"])
def test_hydras_own_groups_are_refused_whatever_they_hold(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version: 1\nhandlers: {x: {'()': os.mkdir}}\n")
    with pytest.raises(UsageError, match="configures Hydra itself"):
        check_config_folders([f"--config-dir={tmp_path}"])


def test_a_link_to_a_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "task").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link to another folder"):
        check_config_folders([f"--config-dir={tmp_path / 'theirs'}"])


@pytest.mark.parametrize(
    "word",
    ["task=../../elsewhere/x", "task=snli,../x", "+task@hydra.x=/tmp/x", "checkpoint=[../x]", "hydra/launcher=../../x",
     "--config-name=../x", "-cn=/tmp/x", "~/x@y=../z"],
)  # fmt: skip
def test_an_option_may_not_lead_out_of_the_config_folders(word):
    with pytest.raises(UsageError, match="leads out of the config folders"):
        check_config_folders([word], script=Path(__file__).parents[2] / "train.py")


def test_a_pickled_configuration_is_refused():
    with pytest.raises(UsageError, match="pickled"):
        check_config_folders(["--experimental-rerun=config.pickle"])


def test_folder_of_values_is_accepted(tmp_path):
    (tmp_path / "snli.yaml").write_text(VALUES)
    (tmp_path / "other.yaml").write_text("defaults:\n  - /task/base@_here_\n  - _self_\nname: ${family}\nfamily: x\n")
    script = Path(__file__).parents[2] / "train.py"
    words = [f"--config-dir={tmp_path}", "task=snli", "hydra.verbose=true", "study_dir=../x", "task.path=/rows"]
    check_config_folders(words, script=script)
    check_config_folders(["--config-path=conf"], script=script)


def test_search_path_is_read_as_hydra_reads_it():
    words = ["hydra.searchpath=[file://c,'d e',pkg://somewhere]", "task=x"]
    assert [str(folder) for folder in find_search_path(words)] == ["c", "d e"]
    with pytest.raises(UsageError, match="write the folder out"):
        find_search_path(["hydra.searchpath=['${oc.env:HOME}/x']"])


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.floats())
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=12
)


@given(data=DATA, key=st.sampled_from(["_target_", "hydra", "hydra/launcher", "x@hydra"]), wrap=st.integers(0, 3))
def test_code_is_found_wherever_it_lies(tmp_path_factory, data, key, wrap):
    hidden: object = {key: "os.system"}
    for depth in range(wrap):
        hidden = [data, hidden] if depth % 2 else {"a": data, "b": hidden}
    path = tmp_path_factory.mktemp("fuzz") / "x.yaml"
    path.write_text(yaml.safe_dump(hidden, allow_unicode=True), encoding="utf-8")
    assert list(find_code(path))


def test_hostile_folder_runs_nothing(tmp_path):
    """The command itself: the callback would make a folder before our code runs."""
    folder, mark = tmp_path / "their own" / "trainer", tmp_path / "mark"
    folder.mkdir(parents=True)
    callback = f"# @package _global_\nhydra:\n  callbacks:\n    x: {{_target_: os.mkdir, path: '{mark}'}}\n"
    (folder / "nice.yaml").write_text(callback)
    work = tmp_path / "work"
    work.mkdir()
    for word in (f"--config-di={folder.parent}", f"hydra.searchpath=['file://{folder.parent}']"):
        result = run("train.py", word, "trainer=nice", "mode=plan", cwd=work)
        assert result.status == 2
        assert result.err.startswith("error: ")
        assert "nice.yaml: has a 'hydra' node" in result.err
        assert not mark.exists()
        assert list(work.iterdir()) == []
