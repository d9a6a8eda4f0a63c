"""Fields of a configuration value: a default together with the rule its value must keep.

The rule travels in the dataclass field's metadata, so that one declaration serves Hydra's schema
(:mod:`pretune.config.schema`), the validator (:mod:`pretune.config.validation`) and the reference page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

METADATA_KEY = "pretune"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a value must satisfy; ``None`` and ``()`` mean "not restricted"."""

    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    nonempty: bool = False
    scientific: bool = True
    """Whether the value can change a result; only such values enter a cell's identity."""


def option(
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002 - the field's own term
    factory: Callable[[], Any] | None = None,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    nonempty: bool = False,
    scientific: bool = True,
) -> Any:
    """Declare a field with its :class:`Rule`. Bounds are inclusive, except ``above``."""
    rule = Rule(
        help=help,
        choices=choices,
        minimum=minimum,
        above=above,
        maximum=maximum,
        nonempty=nonempty,
        scientific=scientific,
    )
    metadata = {METADATA_KEY: rule}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)
