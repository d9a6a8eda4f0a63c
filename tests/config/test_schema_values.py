"""Frozen values, their plain twins, and what every field must declare."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ReadonlyConfigError, ValidationError

from pretune.config import running, science
from pretune.config.options import METADATA_KEY, Rule, option
from pretune.config.schema import SCRIPTS, UNION_TYPES, freeze, thaw, to_plain, walk

CLASSES = sorted(
    {
        value
        for module in (science, running)
        for value in vars(module).values()
        if dataclasses.is_dataclass(value) and isinstance(value, type)
    },
    key=lambda cls: cls.__name__,
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="$"), max_size=12)
KEYS = st.text("abcdefghij_0123456789", min_size=1, max_size=6)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may hold."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return instances(typing.cast(type, hint))
    if origin in UNION_TYPES:
        return st.one_of(*(values_of(part) for part in arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(KEYS, values_of(arguments[1]), max_size=3)
    return {
        bool: st.booleans(),
        int: st.integers(-(10**12), 10**12),
        float: st.floats(allow_nan=False, width=64),
        str: TEXTS,
        type(None): st.none(),
    }[hint]


def instances(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    fields = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(cls)}
    if cls is science.Checkpoint:  # a text that reads as a number is that number, as in YAML
        fields["step"] = st.one_of(st.none(), st.integers(0, 10**9), st.sampled_from(["all", "every:3"]))
    return st.builds(cls, **fields)


@pytest.mark.parametrize("script", SCRIPTS)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_plain_data_makes_an_equal_value(script: str, data: st.DataObject) -> None:
    value = data.draw(instances(SCRIPTS[script]))
    plain = to_plain(value)
    assert freeze(SCRIPTS[script], plain) == value
    assert freeze(SCRIPTS[script], json.loads(json.dumps(plain))) == value
    assert to_plain(freeze(SCRIPTS[script], plain)) == plain


@pytest.mark.parametrize("script", SCRIPTS)
def test_defaults_survive_the_way_through_hydras_twin(script: str) -> None:
    cls = SCRIPTS[script]
    composed = OmegaConf.structured(thaw(cls))
    value = freeze(cls, composed)
    assert value == cls()
    assert freeze(cls, to_plain(value)) == value
    assert hash(type(value)) == hash(cls)


@pytest.mark.parametrize("cls", CLASSES)
def test_values_are_frozen_and_their_twins_are_not(cls: type) -> None:
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    twin = thaw(cls)
    assert not twin.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert twin is thaw(cls)
    assert [f.name for f in dataclasses.fields(twin)] == [f.name for f in dataclasses.fields(cls)]
    with pytest.raises((ReadonlyConfigError, ConfigKeyError)):
        OmegaConf.merge(OmegaConf.structured(twin), {"no_such_field": 1})


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_help_and_a_rule(cls: type) -> None:
    for field in dataclasses.fields(cls):
        rule = field.metadata.get(METADATA_KEY)
        assert isinstance(rule, Rule), field.name
        assert len(rule.help) > 3, field.name
        if rule.choices and isinstance(field.default, str):
            assert field.default in rule.choices


def test_lists_of_two_values_do_not_share_their_defaults() -> None:
    first, second = (OmegaConf.structured(thaw(running.TrainConfig)) for _ in range(2))
    first.eval.shots.append(4)
    first.task.fields["a"] = "b"
    assert list(second.eval.shots) == [0]
    assert dict(second.task.fields) == {}


@pytest.mark.parametrize(
    "plain",
    [
        {"seed": "many"},
        {"optimizer": {"lr": "fast"}},
        {"eval": {"shots": ["few"]}},
        {"task": 3},
        {"trainer": {"threads": 1.5}},
    ],
)
def test_plain_data_of_a_wrong_type_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        freeze(running.TrainConfig, plain)


def test_interpolations_are_resolved() -> None:
    composed = OmegaConf.structured(thaw(running.TrainConfig))
    composed.seed = 7
    composed.study_dir = "studies/${seed}"
    assert freeze(running.TrainConfig, composed).study_dir == "studies/7"


def test_walk_names_every_field_once_with_its_value_and_rule() -> None:
    config = running.TrainConfig(
        optimizer=science.Optimizer(lr=0.5), checkpoint=science.Checkpoint(recipe=science.Recipe())
    )
    found = {key: (value, rule) for key, value, rule in walk(config)}
    assert len(found) == len(list(walk(config)))
    assert found["optimizer.lr"][0] == 0.5
    assert found["optimizer.lr"][1].above == 0
    assert found["checkpoint.recipe.stage.save_steps"][0] == ()
    assert {"seed", "task.train_rows", "eval.shots", "trainer.precision", "logger.name"} <= set(found)


def test_an_option_keeps_its_rule_and_factory() -> None:
    field = option(factory=dict, help="text", minimum=1, scientific=False)
    assert field.default_factory is dict
    assert field.metadata[METADATA_KEY] == Rule(help="text", minimum=1, scientific=False)


MACHINE_SIDE = (
    "study_dir", "cache_dir", "debug", "chunk", "mode", "fail_fast", "keep_model", "trainer.micro_batch",
    "trainer.threads", "trainer.accelerator", "trainer.save_seconds", "logger.name", "eval.keep_prompts",
)  # fmt: skip


def test_machine_side_keys_are_not_scientific() -> None:
    rules = {key: rule for key, _, rule in walk(running.TrainConfig())}
    assert [key for key in MACHINE_SIDE if rules[key].scientific] == []
    for key in ("seed", "optimizer.lr", "task.train_rows", "stage.epochs", "trainer.precision", "eval.limit"):
        assert rules[key].scientific
