"""Killing a piece of work at each of its file operations, one after the other."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
KILLED = -signal.SIGKILL


def kill_at_each_change(work: Callable[[], Any], *, limit: int = 500) -> Iterator[int]:
    """Run ``work`` in forked processes that are killed before their first, second … change to a file system.

    Yields the number of changes that went before each kill, and ends with the first process that nobody killed.
    """
    for count in range(limit):
        status = _run_until(work, count)
        if status == 0:
            return
        assert status == KILLED, f"the work itself failed after {count} changes: status {status}"
        yield count
    raise AssertionError(f"not finished after {limit} changes")


def _run_until(work: Callable[[], Any], count: int) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        left = count

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        signal.alarm(20)
        sys.addaudithook(watch)
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must not go on with it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
