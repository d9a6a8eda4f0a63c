"""A sweep's points are Hydra's own, at a fraction of its compositions."""

from __future__ import annotations

from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from pretune.config import expansion
from pretune.config.expansion import expand
from pretune.errors import UsageError

SWEEPS: dict[str, list[str]] = {
    "nothing swept": [],
    "one value": ["optimizer.lr=1e-3"],
    "values": ["optimizer.lr=1e-4,1e-3", "seed=0,1,2"],
    "groups": ["checkpoint=pico/step64,step342k", "task=mnli,pico/nli"],
    "groups and values": ["optimizer.lr=1e-4,1e-3", "checkpoint=pico/step64,main", "seed=3,4"],
    "value before the group that brings its default": ["task.train_rows=7,8", "task=pico/nli,mnli"],
    "group of no choice": ["~regularizer", "trainer=fp32,default", "seed=0,1"],
    "preset and a value that it sets": ["experiment=miniature,amuro_char", "optimizer.lr=1e-3,1e-2", "eval.limit=5"],
    "two groups under one preset": ["experiment=miniature", "format=default,io", "stage=sft,pretrain"],
    "quoted texts": ["logger.group='a, b',\"c=d\",plain", "logger.project='it\\'s'"],
    "text with spaces": ["logger.group=one two,three"],
    "lists": ["eval.shots=[0],[0,4],[]", "eval.formats=[default,io],[instruct]"],
    "list as one value": ["eval.shots=[0,4]", "seed=1,2"],
    "list within a recipe": ["checkpoint=pico", "checkpoint.recipe.stage.save_steps=[0,4],[0,8,16]"],
    "dictionaries": ["task.fields={premise:b},{premise:c,hypothesis:d}", "seed=0,1"],
    "dictionary as one value": ["++task.labels={yes:x,no:y}", "optimizer.lr=1e-3,1e-4"],
    "nulls": ["eval.limit=null,5", "trainer.threads=null", "checkpoint.step=null,3"],
    "booleans": ["eval.keep_prompts=true,false", "logger.offline=null,true"],
    "choice": ["seed=choice(1,2,3)", "optimizer.lr=choice(1e-3,1e-4)"],
    "choice of groups": ["task=choice(mnli,paws)", "seed=1"],
    "range": ["seed=range(0,4,2)", "shot_seed=range(2)"],
    "range backwards": ["seed=range(5,1,-2)"],
    "shuffled without a seed of its own": ["seed=sort(3,1,2)", "shot_seed=sort(1,2,reverse=true)"],
    "nested keys": ["checkpoint=pico/step64", "checkpoint.recipe.model.hidden_size=64,128", "task.fields.premise=a,b"],
    "key swept and its parent set": ["checkpoint=pico", "checkpoint.recipe={seed:7}", "checkpoint.recipe.seed=1,2"],
    "key swept and its parent set afterwards": [
        "checkpoint=pico",
        "checkpoint.recipe.seed=1,2",
        "checkpoint.recipe={seed:7}",
    ],
    "a key twice": ["seed=1,2", "eval.limit=4,5", "seed=3"],
    "a group twice": ["task=mnli,paws", "seed=0,1", "task=rte,mnli"],
    "added key": ["+task.fields.extra=a,b", "seed=1,2"],
    "key added or set": ["++task.fields.premise=a,b", "++task.fields.other=c", "seed=0"],
    "key set and then forced": ["seed=1,2", "++seed=7,8"],
    "key forced and then set": ["++seed=7,8", "seed=1,2"],
    "dictionary set and a key added to it": ["task.fields={premise:b},{premise:d}", "+task.fields.z=y"],
    "dictionary set and a key deleted from it": ["task.fields={premise:x}", "~task.fields.hypothesis", "seed=1,2"],
    "deleted key": ["~task.fields.premise", "seed=0,1"],
    "group in another package": ["checkpoint=pico", "optimizer@checkpoint.recipe.optimizer=adamw", "seed=1,2"],
    "interpolation": ["study_dir='studies/${seed}'", "seed=1,2"],
    "exponents": ["optimizer.lr=1e-3,1.0E-4,.5,5", "optimizer.eps=1e-8"],
    "empty text": ["logger.group='',x"],
    "hydra's own keys": ["seed=1,2", "hydra.sweeper.chunk_size=1"],
}


