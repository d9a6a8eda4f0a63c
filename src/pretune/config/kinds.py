"""What kind of value a key takes, in words: the libraries' own say ``could not be converted to Integer``."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pretune.config.schema import UNION_TYPES

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
SEVERAL = {int: "whole numbers", float: "numbers", bool: "true or false", str: "texts"}


def field_names(schema: type, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields of a dataclass, nested ones included."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        yield f"{prefix}{field.name}"
        for part in kinds_of(hints[field.name]):
            if dataclasses.is_dataclass(part):
                yield from field_names(typing.cast(type, part), f"{prefix}{field.name}.")


def find_type(schema: type, key: str) -> Any:
    """The type hint of the dotted ``key`` of a dataclass, through mappings too; ``None`` where there is no such key."""
    hint: Any = schema
    for name in key.split("."):
        inside: Any = None
        for part in kinds_of(hint):
            if dataclasses.is_dataclass(part):
                inside = typing.get_type_hints(part).get(name)
            elif typing.get_origin(part) is dict:
                inside = typing.get_args(part)[1]
        if inside is None:
            return None
        hint = inside
    return hint


def kinds_of(hint: Any) -> list[Any]:
    """The types that a hint allows, ``None`` left out."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in UNION_TYPES else (hint,)
    return [part for part in parts if part is not type(None)]


def is_list(hint: Any) -> bool:
    """Whether a value of this type is a list."""
    return any(typing.get_origin(part) in (tuple, list) for part in kinds_of(hint))


def describe_kind(key: str, value: str, hint: Any) -> str:
    """What ``key`` takes by its type ``hint`` instead of ``value``, which was refused."""
    if is_list(hint) and value[:1] not in ("", "[", "{") and value != "null":
        return f"is a list: write {key}=[{value}]"
    null = ", or null" if type(None) in typing.get_args(hint) else ""
    return f"must be {' or '.join(_name(part) for part in kinds_of(hint))}{null}"


def _name(kind: Any) -> str:
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (tuple, list):
        return f"a list of {SEVERAL.get(inner[0], 'values')}"
    if typing.get_origin(kind) is dict:
        return f"a mapping of {SEVERAL.get(inner[1], 'values')}: {{name: value}}"
    return WORDS.get(kind, "a group of values")


def make_check(key: str, hint: Any) -> Callable[[str, Any], str]:
    """A function that says what is wrong with a value of ``key``, as typed and as read; empty when nothing is."""
    holder = OmegaConf.structured(dataclasses.make_dataclass("Holder", [("value", hint)]))

    def check(text: str, value: Any) -> str:
        try:
            holder.value = value
        except OmegaConfBaseException:
            return describe_kind(key, text, hint)
        return ""

    return check
