"""Launchers that take chunks of a sweep, and the one that works with processes of this machine.

Hydra's launcher plugins wait for their jobs in order, and the first that dies hides the others. These hand back
whatever became of each chunk as it ends. The distributing itself is done by joblib, submitit and Ray.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import queue
import signal
import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pretune.errors import UsageError
from pretune.execution.launched import STOP_FILE, Returned, Task, work

TICK_SECONDS = 1.0
"""A launch says at least this often that nothing is new, so that progress can be shown."""

SAVING_SECONDS = 60.0
"""How long a stopped command waits for its workers to save what they are doing."""

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What a machine with a GPU has (CUDA, ROCm, WSL); without any, importing torch to count GPUs is not worth seconds."""


class ChunkLauncher(Launcher):
    """A launcher under pretune's sweeper. ``name`` is that of its preset."""

    name: str

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the device is chosen by."""
        self.accelerator = str(config.trainer.accelerator) if "trainer" in config else "cpu"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        """Refused: Hydra's own sweepers have no chunks."""
        raise UsageError(f"hydra/launcher={self.name}: works with hydra/sweeper=pretune (the default) only")

    def check(self) -> None:
        """Raise :class:`UsageError` when what the launcher needs is not there; called before anything is written."""

    @abstractmethod
    def places(self) -> int:
        """Number of chunks that can be worked on at once."""

    def wanted_chunks(self) -> int:
        """Least number of chunks that a large enough grid is cut into; by default one for each place."""
        return self.places()

    @abstractmethod
    def run(self, tasks: Sequence[Task], *, places: int) -> Generator[Returned | None, None, None]:
        """Work on all tasks, at most ``places`` at once; yield what came back as it comes.

        ``None`` means that nothing is new. When the generator is closed or an exception reaches it, running workers
        are asked to save and to end.
        """


def launch_folder(study_root: Path, name: str) -> Path:
    """A new folder for what a launch writes: logs of its workers, and what its engine needs."""
    folder = study_root / "launch" / f"{name}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    return folder


def stop_workers(tasks: Sequence[Task]) -> None:
    """Ask the workers of this machine to save and to end, and wait for it (:data:`SAVING_SECONDS` at most)."""
    if not tasks:
        return
    (tasks[0].folder / STOP_FILE).touch()
    for task in tasks:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(task.pid_file.read_text()), signal.SIGTERM)
    limit = time.monotonic() + SAVING_SECONDS
    while any(is_at_work(task) for task in tasks) and time.monotonic() < limit:
        time.sleep(0.05)


def is_at_work(task: Task) -> bool:
    """Whether a process of this machine works on the task."""
    try:
        os.kill(int(task.pid_file.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def visible_devices(accelerator: str) -> list[str]:
    """Names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if accelerator == "cpu":
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    if not any(Path(driver).exists() for driver in DRIVERS):
        return []
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def share_of_cores(places: int) -> int:
    """Cores for each of the workers that share this machine."""
    return max(1, len(os.sched_getaffinity(0)) // places)


def check_least(least: int, **knobs: float | None) -> None:
    """Refuse a launcher's knob below ``least``, or no number at all; ``None`` is a default."""
    for name, value in knobs.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UsageError(f"hydra.launcher.{name}={value}: must be a number")
        if value is not None and value < least:
            raise UsageError(f"hydra.launcher.{name}={value}: must be at least {least}")


def can_import(name: str) -> bool:
    """Whether an optional library is installed."""
    return importlib.util.find_spec(name) is not None


def take_place(folder: str, devices: Sequence[str], places: int, threads: int) -> None:
    """In a new worker: take a free place, and with it one device; torch is not imported yet.

    A place is a locked file: when its owner dies, the worker that replaces it gets the same one.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for place in range(places):
        descriptor = os.open(Path(folder, f"place{place}"), os.O_CREAT | os.O_RDWR)  # open as long as the process lives
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        if devices:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices[place % len(devices)]
        return
    raise RuntimeError(f"more workers than the {places} places")


class Workers(ChunkLauncher):
    """``hydra/launcher=workers``: processes of this machine, by joblib.

    ``processes``: how many; ``None`` means one per GPU, or without a GPU one per core. ``per_device``: processes that
    share each GPU. ``threads``: torch threads of each; ``None`` means cores ÷ processes.
    """

    name = "workers"

    def __init__(self, processes: int | None = None, per_device: int = 1, threads: int | None = None) -> None:
        check_least(1, processes=processes, per_device=per_device, threads=threads)
        self.processes, self.per_device, self.threads = processes, per_device, threads

    def places(self) -> int:
        """As configured, else by GPUs and cores."""
        if self.processes is not None:
            return self.processes
        devices = visible_devices(self.accelerator)
        return len(devices) * self.per_device or len(os.sched_getaffinity(0))

    def run(self, tasks: Sequence[Task], *, places: int) -> Generator[Returned | None, None, None]:
        """Work in a pool of processes; a pool that broke is replaced.

        joblib ends the whole pool when one of its processes dies: the chunks that were being worked on are handed
        back as died, the others go on in a new pool.
        """
        remaining = {task.number: task for task in tasks}
        try:
            while remaining:
                for returned in self._run_pool(list(remaining.values()), places):
                    if returned is not None:
                        del remaining[returned.number]
                    yield returned
        except BaseException:
            stop_workers(list(remaining.values()))
            raise

    def _run_pool(self, tasks: Sequence[Task], places: int) -> Generator[Returned | None, None, None]:
        from joblib import Parallel, delayed

        devices = visible_devices(self.accelerator)
        places = min(places, len(tasks))
        threads = self.threads or share_of_cores(places)
        pool = Parallel(
            n_jobs=max(places, 2),  # with 1 joblib would work in this process
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=places,
            initializer=take_place,
            initargs=(str(tasks[0].folder), devices, max(places, 2), threads),
        )
        arrived: queue.Queue[Returned | BaseException | None] = queue.Queue()

        def collect() -> None:
            """In a thread: signals interrupt only the main one, which can then let the workers save."""
            try:
                for returned in pool(delayed(work)(task) for task in tasks):
                    arrived.put(returned)
                arrived.put(None)
            except BaseException as error:  # noqa: BLE001 - handed over to the main thread
                arrived.put(error)

        threading.Thread(target=collect, name="workers", daemon=True).start()
        missing = {task.number for task in tasks}
        while True:
            try:
                item = arrived.get(timeout=TICK_SECONDS)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, Returned):
                missing.discard(item.number)
                yield item
            elif item is None:
                return
            elif isinstance(item, BrokenProcessPool):
                unfinished = [task for task in tasks if task.number in missing]
                yield from bury([task for task in unfinished if task.pid_file.exists()] or unfinished)
                return
            else:
                raise item


def bury(tasks: Iterable[Task]) -> Iterator[Returned]:
    """What is said of chunks whose process died."""
    for task in tasks:
        task.pid_file.unlink(missing_ok=True)
        yield Returned(number=task.number, error="its process died (killed, or out of memory)", died=True)