def points_of_hydra(arguments: list[str], loader: Any) -> list[list[str]]:
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    (batch,) = BasicSweeper.split_arguments([o for o in parsed if not o.is_hydra_override()], max_batch_size=None)
    return [list(point) for point in batch]


def without_hydra(config: DictConfig) -> Any:
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return plain


@pytest.mark.parametrize("name", SWEEPS)
def test_points_number_order_and_configurations_are_hydras(name: str, loader: Any, master: Any) -> None:
    arguments = SWEEPS[name]
    points = list(expand(arguments, loader=loader, master=master))
    expected = points_of_hydra(arguments, loader)
    parser = OverridesParser.create(config_loader=loader)
    for point, overrides in zip(points, expected, strict=True):
        ours, theirs = parser.parse_overrides(list(point.overrides)), parser.parse_overrides(overrides)
        assert [(o.get_key_element(), o.value()) for o in ours] == [(o.get_key_element(), o.value()) for o in theirs]
    for point in points:
        composed = loader.load_sweep_config(master, list(point.overrides))
        assert without_hydra(point.config) == without_hydra(composed)
        assert OmegaConf.get_type(point.config) is OmegaConf.get_type(composed)


def test_every_point_has_a_configuration_of_its_own(loader: Any, master: Any) -> None:
    first, second = expand(["seed=1,2", "+task.fields={a:b}"], loader=loader, master=master)
    first.config.task.fields["a"] = "changed"
    first.config.seed = 99
    assert second.config.task.fields["a"] == "b"
    assert second.config.seed == 2


@pytest.mark.parametrize(
    ("arguments", "compositions"),
    [
        (["seed=1,2,3", "optimizer.lr=1e-3,1e-4", "eval.limit=1,2"], 1),
        (["task=mnli,paws", "seed=1,2,3", "optimizer.lr=1e-3,1e-4"], 2),
        (["seed=1,2", "task=mnli,paws", "eval.limit=1,2", "format=default,io"], 4),
        (["task=mnli", "checkpoint=main", "seed=range(20)"], 1),
    ],
)
def test_hydra_composes_each_combination_of_groups_once(
    arguments: list[str], compositions: int, loader: Any, master: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = []
    original = expansion.compose

    def count(*given: Any) -> DictConfig:
        composed.append(given)
        return original(*given)

    monkeypatch.setattr(expansion, "compose", count)
    calls = []
    load = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *a, **k: calls.append(a) or load(*a, **k))
    list(expand(arguments, loader=loader, master=master))
    assert len(composed) == len(calls) == compositions


def test_axes_of_the_configuration_come_first_and_what_is_typed_wins(loader: Any, master: Any) -> None:
    params = {"seed": "1,2", "optimizer.lr": "1e-3,1e-4", "task": "mnli,paws"}
    points = list(expand(["optimizer.lr=5e-4", "eval.limit=1,2"], loader=loader, master=master, params=params))
    assert [point.overrides for point in points[:3]] == [
        ("seed=1", "optimizer.lr=5e-4", "task=mnli", "eval.limit=1"),
        ("seed=1", "optimizer.lr=5e-4", "task=mnli", "eval.limit=2"),
        ("seed=1", "optimizer.lr=5e-4", "task=paws", "eval.limit=1"),
    ]
    assert len(points) == 8
    assert {point.config.optimizer.lr for point in points} == {5e-4}
    assert [point.config.task.name for point in points] == ["mnli", "mnli", "paws", "paws"] * 2


@pytest.mark.parametrize("text", ["seed=range(0,0)", "optimizer.lr=interval(0,1)"])
def test_an_axis_that_cannot_be_swept_is_named(text: str, loader: Any, master: Any) -> None:
    with pytest.raises(UsageError) as caught:
        list(expand(["task=mnli,paws", text], loader=loader, master=master))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text", ["optimizer.lrr=1", "nothing=1,2", "task.fields.a.b=1", "task.fields={a:b}", "optimizer.lr=fast"]
)
def test_what_hydra_refuses_is_refused_with_its_words(text: str, loader: Any, master: Any) -> None:
    first = points_of_hydra([text], loader)[0]
    with pytest.raises(ConfigCompositionException) as theirs:
        loader.load_sweep_config(master, first)
    with pytest.raises(ConfigCompositionException) as ours:
        list(expand([text], loader=loader, master=master))
    assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]
