"""Downloading the files of a commit into the Hub's own cache, and removing them.

The Hub's client begins a file again that was broken off by the end of its process. Weights are large, so that theirs
are continued here, then checked against the SHA-256 that the Hub records, and handed to the client's cache.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlparse

from pretune.checkpoints.files import HubFile
from pretune.checkpoints.hub import explain_hub_errors, patiently
from pretune.errors import DataError
from pretune.results.checksums import hash_file

log = logging.getLogger(__name__)

PARALLEL = 4
"""Files downloaded at the same time."""


def find_cached(repo: str, commit: str, name: str) -> Path | None:
    """Where a file of a commit is in the Hub's cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=commit)
    return Path(found) if isinstance(found, str) else None


def missing_files(repo: str, commit: str, files: Sequence[HubFile]) -> list[HubFile]:
    """Those of ``files`` that are not in the Hub's cache yet."""
    return [file for file in files if find_cached(repo, commit, file.name) is None]


def download(repo: str, commit: str, files: Sequence[HubFile]) -> Path:
    """Make sure that ``files`` are in the Hub's cache; return their folder. Without network if they are.

    Raises :class:`~pretune.errors.DataError` for a weight file that is not the one that the Hub records.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    missing = missing_files(repo, commit, files)
    if missing:
        with explain_hub_errors(f"checkpoint.repo={repo}"), ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda file: patiently(lambda: _fetch(repo, commit, file)), missing))
    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"), "snapshots", commit)


def _fetch(repo: str, commit: str, file: HubFile) -> None:
    from huggingface_hub import constants, hf_hub_download

    if file.sha256 is not None and not constants.HF_HUB_OFFLINE:
        _fetch_blob(repo, commit, file, file.sha256)
    hf_hub_download(repo, file.name, revision=commit)


def _fetch_blob(repo: str, commit: str, file: HubFile, sha256: str) -> None:
    """Download a file to where the client looks for its content, going on where an earlier attempt was broken off."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    url = hf_hub_url(repo, file.name, revision=commit)
    told = get_hf_file_metadata(url)
    if told.etag is None or (told.xet_file_data is not None and find_spec("hf_xet")):
        return  # chunked storage has its own way to go on
    folder = repo_folder_name(repo_id=repo, repo_type="model")
    blob = Path(constants.HF_HUB_CACHE, folder, "blobs", told.etag)
    partial = blob.with_name(f"{told.etag}.pretune.incomplete")
    lock = Path(constants.HF_HUB_CACHE, ".locks", folder, f"{told.etag}.pretune.lock")
    headers = build_hf_headers()
    if urlparse(told.location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)
    for needed in (blob, lock):
        needed.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        if partial.exists() and partial.stat().st_size > (told.size or file.size):
            partial.unlink()
        with open(partial, "ab") as target:
            if target.tell():
                log.info("%s of %s: going on after %d MB", file.name, repo, target.tell() // 10**6)
            http_get(
                told.location,
                target,
                resume_size=target.tell(),
                headers=headers,
                expected_size=told.size,
                displayed_filename=file.name,
            )
        found = hash_file(partial)
        if found != sha256:
            partial.unlink()
            raise DataError(
                f"{repo} at {commit[:12]}: {file.name} arrived with SHA-256 {found[:16]}…, not the recorded "
                f"{sha256[:16]}…; it was removed: run the same command again"
            )
        os.replace(partial, blob)


def remove(repo: str, commit: str) -> int:
    """Remove the files of a commit from the Hub's cache, except those that another commit shares; return the bytes."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return 0
    commits = {r.commit_hash for each in found.repos if each.repo_id == repo for r in each.revisions}
    if commit not in commits:
        return 0
    strategy = found.delete_revisions(commit)
    strategy.execute()
    return int(strategy.expected_freed_size)
