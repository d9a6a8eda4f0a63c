"""Named options of config groups that a script needs besides the one it composed.

``train.py`` composes one task and one format, but evaluates many: their definitions are read from the same config
search path (``--config-dir`` included), checked by the same schema, and become part of the cell.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from omegaconf import OmegaConf

from pretune.config.schema import freeze
from pretune.config.science import Format, Task
from pretune.errors import UsageError, suggest

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

T = TypeVar("T")


class Library:
    """Reads single options of config groups by name, once each."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self.task = cache(self._read_task)
        self.format = cache(self._read_format)

    @classmethod
    def of_this_run(cls) -> Library:
        """The library of the Hydra run in progress."""
        from hydra.core.global_hydra import GlobalHydra

        return cls(GlobalHydra.instance().config_loader())

    def names(self, group: str) -> list[str]:
        """All options of ``group``, those in sub-folders included (``pico/nli``)."""
        return list_options(self._loader, group)

    def _read_task(self, name: str) -> Task:
        return self._read("task", name, Task)

    def _read_format(self, name: str) -> Format:
        return self._read("format", name, Format)

    def _read(self, group: str, name: str, cls: type[T]) -> T:
        repository: Any = self._loader.repository  # type: ignore[attr-defined]
        found = repository.load_config(f"{group}/{name}") if name else None
        if found is None:
            raise UsageError(f"{group}={name}: no such {group}; {suggest(name, self.names(group))}")
        config = self._compose(group, name) if extends_another(found) else found.config
        return freeze(cls, OmegaConf.create(cast(dict[str, Any], OmegaConf.to_container(config))))

    def _compose(self, group: str, name: str) -> Any:
        """Let Hydra compose an option that extends others: some 80 ms, where reading the file costs one."""
        from hydra.types import RunMode

        composed = self._loader.load_configuration(
            config_name=f"{group}/{name}", overrides=[], run_mode=RunMode.RUN, validate_sweep_overrides=False
        )
        return composed[group]


def extends_another(found: Any) -> bool:
    """Whether a config file has a defaults list that names other options."""
    return any(not default.is_self() for default in found.defaults_list or ())


def list_options(loader: ConfigLoader, group: str) -> list[str]:
    """All options of a config group, depth first; bases that cannot be chosen (``base``) left out."""
    from hydra.core.object_type import ObjectType

    options = list(loader.get_group_options(group, ObjectType.CONFIG))
    for sub in loader.get_group_options(group, ObjectType.GROUP):
        options += [f"{sub}/{name}" for name in list_options(loader, f"{group}/{sub}")]
    return sorted(set(options))
