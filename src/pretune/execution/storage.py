"""When the file system under a study fails: told from the failure of a cell, and said once.

A cell that fails is recorded and the grid goes on. A full disk, a read-only file system or a study folder that was
deleted would fail all cells that follow, after hours of work each, and their records with them: so they end the
command. What is finished stays; the same command goes on when the place is mended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pretune.errors import StorageFailure, UsageError
from pretune.results.links import refuse_links

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
NUMBER = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]|\[errno (\d+)\]")
"""How libraries that are not written in Python pass on an error number of the system."""


class Foothold:
    """Notices that a folder was deleted, moved or replaced: it is held open, so that nothing else has its number."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor = descriptor

    @classmethod
    @contextlib.contextmanager
    def on(cls, folder: Path) -> Iterator[Foothold]:
        """Make ``folder`` if need be and hold it. Raises :class:`StorageFailure` where it cannot be made, and
        :class:`UsageError` where links in it lead elsewhere.

        A folder made here that is still empty when the body raises is removed: what was refused leaves nothing.
        """
        refuse_links(folder)
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise StorageFailure(f"study_dir={folder}: cannot be used: {error.strerror or error}") from error
        try:
            yield cls(folder, descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                for place in made:
                    place.rmdir()
            raise
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Raise :class:`StorageFailure` unless the folder is still in its place."""
        try:
            held = os.path.samestat(os.stat(self.folder), os.fstat(self._descriptor))
        except OSError:
            held = False
        if not held:
            raise StorageFailure(
                f"the study folder {self.folder} was deleted, moved or replaced while this command ran; nothing more "
                "is written there. Put it back and the same command goes on where this one stopped; without it, it "
                "begins anew"
            )


def check_cache(cache_dir: str) -> None:
    """Raise :class:`UsageError` where ladders and caches cannot be, before any cell fails by it.

    They need not be writable: all that is needed may be there already.
    """
    folder = Path(cache_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise UsageError(f"cache_dir={cache_dir}: cannot be used: {reason}") from None


def refuse_failing_storage(error: BaseException, *places: str | Path) -> None:
    """Raise :class:`StorageFailure` if ``error`` comes from a file system that takes no more writes.

    Missing permission counts only for files below one of ``places``: other files are the cell's own affair.
    """
    for cause in chain(error):
        number, name = error_number(cause), getattr(cause, "filename", None)
        below = isinstance(name, str) and any(Path(name).absolute().is_relative_to(place) for place in places)
        if number in FULL or number == errno.EROFS or (number in READ_ONLY and below):
            what = os.strerror(number)
            where = name if isinstance(name, str) else " or ".join(str(place) for place in places)
            raise StorageFailure(
                f"{where}: {what}. Finished cells are intact; the same command goes on where this one stopped once "
                f"{'there is room' if number in FULL else 'it can be written'}"
            ) from error


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def error_number(error: BaseException) -> int | None:
    """The system's error number behind an exception, whichever library raised it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = NUMBER.search(str(error))
    return int(next(filter(None, match.groups()))) if match else None
