"""Keeping failures of a tracker away from the work that it follows."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

log = logging.getLogger(__name__)

GIVE_UP_AFTER = 3


class Guard:
    """Catches what a tracker raises and says so once.

    One guard serves all runs of a tracker: a sweep of a thousand cells in an unwritable folder has one warning.
    After :data:`GIVE_UP_AFTER` runs that could not be started ``given_up`` is true, and no further one is tried.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.failures = 0
        self._warned = False

    @property
    def given_up(self) -> bool:
        """Whether starting runs has failed too often."""
        return self.failures >= GIVE_UP_AFTER

    @contextlib.contextmanager
    def protect(self, doing: str) -> Iterator[Attempt]:
        """Run the body; an exception ends it, is reported, and is found in the attempt's ``error``."""
        attempt = Attempt()
        try:
            yield attempt
        except Exception as error:
            attempt.error = error
            self._report(doing, error)

    def _report(self, doing: str, error: Exception) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        level = logging.DEBUG if self._warned else logging.WARNING
        log.log(
            level, "%s: %s failed (%s); the work goes on without it, this is not repeated", self.kind, doing, message
        )
        self._warned = True


class Attempt:
    """The outcome of one protected piece of work."""

    error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether it raised."""
        return self.error is not None
