"""Tokens kept in memory and on disk: rows are tokenised once for a task, a format and a tokenizer.

Neither another checkpoint of the family, nor another learning rate, nor another process or launcher tokenises them
again. A file is known by what it was made of, content of the rows included, so it is never out of date.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pretune.config.schema import to_plain
from pretune.config.science import Format, Task
from pretune.data.encoding import Encoded
from pretune.data.examples import Example
from pretune.data.sources import fingerprint
from pretune.results.identity import TRAINING_VERSION, describe_format, digest
from pretune.results.store import write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger(__name__)

FOLDER = "tokens"
LARGEST = 2 * 1024**3
"""Bytes that the files of a cache folder may take; those unused for longest go first."""


class TokenCache:
    """Encoded training rows by tokenizer, wording, length limit and content of the rows.

    ``cache_dir`` is the folder of all caches; without one nothing is written. A file that cannot be written costs a
    warning, never the training.
    """

    def __init__(self, cache_dir: str | Path | None = None) -> None:
        self._rows: dict[str, list[Encoded]] = {}
        self._folder = Path(cache_dir).expanduser() / FOLDER if cache_dir is not None else None

    def get(
        self,
        encode: Callable[[], list[Encoded]],
        *,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        format_: Format,
        max_length: int,
        examples: Sequence[Example],
    ) -> list[Encoded]:
        """The encoded rows, from memory, from disk, or by ``encode()``."""
        key = digest(
            {
                "version": TRAINING_VERSION,
                "tokenizer": identify_tokenizer(tokenizer),
                "family": task.family,
                "format": to_plain(describe_format(format_, task, shots=0)),
                "max_length": max_length,
                "rows": fingerprint(tuple(examples)),
            }
        )
        if key not in self._rows:
            path = self._folder / f"{key}.npz" if self._folder is not None else None
            found = read_rows(path) if path is not None else None
            self._rows[key] = found if found is not None else encode()
            if found is None and path is not None:
                _keep(path, self._rows[key])
        return self._rows[key]


def _keep(path: Path, rows: Sequence[Encoded]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, pack_rows(rows))
        drop_oldest(path.parent, LARGEST)
    except OSError as error:
        log.warning("tokens are not kept on disk: %s", error)


def pack_rows(rows: Sequence[Encoded]) -> bytes:
    """Turn encoded rows into bytes that begin with their own SHA-256."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(
        buffer,
        ids=np.array([token for row in rows for token in row.ids], dtype=np.int32),
        lengths=np.array([len(row.ids) for row in rows], dtype=np.int32),
        contexts=np.array([row.context for row in rows], dtype=np.int32),
        cuts=np.array([row.cut for row in rows], dtype=np.int32),
        spans=np.array([span for row in rows for span in row.spans], dtype=np.int32).reshape(-1, 2),
        span_counts=np.array([len(row.spans) for row in rows], dtype=np.int32),
    )
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def read_rows(path: Path) -> list[Encoded] | None:
    """Read what :func:`pack_rows` wrote; ``None`` where there is no such file, or a damaged one, which is set aside."""
    import numpy as np

    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        aside = path.with_name(f"{path.stem}.damaged-{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            os.rename(path, aside)
        log.warning("%s was damaged: set aside as %s, its rows are tokenised again", path, aside.name)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as arrays:
        ids, lengths, contexts, cuts, spans, span_counts = (
            arrays[name].tolist() for name in ("ids", "lengths", "contexts", "cuts", "spans", "span_counts")
        )
    rows, start, first = [], 0, 0
    for length, context, cut, count in zip(lengths, contexts, cuts, span_counts, strict=True):
        own = tuple((begin, end) for begin, end in spans[first : first + count])
        rows.append(Encoded(ids=tuple(ids[start : start + length]), context=context, cut=cut, spans=own))
        start, first = start + length, first + count
    return rows


def drop_oldest(folder: Path, limit: int) -> None:
    """Delete the files unused for longest until the folder takes at most ``limit`` bytes."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size


def identify_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of all that a fast tokenizer does to a text, and of the token that ends one."""
    serialised = tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(f"{serialised} {tokenizer.eos_token_id}".encode()).hexdigest()
