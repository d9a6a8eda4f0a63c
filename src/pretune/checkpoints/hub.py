"""The Hugging Face Hub (or a mirror named by ``HF_ENDPOINT``): whether it is there, what it knows, plain errors."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pretune.checkpoints.files import HubFile
from pretune.checkpoints.revisions import Ref
from pretune.config.secrets import IN_ADDRESS
from pretune.errors import CheckpointError, HubUnreachable, PretuneError

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_CONTACT_TIMEOUT = 5.0
FIRST_CONTACT_PAUSE = 1.0
"""Seconds to wait for the Hub's first answer, and before asking a second time."""

BUSY_STATUSES = (408, 429, 500, 502, 503, 504)
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Answers after which to ask again, and the seconds to wait before each further attempt."""

_reached: set[str] = set()
"""Addresses that have answered this process."""


def endpoint() -> str:
    """Address of the Hub in use, without the password that it may hold: it is shown and recorded."""
    return IN_ADDRESS.sub(r"\g<scheme>", os.environ.get("HF_ENDPOINT", "https://huggingface.co"))


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
    if os.environ.get("HF_HUB_OFFLINE"):
        reason = "HF_HUB_OFFLINE is set, and neither the Hub's cache nor this study_dir has it"
    elif not endpoint().startswith(("http://", "https://")):
        reason = "HF_ENDPOINT needs http:// or https:// in front"
    elif type(error).__name__ == "OfflineModeIsEnabled":  # by ourselves, while nobody answers
        reason = "nobody answers there"
    else:
        reason = type(error).__name__
    return HubUnreachable(
        f"{what} could not be fetched: {endpoint()} cannot be reached ({reason}).\n"
        "  Fetched before: the same command with mode=prefetch and the same study_dir, where there is a network\n"
        "  Without a hub:  checkpoint=pico/step1024 task=pico/nli need none.\n"
        "  With a mirror:  export HF_ENDPOINT=http://HOST:PORT\n"
        "  Local folders:  checkpoint=path checkpoint.path=DIR   task.source=path task.path=DIR"
    )


def patiently(ask: Callable[[], T]) -> T:
    """What ``ask`` returns, asked again a few times while a Hub that is there says that it is busy or breaks off.

    The clients do so for some of their requests only, and none of them for an answer of 500 or 503 to a download.
    """
    from huggingface_hub import constants, errors

    for pause in () if constants.HF_HUB_OFFLINE else PAUSES:
        try:
            return ask()
        except errors.HfHubHTTPError as error:
            status = getattr(error.response, "status_code", None)
            if status not in BUSY_STATUSES:
                raise
            reason = f"answered {status}"
        except Exception as error:
            if not is_transport_error(error) or not is_reachable():
                raise
            reason = f"broke off ({type(error).__name__})"
        log.info("%s %s; trying again in %g s", endpoint(), reason, pause)
        time.sleep(pause)
    return ask()


def fetch_refs(repo: str) -> tuple[Ref, ...]:
    """Ask the Hub for all branches and tags of ``repo``."""
    from huggingface_hub import HfApi

    with explain_hub_errors(f"checkpoint.repo={repo}"):
        refs = patiently(lambda: HfApi().list_repo_refs(repo))
    return tuple(Ref(name=ref.name, commit=ref.target_commit) for ref in (*refs.branches, *refs.tags))


def fetch_files(repo: str, commit: str) -> tuple[HubFile, ...]:
    """Files of a commit, from the Hub's records, without downloading: names, sizes, SHA-256 of LFS files."""
    from huggingface_hub import HfApi

    with explain_hub_errors(f"checkpoint.repo={repo}"):
        entries = patiently(lambda: list(HfApi().list_repo_tree(repo, revision=commit)))
    return tuple(
        HubFile(name=entry.path, size=int(entry.size), sha256=entry.lfs.sha256 if entry.lfs else None)
        for entry in entries
        if hasattr(entry, "size")  # folders have none
    )


def check_data_set(repo: str, revision: str | None) -> None:
    """Ask the Hub once whether a data set is there: the loader behind it repeats every question for half a minute.

    Does nothing in offline mode, where only the cache is asked.
    """
    from huggingface_hub import HfApi, constants

    if not constants.HF_HUB_OFFLINE:
        patiently(lambda: HfApi().dataset_info(repo, revision=revision, timeout=10))
