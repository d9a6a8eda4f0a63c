"""The Hugging Face Hub (or a mirror named by ``HF_ENDPOINT``): refs, weight hashes, downloads, plain errors."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pretune.checkpoints.revisions import Ref
from pretune.errors import CheckpointError, DataError, HubUnreachable, PretuneError
from pretune.results.store import Study, write_atomically

log = logging.getLogger(__name__)

WEIGHT_SUFFIXES = (".safetensors",)
FILES_TO_LOAD = ("*.json", "*.safetensors", "*.model", "*.txt")

FIRST_CONTACT_TIMEOUT = 5.0
FIRST_CONTACT_PAUSE = 1.0
"""Seconds to wait for the Hub's first answer, and before asking a second time."""

_reached: set[str] = set()
"""Addresses that have answered this process."""


def endpoint() -> str:
    """Address of the Hub in use."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def is_reachable() -> bool:
    """Whether the Hub answers at all; asked once per process and address, twice at most.

    The clients retry a refused connection for half a minute, which helps a long sweep through a bad moment but only
    annoys whoever has no network: so the first contact is made here, and they are patient only after it.
    """
    address = endpoint()
    for pause in (0.0, FIRST_CONTACT_PAUSE):
        if address in _reached:
            break
        time.sleep(pause)
        if _answers(address):
            _reached.add(address)
    return address in _reached


def _answers(address: str) -> bool:
    """Whether somebody answers at ``address``, whatever the answer."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=FIRST_CONTACT_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the clients may know more certificates than Python does
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _offline_unless_reachable() -> Iterator[None]:
    """Make the clients use their caches and nothing else while the Hub cannot be reached."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or is_reachable():
        yield
        return
    settings: list[Any] = [constants]
    if "datasets.config" in sys.modules:  # it keeps a copy; not imported for a question about weights
        settings.append(sys.modules["datasets.config"])
    before = [setting.HF_HUB_OFFLINE for setting in settings]
    try:
        for setting in settings:
            setting.HF_HUB_OFFLINE = True
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.HF_HUB_OFFLINE = value


@contextlib.contextmanager
def explain_hub_errors(what: str, *, missing: type[PretuneError] = CheckpointError) -> Iterator[None]:
    """Turn the clients' exceptions into one message: what was wanted, from where, and what to do.

    ``missing`` is raised where there is no such repository or revision, or no access to it. While the Hub cannot be
    reached, the body finds what is in the clients' caches.
    """
    from huggingface_hub import errors

    try:
        with _offline_unless_reachable():
            yield
    except errors.GatedRepoError as error:
        raise missing(f"{what}: gated on {endpoint()}; accept its terms there and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise missing(f"{what}: not found on {endpoint()} (or private: set HF_TOKEN)") from error
    except errors.RevisionNotFoundError as error:
        raise missing(f"{what}: no such revision on {endpoint()}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise unreachable(what, error) from error
    except errors.HfHubHTTPError as error:
        raise HubUnreachable(f"{what}: {endpoint()} answered: {str(error).splitlines()[0]}") from error
    except Exception as error:
        if is_transport_error(error):
            raise unreachable(what, error) from error
        raise


def is_transport_error(error: BaseException) -> bool:
    """Whether the connection failed, by whichever HTTP library the Hub's client uses in this version."""
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith(("httpx", "requests"))}
    offline = isinstance(error, OSError) and "offline" in str(error).lower()
    return bool(kinds & {"TransportError", "ConnectionError", "Timeout"}) or offline


def unreachable(what: str, error: BaseException) -> HubUnreachable:
    """The message for a Hub that does not answer."""
    offline = " (HF_HUB_OFFLINE is set and it is not in the cache)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return HubUnreachable(
        f"{what} could not be fetched: {endpoint()} cannot be reached{offline} ({type(error).__name__}).\n"
        "  Without a hub:  checkpoint=pico/step1024 task=pico/nli need none.\n"
        "  With a mirror:  export HF_ENDPOINT=http://HOST:PORT\n"
        "  Local folders:  checkpoint=path checkpoint.path=DIR   task.source=path task.path=DIR"
    )


