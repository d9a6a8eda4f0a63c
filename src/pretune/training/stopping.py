"""SIGTERM during a training: the step in progress is finished and saved before the process ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from pretune.errors import Terminated


class StopRequest:
    """Whether the process has been asked to end."""

    def __init__(self) -> None:
        self.made = False

    def make(self, *_: object) -> None:
        """Note the request (a signal handler)."""
        self.made = True

    def obey(self) -> None:
        """Raise :class:`Terminated` when the request was made: everything worth saving is saved."""
        if self.made:
            raise Terminated("stopped by SIGTERM")


@contextlib.contextmanager
def heeding_termination(request: StopRequest) -> Iterator[None]:
    """Let SIGTERM make ``request`` in the body instead of ending the process; obeyed at the latest at its end.

    Signals reach the main thread only: a training in another one is left to whoever handles them there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, request.make)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    request.obey()
