"""The side of a launcher's worker: one chunk of a sweep, run in a process of its own, its outcome as plain data."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.errors import PretuneError, Terminated

STOP_FILE = "stop"
"""In the folder of a launch: no further chunk is begun."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One chunk for a worker. Plain paths: it travels to other machines that share the file system.

    ``chunk`` is the file with the jobs, ``folder`` the folder of the launch, ``number`` the chunk's in it, ``cwd``
    the working folder of the command (relative paths of a configuration mean the same in a worker).
    """

    chunk: Path
    folder: Path
    number: int
    cwd: Path

    @property
    def log(self) -> Path:
        """What the worker prints."""
        return self.folder / f"{self.number}.log"

    @property
    def pid_file(self) -> Path:
        """Holds the worker's process id for as long as it works on the chunk."""
        return self.folder / f"{self.number}.pid"


@dataclass(frozen=True, kw_only=True)
class Returned:
    """What came back of a chunk: the outcomes of its jobs as plain data, or the reason why there are none."""

    number: int
    outcomes: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    died: bool = False
    """Whether the process ended without a word (killed, out of memory, lost with its machine)."""
    stopped: bool = False
    """Whether the worker was asked to end (SIGTERM); what was under way is saved."""


def work(task: Task) -> Returned:
    """Run a chunk. Nothing is raised but by SIGINT: exceptions do not survive every way between processes."""
    from pretune.execution.process import set_up_process

    if (task.folder / STOP_FILE).exists():
        return Returned(number=task.number, error="not begun: the command was stopped", stopped=True)
    os.chdir(task.cwd)
    task.pid_file.write_text(str(os.getpid()))
    try:
        with prints_to(task.log):
            set_up_process()
            from pretune.execution.grid import read_chunk
            from pretune.execution.session import run_chunk

            return Returned(number=task.number, outcomes=tuple(run_chunk(read_chunk(task.chunk))))
    except PretuneError as error:
        return Returned(number=task.number, error=str(error))
    except Terminated as error:
        return Returned(number=task.number, error=str(error), stopped=True)
    except Exception as error:  # noqa: BLE001 - whatever ended one chunk must not hide the others
        return Returned(number=task.number, error=f"{type(error).__name__}: {error}")
    finally:
        task.pid_file.unlink(missing_ok=True)


@contextlib.contextmanager
def prints_to(path: Path) -> Iterator[None]:
    """Append standard output and error of the process, libraries and all, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    with open(path, "ab") as file:
        for number, _ in kept:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
