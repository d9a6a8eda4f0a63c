"""Following runs while they happen: Weights & Biases, CSV files, or nothing.

Nothing of the analysis reads what is written here: the results table is the record, tracking is for looking on.
Importing this package imports neither torch nor lightning nor wandb; they come with the first run that needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pretune.errors import UsageError, suggest
from pretune.tracking.runs import NoTracker, RunInfo, TrackedRun, Tracker, flatten

if TYPE_CHECKING:
    from pretune.config.running import Logger

__all__ = ["RunInfo", "TrackedRun", "Tracker", "flatten", "open_tracker"]


def open_tracker(config: Logger, study_dir: Path) -> Tracker:
    """Return the tracker that ``config.name`` asks for (wandb, csv, none); its files go below ``study_dir``.

    Nothing is written, imported or looked up before the first run is started. Raises :class:`UsageError` for
    another name.
    """
    if config.name == "wandb":
        from pretune.tracking.wandb_runs import WandbTracker

        return WandbTracker(config, study_dir)
    if config.name == "csv":
        from pretune.tracking.csv_files import CsvTracker

        return CsvTracker(study_dir)
    if config.name == "none":
        return NoTracker()
    raise UsageError(f"logger={config.name}: {suggest(config.name, ('wandb', 'csv', 'none'))}")
