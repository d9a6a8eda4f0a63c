"""Expanding a sweep: from overrides with several values to one configuration per point of the grid.

Hydra composes every point from scratch (twice with its own sweeper), at about 80 ms each. Here each distinct
combination of *group choices* is composed once by Hydra itself; plain values are then set on copies, by the very
calls Hydra uses for them.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from pretune.errors import UsageError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a sweep: the overrides that lead to it and its composed configuration (without ``hydra``)."""

    overrides: tuple[str, ...]
    config: DictConfig


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One override of the command line with all its values, as single-valued overrides."""

    texts: tuple[str, ...]
    is_value: bool
    """Whether it sets a plain value (as opposed to choosing from a group, adding or deleting)."""
    changes_keys: bool
    """Whether it adds or deletes a key."""


def expand(
    arguments: Sequence[str], *, loader: ConfigLoader, master: DictConfig, params: Mapping[str, str] | None = None
) -> Iterator[Point]:
    """Yield every point of the grid that ``arguments`` span, first axis slowest.

    ``params`` are further axes from the configuration (``hydra.sweeper.params``). Of several overrides of one key the
    last wins, in the place of the first, as in Hydra's own sweeper.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(config_loader=loader)
    parsed = parser.parse_overrides([*(f"{key}={value}" for key, value in (params or {}).items()), *arguments])
    chosen = {override.get_key_element(): override for override in parsed if not override.is_hydra_override()}
    axes = [read_axis(override, loader) for override in chosen.values()]
    # A key that is added or deleted after a value was set must find that value: such values are left to Hydra.
    last_change = max((number for number, axis in enumerate(axes) if axis.changes_keys), default=-1)
    is_set = [axis.is_value and number > last_change for number, axis in enumerate(axes)]
    values: dict[str, Override] = {}
    bases: dict[tuple[str, ...], DictConfig] = {}
    for combination in itertools.product(*(axis.texts for axis in axes)):
        composed = tuple(text for text, set_here in zip(combination, is_set, strict=True) if not set_here)
        if composed not in bases:
            bases[composed] = compose(loader, master, composed)
        config = copy.deepcopy(bases[composed])
        for text, set_here in zip(combination, is_set, strict=True):
            if set_here:
                if text not in values:
                    values[text] = parser.parse_override(text)
                set_value(config, values[text])
        yield Point(overrides=combination, config=config)


def read_axis(override: Override, loader: ConfigLoader) -> Axis:
    """All values of one override."""
    from hydra.core.object_type import ObjectType

    key = override.get_key_element()
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise UsageError(f"{override.input_line}: a range without steps cannot be swept; list the values")
        texts = tuple(f"{key}={value}" for value in override.sweep_string_iterator())
        if not texts:
            raise UsageError(f"{override.input_line}: names no value, so that the sweep has no cells")
    else:
        texts = (str(override.input_line),)
    is_group = bool(loader.get_group_options(override.key_or_group, ObjectType.CONFIG)) or override.package is not None
    changes_keys = not is_group and (override.is_add() or override.is_force_add() or override.is_delete())
    return Axis(texts=texts, is_value=not (is_group or changes_keys), changes_keys=changes_keys)


def compose(loader: ConfigLoader, master: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Compose one configuration with Hydra and take its ``hydra`` node out (copies get ten times cheaper)."""
    config: DictConfig = loader.load_sweep_config(master, list(overrides))
    OmegaConf.set_struct(config, False)
    OmegaConf.set_readonly(config, False)
    config.pop("hydra", None)
    OmegaConf.set_struct(config, True)
    return config


def set_value(config: DictConfig, override: Override) -> None:
    """Set one plain value as Hydra does, with Hydra's own messages."""
    from hydra.errors import ConfigCompositionException

    key, value = override.key_or_group, override.value()
    try:
        try:
            OmegaConf.update(config, key, value, merge=True)
        except (ConfigAttributeError, ConfigKeyError) as error:
            raise ConfigCompositionException(
                f"Could not override '{key}'.\nTo append to your config use +{override.input_line}"
            ) from error
    except OmegaConfBaseException as error:
        raise ConfigCompositionException(f"Error merging override {override.input_line}") from error
