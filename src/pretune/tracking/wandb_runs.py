"""Tracking with Weights & Biases, online or offline, without ever standing in the way of the work.

Starting and finishing an offline run takes some 20 ms: all runs of a process share W&B's service process, and what
W&B collects about machine, code and repository is switched off (``run.json`` has it).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.tracking.guarding import Guard
from pretune.tracking.reachability import Mode, choose_mode
from pretune.tracking.runs import (
    AXES,
    STEP_AXIS,
    RunInfo,
    Scalar,
    TrackedRun,
    UntrackedRun,
    check_folder,
    plain,
    safe_id,
)

if TYPE_CHECKING:
    import pandas as pd

    from pretune.config.running import Logger

log = logging.getLogger(__name__)

START_SECONDS = 15.0
"""Longest wait for the server when a run starts online; then this and all later runs go offline."""

FINISH_SECONDS = 60.0
"""Longest wait for uploads when a run ends. What is left stays on disk for ``wandb sync``; later runs go offline."""

LONGEST_NAME = 128
LONGEST_TAG = 64

GLOBAL_SETTINGS: Mapping[str, Any] = {"silent": True, "quiet": True, "x_service_wait": 20.0, "sagemaker_disable": True}

RUN_SETTINGS: Mapping[str, Any] = {
    "silent": True,
    "quiet": True,
    "console": "off",
    "reinit": "create_new",  # no global run: nothing of one cell can reach the next, and several may be open
    "init_timeout": START_SECONDS,
    "login_timeout": 1.0,
    "finish_timeout": FINISH_SECONDS,
    "finish_timeout_raises": True,
    "disable_code": True,
    "save_code": False,
    "disable_git": True,
    "disable_job_creation": True,
    "label_disable": True,
    "symlink": False,
    "use_dot_wandb": False,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class WandbTracker:
    """``logger=wandb``. W&B is imported, and its server looked for, when the first run starts.

    What W&B raises is one warning, and the run goes on untracked; when the server does not take a run, this and all
    later ones are written offline.
    """

    def __init__(self, config: Logger, study_dir: Path) -> None:
        self.config = config
        self.root = Path(study_dir).absolute()
        self.guard = Guard("W&B")
        self.mode: Mode | None = None
        self._wandb: Any = None
        self._open: list[WandbRun] = []
        self._offline_runs = 0
        self._started_runs = 0

    @property
    def folder(self) -> Path:
        """Where the runs' files are."""
        return self.root / "wandb"

    def start(self, info: RunInfo) -> TrackedRun:
        """Start a W&B run."""
        if self.guard.given_up:
            return UntrackedRun()
        if any(run.timed_out for run in self._open) and self.mode is not None and self.mode.name == "online":
            self.mode = Mode(name="offline", reason="uploading an earlier run took too long")
        if any(run.broken for run in self._open):
            self._forget_service()
        with self.guard.protect(f"starting run {info.id}") as attempt:
            run = self._start(info)
        if attempt.failed:
            self.guard.failures += 1
            self._forget_service()
            return UntrackedRun()
        return run

    def close(self) -> None:
        """Finish, as failed, the runs that nobody has finished; say once how offline runs get to the server.

        W&B's service process is ended, so all files are complete. Closing again does nothing.
        """
        for run in self._open:
            run.finish(failed=True)
        self._forget_service()
        if self._offline_runs and self.mode is not None:
            waiting = count_waiting(self.folder)
            log.info(
                "W&B: %d %s offline (%s). To upload: wandb sync %s",
                waiting,
                "run is" if waiting == 1 else "runs are",
                self.mode.reason,
                self.folder / "offline-run-*",
            )
        self._offline_runs = 0

    def _start(self, info: RunInfo) -> TrackedRun:
        check_folder(self.folder)  # W&B itself would go to the system's temporary folder, and say nothing
        if self._wandb is None:
            # Reports of W&B's own errors go to its makers over the network; offline has to mean offline.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            import wandb

            self._wandb = wandb
        if self._started_runs == 1:
            self._leave_agent()
        settings = self._wandb.setup(settings=self._settings(GLOBAL_SETTINGS)).settings
        if self.mode is None:
            self.mode = choose_mode(
                offline=self.config.offline,
                wished=os.environ.get("WANDB_MODE") or _not_default(settings.mode),
                base_url=str(settings.base_url),
                key_in_settings=bool(settings.api_key),
                upstream_url=_upstream(str(settings.base_url)),
            )
        if self.mode.name == "disabled":
            return UntrackedRun()
        if self.mode.name == "online":
            try:
                return self._adopt(self._init(info, "online"), info)
            except Exception as error:
                message = " ".join(str(error).split()) or type(error).__name__
                log.warning("W&B: the server did not take run %s (%s); going on offline", info.id, message)
                self.mode = Mode(name="offline", reason="the server did not take a run")
                self._forget_service()  # it keeps the failed run, and refuses another of the same id
                self._wandb.setup(settings=self._settings(GLOBAL_SETTINGS))
        run = self._adopt(self._init(info, "offline"), info)
        self._offline_runs += 1
        return run

    def _init(self, info: RunInfo, mode: str) -> Any:
        return self._wandb.init(
            mode=mode,
            dir=str(self.root),
            project=self.config.project,
            entity=self.config.entity,
            id=safe_id(info.id),
            name=info.name[:LONGEST_NAME],
            group=info.group[:LONGEST_NAME],
            job_type=info.job_type,
            tags=[tag[:LONGEST_TAG] for tag in info.tags if tag],
            config={key: plain(value) for key, value in info.config.items()},
            resume="allow" if info.resume and mode == "online" else None,
            settings=self._settings(RUN_SETTINGS),
        )

    def _adopt(self, run: Any, info: RunInfo) -> WandbRun:
        tracked = WandbRun(
            run, info, project=self.config.project, guard=self.guard, library=self._wandb, folder=self.folder
        )
        self._open = [other for other in self._open if other.broken or not other.finished]
        self._open.append(tracked)
        self._started_runs += 1
        if self._started_runs == 1 and self.mode is not None and self.mode.name == "online":
            log.info("W&B: %s", run.url)
        return tracked

    def _settings(self, values: Mapping[str, Any]) -> Any:
        """Settings this version of W&B knows: it refuses others, and those with ``x_`` come and go."""
        known = self._wandb.Settings.model_fields
        return self._wandb.Settings(**{name: value for name, value in values.items() if name in known})

    def _leave_agent(self) -> None:
        """Let runs after the first be runs of their own when ``wandb agent`` has started this process.

        The agent gives its process one run id, which W&B then uses instead of ours for every run: the second would
        overwrite the first. The first run, the cell that the agent asked for, is the agent's.
        """
        if "WANDB_SWEEP_ID" not in os.environ:
            return
        if any(not run.finished for run in self._open):
            raise RuntimeError("under `wandb agent` the first run has to be finished before the next one starts")
        for name in ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"):
            os.environ.pop(name, None)
        self._wandb.teardown()

    def _forget_service(self) -> None:
        """Drop a service process that may have died, so that the next run gets a new one; not under a good run."""
        self._open = [run for run in self._open if not (run.finished or run.broken)]
        if self._wandb is not None and not self._open and self._wandb.run is None:
            with contextlib.suppress(Exception, SystemExit):
                self._wandb.teardown()


