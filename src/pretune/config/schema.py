"""Between Hydra's mutable configuration and our frozen values.

Hydra cannot override frozen dataclasses, so :func:`thaw` derives a plain twin of each (same fields, types and
defaults) to register with it; :func:`freeze` turns the composed configuration back into the frozen value.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, Union

from omegaconf import MISSING, DictConfig, OmegaConf

from pretune.config.options import METADATA_KEY, Rule
from pretune.config.probing import ProbeConfig
from pretune.config.running import EvaluateConfig, ReportConfig, TrainConfig
from pretune.errors import ConfigError, Problem, suggest

T = TypeVar("T")

SCRIPTS: Mapping[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "probe": ProbeConfig,
    "report": ReportConfig,
}
"""Script → the class of its configuration."""

NOT_DELETED = "a key cannot be deleted; give it another value"

UNION_TYPES = (Union, types.UnionType)


@functools.cache
def hints_of(cls: type) -> Mapping[str, Any]:
    """Types of a dataclass's fields, in their order; told once, since they are asked for at every point of a sweep."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@functools.cache
def thaw(cls: type) -> type:
    """Derive the plain dataclass that Hydra may override from a frozen one, nested ones included."""
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        hint = _thaw_hint(hints_of(cls)[field.name])
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = MISSING
        if dataclasses.is_dataclass(default):
            fields.append((field.name, hint, dataclasses.field(default_factory=hint)))
        elif isinstance(default, tuple | dict):
            value = list(default) if isinstance(default, tuple) else dict(default)
            fields.append((field.name, hint, dataclasses.field(default_factory=value.copy)))
        else:
            fields.append((field.name, hint, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(cls.__name__, fields, kw_only=True)


def _thaw_hint(hint: Any) -> Any:
    """Replace frozen classes inside ``hint`` by their plain twins."""
    if dataclasses.is_dataclass(hint):
        return thaw(typing.cast(type, hint))
    if typing.get_origin(hint) is dict:
        key, value = typing.get_args(hint)
        if typing.get_origin(value) is tuple:  # omegaconf knows tuples as fields, but not inside mappings
            value = list.__class_getitem__(typing.get_args(value)[0])
        return dict.__class_getitem__((key, _thaw_hint(value)))
    if typing.get_origin(hint) in UNION_TYPES:
        return functools.reduce(operator.or_, (_thaw_hint(part) for part in typing.get_args(hint)))
    return hint


def freeze(cls: type[T], data: DictConfig | Mapping[str, Any]) -> T:
    """Build the frozen value of class ``cls`` from a composed configuration or from plain data.

    Interpolations of a composed configuration are resolved. Plain data (a record on disk, a chunk handed to a worker)
    is merged into the schema first, so that types are checked; unknown keys raise omegaconf's error. Interpolations
    in plain data stay text: a file from elsewhere must not read this machine's environment.
    """
    composed = isinstance(data, DictConfig)
    schema = thaw(typing.cast(Any, cls))
    if not isinstance(data, DictConfig) or OmegaConf.get_type(data) is not schema:
        data = typing.cast(DictConfig, OmegaConf.merge(_defaults_of(schema), data))
    plain = OmegaConf.to_container(data, resolve=composed, throw_on_missing=True)
    return typing.cast(T, _freeze_value(cls, plain, ""))


@functools.cache
def _defaults_of(schema: type) -> DictConfig:
    """A schema with its defaults; merging copies it."""
    return typing.cast(DictConfig, OmegaConf.structured(schema))


def _freeze_value(hint: Any, value: Any, prefix: str) -> Any:
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        cls = typing.cast(type, hint)
        hints = hints_of(cls)
        _check_keys(value, tuple(hints), prefix)
        return cls(**{name: _freeze_value(part, value[name], f"{prefix}{name}.") for name, part in hints.items()})
    origin = typing.get_origin(hint)
    if origin is tuple:
        return tuple(value)
    if origin is dict:
        inner = typing.get_args(hint)[1]
        return {str(key): _freeze_value(inner, item, f"{prefix}{key}.") for key, item in value.items()}
    if origin in UNION_TYPES:
        nested = [part for part in typing.get_args(hint) if dataclasses.is_dataclass(part)]
        return _freeze_value(nested[0], value, prefix) if nested else value
    return value


def _check_keys(value: Mapping[str, Any], names: Sequence[str], prefix: str) -> None:
    """``+key=`` and ``~key`` get past Hydra; a key that nothing reads, or none where one is read, is an error."""
    problems = [
        Problem(key=f"{prefix}{key}", value=value[key], message=f"no such key; {suggest(str(key), names)}")
        for key in value
        if key not in names
    ]
    problems += [
        Problem(
            key=f"~{prefix}{name}",
            value="",
            message=NOT_DELETED,
            typed=f"~{prefix}{name}",
        )
        for name in names
        if name not in value
    ]
    if problems:
        raise ConfigError(problems)


def to_plain(value: Any) -> Any:
    """Turn a frozen value into plain dictionaries and lists (for JSON and YAML)."""
    if value is None or isinstance(value, str | int | float):
        return value  # nearly all of them
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def walk(value: Any, prefix: str = "") -> Iterator[tuple[str, Any, Rule]]:
    """Yield ``(dotted key, value, rule)`` for every field of a frozen value, nested ones included."""
    for field in dataclasses.fields(value):
        key, item = f"{prefix}{field.name}", getattr(value, field.name)
        if METADATA_KEY in field.metadata:
            yield key, item, field.metadata[METADATA_KEY]
        if dataclasses.is_dataclass(item):
            yield from walk(item, f"{key}.")


def register() -> None:
    """Register the schema of every script with Hydra, as ``schema/<script>``."""
    from hydra.core.config_store import ConfigStore

    for name, cls in SCRIPTS.items():
        ConfigStore.instance().store(group="schema", name=name, package="_global_", node=thaw(cls))
