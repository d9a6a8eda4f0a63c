"""The default sweeper: the whole grid is planned once, then handed to a launcher in chunks of jobs.

Hydra's own sweeper composes each job twice, stops at the first failed batch, shows only the first failure and
composes again in the launcher. Here a launcher's job is a chunk of finished configurations, run in one process with
weights and rows loaded once; failures come back as records and are reported all together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pretune.config.expansion import expand
from pretune.config.library import Library
from pretune.errors import UsageError
from pretune.execution.jobs import Job, with_group
from pretune.execution.launchers import ChunkLauncher
from pretune.results.identity import digest

if TYPE_CHECKING:
    from pretune.execution.session import Session

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
    checkpoint for any other, or fewer where pretune's launchers would have idle workers. ``params``: axes given in
    the configuration.
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
        from pretune.execution.searching import is_search
        from pretune.execution.session import Session, check_points, complete_jobs, lists_checkpoints, pretrains, search

        script = str(self._config.hydra.job.config_name)
        if script == "report":
            raise UsageError("report.py makes one report of a study: leave -m out")
        loader = self._context.config_loader
        points = expand(arguments, loader=loader, master=self._config, params=self.params)
        configs, overrides = check_points(script, points)
        if lists_checkpoints(configs):
            return finish(show_checkpoints(configs))
        if pretrains(configs, overrides):
            return finish(build_ladders(configs))
        jobs = complete_jobs(configs, overrides, Library(loader))
        if is_search(jobs):
            return finish(search(jobs, lambda trials: self._launch(Session(trials)), together=not self._is_serial()))
        if not self._is_serial():
            self._make_launcher()  # wrong knobs are refused even where nothing is left to do
        session = Session(jobs)
        if session.shows_only():
            return finish(session.show())
        missing = session.grid.missing()
        if not missing or (self._is_serial() and len(self._split(session.grid_jobs())) == 1):
            return finish(session.run())
        return finish(session.collect(self._launch(session), missing))

    def _launch(self, session: Session) -> list[Any]:
        """Let the launcher run what is missing; return what came back."""
        from pretune.execution.following import launch_chunks

        launcher, wanted = self._make_launcher(), 1
        if isinstance(launcher, ChunkLauncher):
            launcher.check()
            wanted = launcher.wanted_chunks()
        chunks = [[with_group(job, session.grid.group) for job in c] for c in self._split(session.grid_jobs(), wanted)]
        if isinstance(launcher, ChunkLauncher):
            return [*launch_chunks(launcher, session.grid, chunks)]
        if self._is_serial() and len(chunks) == 1:
            return [session.execute()]
        paths = [self._write(session.study_root, chunk) for chunk in chunks]
        batch = [[*chunk[0].overrides, f"chunk={path}"] for chunk, path in zip(chunks, paths, strict=True)]
        return [read_return(job_return) for job_return in launcher.launch(batch, initial_job_idx=0)]

    def _is_serial(self) -> bool:
        return str(self._config.hydra.launcher.get("_target_")) == SERIAL_LAUNCHER

    def _make_launcher(self) -> Any:
        from hydra.core.plugins import Plugins
        from hydra.errors import InstantiationException

        try:
            return Plugins.instance().instantiate_launcher(
                hydra_context=self._context, task_function=self._task_function, config=self._config
            )
        except InstantiationException as error:
            if isinstance(error.__cause__, UsageError):
                raise error.__cause__ from None
            raise

    def _split(self, jobs: Sequence[Job], wanted: int = 1) -> list[list[Job]]:
        if self.chunk_size is not None and self.chunk_size < 1:
            raise UsageError(f"hydra.sweeper.chunk_size={self.chunk_size}: must be at least 1")
        if self._is_serial() and self.chunk_size is None:
            return [list(jobs)]
        if self.chunk_size is not None:
            return [list(jobs[start : start + self.chunk_size]) for start in range(0, len(jobs), self.chunk_size)]
        by_checkpoint: dict[str, list[Job]] = {}
        for job in jobs:
            by_checkpoint.setdefault(repr(job.config.checkpoint), []).append(job)
        return cut(list(by_checkpoint.values()), wanted)

    @staticmethod
    def _write(study_root: Path, jobs: Sequence[Job]) -> Path:
        """Write a chunk for the job of a launcher plugin."""
        from pretune.execution.grid import write_chunk

        path = study_root / "sweeps" / f"{digest([job.to_plain() for job in jobs])[:12]}.json"
        write_chunk(path, jobs)
        return path


def cut(chunks: Sequence[list[Job]], wanted: int) -> list[list[Job]]:
    """Halve the longest chunk until there are ``wanted`` ones (or nothing is left to halve), keeping the order."""
    cut_up = [list(chunk) for chunk in chunks]
    while len(cut_up) < wanted and any(len(chunk) > 1 for chunk in cut_up):
        index = max(range(len(cut_up)), key=lambda number: len(cut_up[number]))
        chunk = cut_up[index]
        middle = (len(chunk) + 1) // 2
        cut_up[index : index + 1] = [chunk[:middle], chunk[middle:]]
    return cut_up
