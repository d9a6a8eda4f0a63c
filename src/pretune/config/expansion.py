"""Expanding a sweep: from overrides with several values to one configuration per point of the grid.

Hydra composes every point from scratch (twice with its own sweeper), at about 80 ms each. Here each distinct
combination of *group choices* is composed once by Hydra itself; plain values are then set on copies, by the very
calls Hydra uses for them.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from pretune.config.axes import AXES, Condition, quote_axes, read_cells, split_parts
from pretune.config.diagnosis import describe_null
from pretune.errors import UsageError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a sweep: the overrides that lead to it and its composed configuration (without ``hydra``)."""

    overrides: tuple[str, ...]
    config: DictConfig
    origin: str = ""
    """Where it comes from, for messages: file and row of ``cells=``."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One override of the command line with all its values, as single-valued overrides."""

    texts: tuple[str, ...]
    is_value: bool
    """Whether it sets a plain value (as opposed to choosing from a group, adding or deleting)."""
    changes_keys: bool
    """Whether it adds or deletes a key."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """What varies together: one axis, the axes of ``pairs=``, or the columns of ``cells=``.

    ``options``: one tuple per value, with a text for each of ``axes``. ``origins``: where each option comes from.
    """

    axes: tuple[Axis, ...]
    options: tuple[tuple[str, ...], ...]
    origins: tuple[str, ...]


def expand(
    arguments: Sequence[str], *, loader: ConfigLoader, master: DictConfig, params: Mapping[str, str] | None = None
) -> Iterator[Point]:
    """Yield every point of the grid that ``arguments`` span, first axis slowest.

    ``params`` are further axes from the configuration (``hydra.sweeper.params``). Of several overrides of one key the
    last wins, in the place of the first, as in Hydra's own sweeper. ``pairs=``, ``only=`` and ``cells=`` are those of
    :mod:`pretune.config.axes`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(config_loader=loader)
    given = [*(f"{key}={value}" for key, value in (params or {}).items()), *arguments]
    parsed = [o for o in parser.parse_overrides(quote_axes(given)) if not o.is_hydra_override()]
    values: dict[str, Override] = {}

    def parse(text: str) -> Override:
        if text not in values:
            values[text] = parser.parse_override(text)
        return values[text]

    dimensions = list(read_dimensions(parsed, parser, loader, master))
    axes = [axis for dimension in dimensions for axis in dimension.axes]
    conditions = [read_condition(override, parser) for override in parsed if override.key_or_group == "only"]
    check_conditions(conditions, dimensions, parse)
    # A key that is added or deleted after a value was set must find that value: such values are left to Hydra.
    last_change = max((number for number, axis in enumerate(axes) if axis.changes_keys), default=-1)
    is_set = [axis.is_value and number > last_change for number, axis in enumerate(axes)]
    moulds: dict[tuple[str, ...], Mould] = {}
    for chosen in itertools.product(*(zip(d.options, d.origins, strict=True) for d in dimensions)):
        combination = tuple(text for option, _ in chosen for text in option)
        origin = next((place for _, place in chosen if place), "")
        if conditions:
            point = {override.key_or_group: override.value() for override in map(parse, combination)}
            if not all(condition.allows(point) for condition in conditions):
                continue
        composed = tuple(text for text, set_here in zip(combination, is_set, strict=True) if not set_here)
        with explained(origin):
            if composed not in moulds:
                moulds[composed] = Mould(compose(loader, master, composed))
            config = moulds[composed].cast()
            for text, set_here in zip(combination, is_set, strict=True):
                if set_here:
                    set_value(config, parse(text))
        yield Point(overrides=combination, config=config, origin=origin)


@contextlib.contextmanager
def explained(origin: str) -> Iterator[None]:
    """Say from which row of a file a value comes that Hydra refuses."""
    from hydra.errors import HydraException

    try:
        yield
    except HydraException as error:
        if not origin:
            raise
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UsageError(f"{origin}: {str(error).splitlines()[0]}: {reason}") from None


def read_dimensions(
    parsed: Sequence[Override], parser: OverridesParser, loader: ConfigLoader, master: DictConfig
) -> Iterator[Dimension]:
    """What varies, in the order given. A key that is given in two ways is refused."""
    plain: dict[str, Override] = {o.get_key_element(): o for o in parsed if o.key_or_group not in AXES}
    first: dict[str, Override] = {}
    for override in parsed:
        first.setdefault(override.get_key_element(), override)
    ways: dict[str, str] = {override.key_or_group: f"{key}=…" for key, override in plain.items()}
    for override in parsed:
        key = override.get_key_element()
        if override.key_or_group == "only":
            continue
        if override.key_or_group not in AXES:
            if first[key] is override:
                axis = read_axis(plain[key], loader)
                yield Dimension(axes=(axis,), options=tuple((t,) for t in axis.texts), origins=("",) * len(axis.texts))
            continue
        reader = read_pairs if override.key_or_group == "pairs" else read_file
        dimension, keys = reader(override, parser, loader, master)
        for name in keys:
            if name in ways:
                raise UsageError(f"{name}: is given twice, by {ways[name]} and by {override.key_or_group}=…")
            ways[name] = f"{override.key_or_group}=…"
        yield dimension


