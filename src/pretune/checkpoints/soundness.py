"""Whether weights on the disk are still those that were downloaded or written, and what to do if not.

Checked whenever weights are read into memory, at the same time as they are read, against the SHA-256 that the Hub
records or that was written beside them; planning and recognising finished cells reads no weights. Weights of
``checkpoint.path`` are identified by their content: changed ones are other weights.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretune.checkpoints.downloads import find_cached
from pretune.checkpoints.ladders import set_aside_rungs
from pretune.checkpoints.resolution import Resolved
from pretune.errors import WeightsDamaged
from pretune.results.checksums import below, find_damaged, read_sums

log = logging.getLogger(__name__)


@contextlib.contextmanager
def checking(folder: Path, sums: Mapping[str, str]) -> Iterator[None]:
    """Compare files of ``folder`` with their checksums while the body reads them.

    Raises :class:`~pretune.errors.WeightsDamaged` at its end, also instead of whatever the body made of damaged files.
    """
    with ThreadPoolExecutor(1) as pool:
        damaged = pool.submit(find_damaged, folder, sums)
        try:
            yield
        except Exception as error:
            if files := damaged.result():
                raise WeightsDamaged(files) from error
            raise
        if files := damaged.result():
            raise WeightsDamaged(files)


def known_sums(resolved: Resolved, folder: Path) -> Mapping[str, str]:
    """Checksums of the files of a checkpoint that lies in ``folder``, as far as they are known."""
    if resolved.checkpoint.source == "hub":
        return resolved.hashes
    if resolved.checkpoint.source == "ladder":
        return below(read_sums(folder.parent), folder.name)
    return {}


def set_aside(resolved: Resolved, folder: Path, error: WeightsDamaged) -> bool:
    """Move damaged files of a checkpoint out of the way, so that they are downloaded or trained again.

    Returns whether that can be done: what lies in a folder that the user named is left alone.
    """
    checkpoint = resolved.checkpoint
    if checkpoint.source == "ladder" and checkpoint.path is None:
        set_aside_rungs(folder.parent)
        return True
    if checkpoint.source != "hub":
        return False
    for file in error.files:
        cached = find_cached(str(checkpoint.repo), str(resolved.commit), file.name)
        if cached is not None:
            blob = cached.resolve()
            aside = blob.with_name(f"{blob.name}.pretune.damaged")
            os.replace(blob, aside)
            cached.unlink(missing_ok=True)
            log.warning("%s of %s was damaged: set aside as %s", file.name, resolved.name, aside)
    return True
