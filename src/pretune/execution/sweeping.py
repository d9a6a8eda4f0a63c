"""The default sweeper: the whole grid is planned once, then handed to any Hydra launcher in chunks of jobs.

Hydra's own sweeper composes each job twice, stops at the first failed batch, shows only the first failure and
composes again in the launcher. Here a launcher's job is a chunk of finished configurations, run in one process with
weights and rows loaded once; failures come back as records and are reported all together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pretune.config.expansion import expand
from pretune.config.library import Library
from pretune.errors import UsageError
from pretune.execution.jobs import Job, with_group
from pretune.results.identity import digest

SERIAL_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def finish(status: int) -> int:
    """End with an exit status: Hydra passes on none of a sweeper's return values."""
    if status:
        raise SystemExit(status)
    return status


def read_return(job_return: Any) -> Any:
    """What a launcher's job returned, or the exception that ended it."""
    try:
        return job_return.return_value
    except Exception as error:  # noqa: BLE001 - whatever ended one chunk must not hide the others
        return error


class GridSweeper(Sweeper):
    """Expands the grid, hands it to the launcher in chunks, and shows what became of it.

    ``chunk_size``: jobs per launcher job; ``None`` means all of them for Hydra's serial launcher, and the jobs of one
    checkpoint for any other. ``params``: axes given in the configuration.
    """

    def __init__(self, chunk_size: int | None = None, params: Mapping[str, str] | None = None) -> None:
        self.chunk_size = chunk_size
        self.params = dict(params or {})
        self._context: HydraContext
        self._task_function: TaskFunction
        self._config: DictConfig

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra provides."""
        self._context, self._task_function, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep; return the exit status."""
        from pretune.execution.listing import show_checkpoints
        from pretune.execution.pretraining import build_ladders
        from pretune.execution.session import Session, check_points, lists_checkpoints, pretrains

        script = str(self._config.hydra.job.config_name)
        loader = self._context.config_loader
        points = list(expand(arguments, loader=loader, master=self._config, params=self.params))
        configs = check_points(script, points)
        if lists_checkpoints(configs):
            return finish(show_checkpoints(configs))
        if pretrains(configs, points):
            return finish(build_ladders(configs))
        session = Session.open(configs, points, Library(loader))
        chunks = self._split(session.grid_jobs())
        if session.shows_only() or (self._is_serial() and len(chunks) == 1):
            return finish(session.run())
        paths = [self._write(session.study_root, chunk, session.grid.group) for chunk in chunks]
        launcher = self._make_launcher()
        batch = [[*chunk[0].overrides, f"chunk={path}"] for chunk, path in zip(chunks, paths, strict=True)]
        returns = launcher.launch(batch, initial_job_idx=0)
        return finish(session.collect([read_return(job_return) for job_return in returns]))

    def _is_serial(self) -> bool:
        return str(self._config.hydra.launcher.get("_target_")) == SERIAL_LAUNCHER

    def _make_launcher(self) -> Any:
        from hydra.core.plugins import Plugins

        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task_function, config=self._config
        )

    def _split(self, jobs: Sequence[Job]) -> list[list[Job]]:
        if self.chunk_size is not None and self.chunk_size < 1:
            raise UsageError(f"hydra.sweeper.chunk_size={self.chunk_size}: must be at least 1")
        if self._is_serial() and self.chunk_size is None:
            return [list(jobs)]
        if self.chunk_size is not None:
            return [list(jobs[start : start + self.chunk_size]) for start in range(0, len(jobs), self.chunk_size)]
        chunks: dict[str, list[Job]] = {}
        for job in jobs:
            chunks.setdefault(repr(job.config.checkpoint), []).append(job)
        return list(chunks.values())

    @staticmethod
    def _write(study_root: Path, jobs: Sequence[Job], group: str) -> Path:
        """Write a chunk; its jobs carry the name of the whole grid, which a part of it could not work out."""
        from pretune.execution.grid import write_chunk

        jobs = [with_group(job, group) for job in jobs]
        plain = [job.to_plain() for job in jobs]
        path = study_root / "sweeps" / f"{digest(plain)[:12]}.json"
        write_chunk(path, jobs)
        return path