def read_pairs(
    override: Override, parser: OverridesParser, loader: ConfigLoader, master: DictConfig
) -> tuple[Dimension, list[str]]:
    """The axes of ``pairs=``, which are walked together, and their keys."""
    parts = [parser.parse_override(part) for part in split_parts(override)]
    axes = tuple(read_axis(part, loader) for part in parts)
    counts = [len(axis.texts) for axis in axes]
    if len(set(counts)) > 1:
        listed = ", ".join(f"{part.key_or_group} has {count}" for part, count in zip(parts, counts, strict=True))
        raise UsageError(f"pairs={override.value()}: every part needs as many values as the others: {listed}")
    options = tuple(zip(*(axis.texts for axis in axes), strict=True))
    return Dimension(axes=axes, options=options, origins=("",) * len(options)), [part.key_or_group for part in parts]


def read_file(
    override: Override, parser: OverridesParser, loader: ConfigLoader, master: DictConfig
) -> tuple[Dimension, list[str]]:
    """The rows of ``cells=``, and the keys of their columns."""
    from pretune.config.library import list_options

    if override.is_sweep_override():
        raise UsageError(f"{override.input_line}: one file of cells at a time")
    schema = cast(type, OmegaConf.get_type(master))
    rows = read_cells(str(override.value()), schema, lambda key: list_options(loader, key))
    parts = [parser.parse_override(text) for text in rows[0].overrides]
    axes = tuple(read_axis(part, loader) for part in parts)
    dimension = Dimension(
        axes=axes, options=tuple(row.overrides for row in rows), origins=tuple(row.place for row in rows)
    )
    return dimension, [part.key_or_group for part in parts]


def read_condition(override: Override, parser: OverridesParser) -> Condition:
    """The condition of ``only=``."""
    parsed = [parser.parse_override(part) for part in split_parts(override)]
    parts = {part.key_or_group: read_values(part, parser) for part in parsed}
    when, *required = parts
    if len(parts) < len(parsed):
        raise UsageError(f"only={override.value()}: names a key twice")
    return Condition(
        text=f"only={override.value()}", when=(when, parts[when]), required={name: parts[name] for name in required}
    )


def read_values(override: Override, parser: OverridesParser) -> tuple[Any, ...]:
    """The values of one override, as Python values."""
    if not override.is_sweep_override():
        return (override.value(),)
    key = override.get_key_element()
    return tuple(parser.parse_override(f"{key}={text}").value() for text in override.sweep_string_iterator())


def check_conditions(
    conditions: Sequence[Condition], dimensions: Sequence[Dimension], parse: Callable[[str], Override]
) -> None:
    """Refuse conditions about keys or values that the sweep does not have."""
    if not conditions:
        return
    axes: dict[str, list[Any]] = {}
    for dimension in dimensions:
        for option in dimension.options:
            for override in map(parse, option):
                values = axes.setdefault(override.key_or_group, [])
                if override.value() not in values:
                    values.append(override.value())
    for condition in conditions:
        condition.check(axes)


def read_axis(override: Override, loader: ConfigLoader) -> Axis:
    """All values of one override."""
    from hydra.core.object_type import ObjectType

    key = override.get_key_element()
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise UsageError(f"{override.input_line}: a range without steps cannot be swept; list the values")
        try:
            texts = tuple(f"{key}={value}" for value in override.sweep_string_iterator())
        except ValueError as error:
            raise UsageError(f"{override.input_line}: cannot be swept ({error})") from None
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


class Mould:
    """A configuration of which equal ones are made, in a third of the time that :func:`copy.deepcopy` takes.

    It is pickled in memory; the classes of its schema, which are no module's, stay the very same.
    """

    def __init__(self, config: DictConfig) -> None:
        buffer = io.BytesIO()
        writer = _Writer(buffer)
        writer.dump(config)
        self._content, self._classes = buffer.getvalue(), writer.classes

    def cast(self) -> DictConfig:
        """An equal configuration that shares nothing with any other."""
        return cast(DictConfig, _Reader(io.BytesIO(self._content), self._classes).load())


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.classes: dict[int, type] = {}

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, type):
            return None
        self.classes[id(obj)] = obj
        return id(obj)


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, classes: Mapping[int, type]) -> None:
        super().__init__(file)
        self._classes = classes

    def persistent_load(self, pid: int) -> type:
        return self._classes[pid]


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
    except AssertionError:
        raise ConfigCompositionException(f"{key}: {describe_null(config, key)}") from None
    except OmegaConfBaseException as error:
        raise ConfigCompositionException(f"Error merging override {override.input_line}") from error