class RefCache:
    """Branches, tags and weight hashes of repositories, kept in the study for planning and for offline runs."""

    def __init__(self, study: Study) -> None:
        self._folder = study.root / "refs"
        self._known: dict[str, tuple[Ref, ...]] = {}

    def get(self, repo: str, *, refresh: bool = False) -> tuple[Ref, ...]:
        """Refs of ``repo``: from memory, from the study, else from the Hub (``refresh``: always from there)."""
        if repo in self._known and not refresh:
            return self._known[repo]
        names = None if refresh else self._read(repo, "refs")
        if names is None:
            names = {ref.name: ref.commit for ref in fetch_refs(repo)}
            self._write(repo, "refs", names)
        self._known[repo] = tuple(Ref(name=name, commit=commit) for name, commit in names.items())
        return self._known[repo]

    def weight_hashes(self, repo: str, commit: str) -> dict[str, str]:
        """SHA-256 of each weight file of a commit: from the study, else from the Hub. A commit never changes."""
        hashes = self._read(f"{repo}@{commit}", "weights")
        if not hashes:
            hashes = fetch_weight_hashes(repo, commit)
            self._write(f"{repo}@{commit}", "weights", hashes)
        return hashes

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '--')}.json"

    def _write(self, name: str, key: str, entries: Mapping[str, str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        body = {"endpoint": endpoint(), key: dict(entries)}
        write_atomically(self._path(name), json.dumps(body, indent=1).encode())

    def _read(self, name: str, key: str) -> dict[str, str] | None:
        try:
            body = json.loads(self._path(name).read_text())
            if body["endpoint"] != endpoint():  # a mirror's commits are not the Hub's
                return None
            return {str(entry): str(value) for entry, value in body[key].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None


def fetch_refs(repo: str) -> tuple[Ref, ...]:
    """Ask the Hub for all branches and tags of ``repo``."""
    from huggingface_hub import HfApi

    with explain_hub_errors(f"checkpoint.repo={repo}"):
        refs = HfApi().list_repo_refs(repo)
    return tuple(Ref(name=ref.name, commit=ref.target_commit) for ref in (*refs.branches, *refs.tags))


def check_data_set(repo: str, revision: str | None) -> None:
    """Ask the Hub once whether a data set is there: the loader behind it repeats every question for half a minute.

    Does nothing in offline mode, where only the cache is asked.
    """
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        HfApi().dataset_info(repo, revision=revision, timeout=10)


def fetch_weight_hashes(repo: str, commit: str) -> dict[str, str]:
    """SHA-256 of each safetensors file of a commit, from the Hub's LFS records, without downloading."""
    from huggingface_hub import HfApi

    with explain_hub_errors(f"checkpoint.repo={repo}"):
        entries = list(HfApi().list_repo_tree(repo, revision=commit, recursive=True))
    hashes = {
        entry.path: entry.lfs.sha256
        for entry in entries
        if entry.path.endswith(WEIGHT_SUFFIXES) and getattr(entry, "lfs", None) is not None
    }
    if not hashes:
        raise CheckpointError(f"{repo} at {commit[:12]} has no safetensors weights; pickled weights are not loaded")
    return hashes


def download_weights(repo: str, commit: str, hashes: Mapping[str, str]) -> Path:
    """Download what loading needs into the Hub's own cache (resumed, checked); return the folder."""
    from huggingface_hub import snapshot_download

    with explain_hub_errors(f"checkpoint.repo={repo}"):
        folder = Path(snapshot_download(repo, revision=commit, allow_patterns=list(FILES_TO_LOAD)))
    missing = [name for name in hashes if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{repo} at {commit[:12]}: download is incomplete, missing {missing}")
    return folder