class WandbRun:
    """One W&B run. After a failure inside W&B it is a run that does nothing."""

    def __init__(self, run: Any, info: RunInfo, *, project: str, guard: Guard, library: Any, folder: Path) -> None:
        self.finished = False
        self.broken = False
        self.timed_out = False
        self._run = run
        self._project = project
        self._guard = guard
        self._table = library.Table
        self._html = library.Html
        self._folder = folder
        self._loggers: tuple[Any, ...] | None = None
        with self._doing("defining the axes"):
            run.define_metric(STEP_AXIS)
            for metrics in ("train/*", "validation/*"):
                run.define_metric(metrics, step_metric=STEP_AXIS)
        self.summarize({axis: plain(info.config[axis]) for axis in AXES if axis in info.config})

    @property
    def loggers(self) -> Sequence[Any]:
        """One Lightning logger."""
        if self._loggers is None:
            from pretune.tracking.lightning_logger import ForwardingLogger

            self._loggers = (ForwardingLogger(self._project, str(self._run.id), self._record),)
        return self._loggers

    def summarize(self, values: Mapping[str, Scalar]) -> None:
        """Set values of the run's summary."""
        if self._alive and values:
            with self._doing("writing the summary"):
                self._run.summary.update({key: plain(value) for key, value in values.items()})

    def add_table(self, name: str, frame: pd.DataFrame) -> None:
        """Log a W&B table."""
        if self._alive:
            with self._guard.protect(f"adding table {name}"):  # often the data's fault: the run itself goes on
                columns = [str(column) for column in frame.columns]
                rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
                with _default_environment("WANDB_DATA_DIR", str(self._folder / "data")):
                    self._run.log({name: self._table(columns=columns, data=rows, allow_mixed_types=True)})

    def add_drawing(self, name: str, text: str) -> None:
        """Log a figure or page as W&B HTML."""
        if self._alive:
            folder = str(self._folder / "data")
            with self._guard.protect(f"adding {name}"), _default_environment("WANDB_DATA_DIR", folder):
                self._run.log({name: self._html(text, inject=False)})

    def finish(self, *, failed: bool = False) -> None:
        """Finish the run with exit code 1 when it failed."""
        if self.finished:
            return
        self.finished = True
        with self._doing("finishing the run"):
            try:
                self._run.finish(exit_code=1 if failed else 0)
            except TimeoutError:
                self.timed_out = True
                raise

    @property
    def _alive(self) -> bool:
        return not (self.finished or self.broken)

    def _record(self, values: Mapping[str, Any]) -> None:
        if self._alive:
            with self._doing("logging metrics"):
                self._run.log({key: plain(value) for key, value in values.items()})

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        with self._guard.protect(what) as attempt:
            yield
        self.broken = self.broken or attempt.failed


def count_waiting(folder: Path) -> int:
    """Number of runs in W&B's ``folder`` that are offline and not uploaded yet, whichever process left them."""
    waiting = [path for path in folder.glob("offline-run-*-*") if not any(path.glob("*.synced"))]
    return len({path.name.split("-", 3)[3] for path in waiting})  # a resumed run has several folders


def _not_default(mode: Any) -> str | None:
    """Return the mode of W&B's settings files (``wandb offline`` writes it there); its default is no wish."""
    return None if mode == "online" else str(mode)


def _upstream(base_url: str) -> str | None:
    """Return the other address of a server that W&B reaches through a proxy of its own; keys are stored for either."""
    try:
        from wandb.sdk.lib import urls

        return str(urls.forge_upstream_url(base_url))
    except (ImportError, AttributeError):  # another version of W&B
        return None


@contextlib.contextmanager
def _default_environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable during the body, unless the user has set it.

    W&B copies tables to a folder that this variable names, by default in the home folder, and uploads them from there.
    """
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _cell(value: Any) -> Any:
    """Return a table's cell as a plain value, None where it is missing."""
    value = plain(value)
    if isinstance(value, float) and math.isnan(value) or value in ("<NA>", "NaT"):
        return None
    return value
