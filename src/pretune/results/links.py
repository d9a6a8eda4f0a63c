"""Symbolic links inside a study: a study from elsewhere must not lead writers and cleaners out of its folder."""

from __future__ import annotations

import os
from pathlib import Path

from pretune.errors import UsageError

WALKED = ("report", "logs")
"""Folders of a study that are written and tidied file by file: looked through to their ends."""


def leads_out(name: str) -> bool:
    """Whether a name read from a file is not the name of a folder right below its place (``../x``, ``.``, ``a/b``)."""
    return not name or name.startswith(".") or Path(name).name != name


def refuse_links(root: Path) -> None:
    """Raise :class:`UsageError` when a folder of the study that is written to, or a file in the report, is a link.

    The study folder itself may be one, and links among the files of a run are only ever read.
    """
    if not root.is_dir():
        return
    for entry in os.scandir(root):
        if entry.is_symlink():
            raise _refuse(Path(entry.path))
    for name in WALKED:
        for place, folders, files in os.walk(root / name):
            for path in (Path(place, found) for found in (*folders, *files)):
                if path.is_symlink():
                    raise _refuse(path)


def _refuse(path: Path) -> UsageError:
    return UsageError(f"{path} is a link to {os.readlink(path)}: a study's own files are not written through links")
