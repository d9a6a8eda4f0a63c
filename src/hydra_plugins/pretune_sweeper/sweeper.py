"""Entry through which Hydra finds pretune's sweeper; nothing heavy is imported here.

Hydra executes this file without entering it in ``sys.modules``, which dataclasses with postponed annotations need:
so they are not postponed here.
"""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore

from pretune.execution.sweeping import GridSweeper


class PretuneSweeper(GridSweeper):
    """The sweeper under the name that Hydra looks for: it takes only classes defined in its plugin namespace."""


@dataclass
class PretuneSweeperConf:
    """Configuration of the sweeper."""

    _target_: str = "hydra_plugins.pretune_sweeper.sweeper.PretuneSweeper"
    chunk_size: int | None = None
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="pretune", node=PretuneSweeperConf, provider="pretune")
