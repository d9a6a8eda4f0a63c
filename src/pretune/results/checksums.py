"""``SHA256SUMS``: what the files of a folder held when it was completed, in the format of ``sha256sum``.

``sha256sum --check SHA256SUMS`` in the folder says what pretune says. Files that are not there any more (weights that
were not kept) are no damage to those that are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretune.errors import DamagedFile

NAME = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
PARALLEL = 4
"""Large files hashed at the same time."""


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the sums of all files below ``folder``, or of those of ``names`` (paths from there)."""
    if names is None:
        found = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
        names = [path.relative_to(folder).as_posix() for path in found]
    ordered = sorted(names)
    with ThreadPoolExecutor(PARALLEL) as pool:
        sums = list(pool.map(lambda name: hash_file(folder / name), ordered))
    text = "".join(f"{found}  {name}\n" for found, name in zip(sums, ordered, strict=True))
    (folder / NAME).write_text(text, encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str] | None:
    """Sums by path; ``None`` for a folder that has none. Raises :class:`DamagedFile` for sums that are none."""
    path = folder / NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        lines = [""]
    matches = [LINE.fullmatch(line) for line in lines]
    if not matches or None in matches:
        raise DamagedFile(path, "not a list of checksums")
    return {match[2]: match[1] for match in matches if match is not None}


def below(sums: Mapping[str, str] | None, folder: str) -> dict[str, str]:
    """The sums of what lies in a folder of the folder, by path from there."""
    prefix = f"{folder}/"
    return {name.removeprefix(prefix): found for name, found in (sums or {}).items() if name.startswith(prefix)}


def check_bytes(path: Path, content: bytes, expected: str | None) -> None:
    """Raise :class:`DamagedFile` unless ``content``, which was read from ``path``, is what was written there."""
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise DamagedFile(path, "its checksum is another than when it was written")


def find_damaged(folder: Path, sums: Mapping[str, str]) -> list[Path]:
    """Files below ``folder`` that are missing or have other content than ``sums`` say; large ones side by side."""

    def is_damaged(name: str) -> bool:
        path = folder / name
        return not path.is_file() or hash_file(path) != sums[name]

    names = sorted(sums)
    with ThreadPoolExecutor(PARALLEL) as pool:
        return [folder / name for name, bad in zip(names, pool.map(is_damaged, names), strict=True) if bad]
