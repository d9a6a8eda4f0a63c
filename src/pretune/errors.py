"""The exceptions a user of pretune can meet.

Every message quotes the offending value and names the valid ones. The scripts turn these types into exit
statuses: :class:`UsageError` → 2 (nothing was started), any other :class:`PretuneError` → 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path


class PretuneError(Exception):
    """Base of all errors that pretune raises on purpose."""


class UsageError(PretuneError):
    """What was asked for cannot be done as asked: found before any work was started."""


class NothingFailed(UsageError):
    """``mode=retry`` of a grid without a failed cell."""


class CheckpointError(UsageError):
    """A checkpoint does not exist, or is not what its name says."""


class DataError(PretuneError):
    """Rows that cannot be used: missing column, hidden labels, unknown label, empty split."""


class PromptTooLong(DataError):
    """A prompt does not fit even without its body: instruction and completion are never cut."""


class HubUnreachable(PretuneError):
    """The Hub (or the mirror that ``HF_ENDPOINT`` names) did not answer."""


class WeightsNotKept(PretuneError):
    """A trained run is asked for its weights, but its ``model/`` folder was not kept."""


class TrainingDiverged(PretuneError):
    """The loss or the gradient norm is no longer finite, or has exploded.

    ``details`` is what a failure record says of it: the step, what it learnt, losses and gradient norms before.
    """

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.details = dict(details or {})


class Terminated(BaseException):
    """The process was asked to end (SIGTERM); what was under way is saved. Not an error of the cell in progress."""


class NonFiniteScores(PretuneError):
    """A log-likelihood is NaN or infinite: the weights or the arithmetic are broken, and no metric would mean much."""


class ProcessLost(PretuneError):
    """One of the processes that computed a cell together ended: killed, out of memory, or with an error of its own."""


class TooLargeForMemory(PretuneError):
    """A single row does not fit into the memory that is there: no smaller batch would help."""


class ClaimLost(PretuneError):
    """Another process took over the cell while this one was working on it."""


class DamagedFile(PretuneError):
    """A file does not hold what was written there: it is never used."""

    def __init__(self, path: Path, reason: str, *, remedy: str = "the command that made it makes it again") -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} is damaged ({reason}); {remedy}")


class WeightsDamaged(PretuneError):
    """Weights on the disk are not those that were downloaded, or written there. ``files``: which files."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        super().__init__(f"{self.files[0]}{more}: damaged, the checksum is another than when it was written")


class StorageFailure(PretuneError):
    """The study's or the cache's file system cannot be written, or the study folder is gone: nothing can go on."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a configuration: the key, its value, and what would be right."""

    key: str
    value: object
    message: str
    typed: str | None = None
    """The word of the command line, where it is not ``key=value``."""

    def __str__(self) -> str:
        return f"{f'{self.key}={self.value}' if self.typed is None else self.typed}: {self.message}"


class ConfigError(UsageError):
    """Everything that is wrong with a configuration, reported together."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} {noun} in the configuration:\n{lines}")


def suggest(name: str, valid: Iterable[str], *, limit: int = 12) -> str:
    """Return ``"did you mean …? valid: …"`` for an unknown ``name``; those in its own folder (``pico/``) come first."""
    folder = name[: name.rfind("/") + 1]
    options = sorted(valid, key=lambda option: (not option.startswith(folder), natural_order(option)))
    return _propose(get_close_matches(name, options, n=3, cutoff=0.5), options, limit)


def suggest_key(name: str, keys: Iterable[str], *, limit: int = 20) -> str:
    """:func:`suggest` for a dotted key: of hundreds, those below the same parent are listed.

    What is meant may be elsewhere: ``lr`` is ``optimizer.lr``, at most one group deeper than it was looked for.
    """
    known = list(keys)
    parent, _, last = name.rpartition(".")
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    deepest = name.count(".") + 1
    elsewhere = [key for key in known if key.rpartition(".")[2] == last and key.count(".") <= deepest]
    elsewhere = [key for key in elsewhere if key.count(".") == min(other.count(".") for other in elsewhere)]
    close = get_close_matches(name, elsewhere, n=1, cutoff=0.8) or (elsewhere if len(elsewhere) <= 3 else [])
    unknown = name.removeprefix(f"{parent}.").partition(".")[0]
    close = close or [beside[other] for other in get_close_matches(unknown, beside, n=3, cutoff=0.65)]
    listed = sorted((key for other, key in beside.items() if not other.startswith("_")), key=natural_order)
    return _propose(close, listed, limit)


def natural_order(text: str) -> list[str | int]:
    """Sort key by which ``step8`` comes before ``step16``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def _propose(close: Sequence[str], options: Sequence[str], limit: int) -> str:
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    listed = ", ".join(options[:limit]) + (f", … ({len(options)} in all)" if len(options) > limit else "")
    return f"{hint}valid: {listed}" if options else f"{hint}none are known"
