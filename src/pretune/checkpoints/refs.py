"""What a study knows of repositories: branches and tags with their commits, and the files of commits.

Kept in the study, so that planning and offline runs resolve too, and so that a study stays with the commits it began
with. A branch that has moved since is reported and not followed.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from pretune.checkpoints.files import HubFile
from pretune.checkpoints.hub import endpoint, fetch_files, fetch_refs
from pretune.checkpoints.revisions import Ref
from pretune.results.store import Study, write_atomically

log = logging.getLogger(__name__)

T = TypeVar("T")


class RefCache:
    """Refs and file lists of repositories, from memory, from the study, else from the Hub."""

    def __init__(self, study: Study) -> None:
        self._folder = study.root / "refs"
        self._refs: dict[str, tuple[Ref, ...]] = {}
        self._files: dict[tuple[str, str], tuple[HubFile, ...]] = {}

    def get(self, repo: str, *, refresh: bool = False) -> tuple[Ref, ...]:
        """Refs of ``repo``. ``refresh`` asks the Hub for new ones; those known before keep their commits."""
        if repo in self._refs and not refresh:
            return self._refs[repo]
        known = self._read(repo, "refs", dict)
        if known is None or refresh:
            now = {ref.name: ref.commit for ref in fetch_refs(repo)}
            for name, commit in (known or {}).items():
                if now.get(name, commit) != commit:
                    log.warning(
                        "%s of %s has moved (%s → %s); this study stays with the former. To follow it, begin another "
                        "study_dir, or delete %s",
                        name, repo, str(commit)[:12], now[name][:12], self.path(repo),
                    )  # fmt: skip
            merged = {**now, **(known or {})}
            if merged != known:
                self._write(repo, "refs", merged)
            known = merged
        self._refs[repo] = tuple(Ref(name=str(name), commit=str(commit)) for name, commit in known.items())
        return self._refs[repo]

    def knows(self, repo: str) -> bool:
        """Whether the study has noted the refs of ``repo``."""
        return repo in self._refs or self._read(repo, "refs", dict) is not None

    def files(self, repo: str, commit: str) -> tuple[HubFile, ...]:
        """Files of a commit with sizes and, for LFS files, SHA-256. A commit never changes."""
        if (repo, commit) not in self._files:
            kept = self._read(f"{repo}@{commit}", "files", list)
            files = None if kept is None else _to_files(kept)
            if files is None:
                files = fetch_files(repo, commit)
                self.keep_files(repo, commit, files)
            self._files[repo, commit] = files
        return self._files[repo, commit]

    def keep_files(self, repo: str, commit: str, files: tuple[HubFile, ...]) -> None:
        """Remember the files of a commit (with hashes that only the download told, say)."""
        self._files[repo, commit] = files
        self._write(f"{repo}@{commit}", "files", [[file.name, file.size, file.sha256] for file in files])

    def path(self, name: str) -> Path:
        """Where the refs of a repository, or the files of ``repo@commit``, are kept."""
        return self._folder / f"{name.replace('/', '--')}.json"

    def _write(self, name: str, key: str, entries: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        body = {"endpoint": endpoint(), key: entries}
        write_atomically(self.path(name), json.dumps(body, indent=1).encode())

    def _read(self, name: str, key: str, kind: type[T]) -> T | None:
        """What was kept, if it is readable and of the Hub in use: a mirror's commits are not the Hub's."""
        try:
            body = json.loads(self.path(name).read_text())
            entries = body[key] if body["endpoint"] == endpoint() else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return entries if isinstance(entries, kind) else None


def _to_files(kept: list[Any]) -> tuple[HubFile, ...] | None:
    try:
        return tuple(
            HubFile(name=str(name), size=int(size), sha256=None if sha256 is None else str(sha256))
            for name, size, sha256 in kept
        )
    except (TypeError, ValueError):
        return None
