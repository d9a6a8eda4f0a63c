"""From a file and the name of its format to a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pretune.errors import UsageError, suggest
from pretune.published.amuro_char import read_amuro_char
from pretune.published.lm_eval import read_lm_eval
from pretune.published.pythia import read_pythia
from pretune.published.records import Published
from pretune.published.tidy import read_tidy

FORMATS: Mapping[str, Callable[[Path], Published]] = {
    "amuro_char": read_amuro_char,
    "lm_eval": read_lm_eval,
    "pythia": read_pythia,
    "tidy": read_tidy,
}


def read_published(file: str | Path, format_name: str) -> Published:
    """Read published results in one of :data:`FORMATS`.

    Raises :class:`UsageError` when there is no such file or format, :class:`DataError` naming file, line and field
    when something in it cannot be read: nothing is skipped silently.
    """
    path = Path(file)
    if format_name not in FORMATS:
        raise UsageError(f"published.format={format_name}: {suggest(format_name, FORMATS)}")
    if not path.exists():
        raise UsageError(f"published.file={file}: there is no such file")
    return FORMATS[format_name](path)
