"""Whether W&B can be used online: is there a key, and does its server answer. Nothing here prompts or waits long."""

from __future__ import annotations

import contextlib
import netrc
import os
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 2.0
"""Longest wait for each of connecting, the TLS handshake and the first byte of the answer."""

ANSWER_SECONDS = 4.0
"""Longest wait for all of it; a name server that does not answer has a time-out of its own, far longer."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How runs are written: ``online``, ``offline`` or ``disabled``, and for offline the reason in words."""

    name: str
    reason: str = ""


def choose_mode(
    *, offline: bool | None, wished: str | None, base_url: str, key_in_settings: bool, upstream_url: str | None = None
) -> Mode:
    """Return the mode of a tracker.

    ``offline`` is the configuration's key: true and false decide. With null the user's ``WANDB_MODE`` (``wished``)
    decides, and without it: online when a key is known and the server answers. Without a key it is offline in any
    case, since going online would ask for one. ``upstream_url``: another address of the server, whose key is valid too.
    """
    if offline is None and wished in ("disabled", "offline", "dryrun"):
        return Mode(name="disabled") if wished == "disabled" else Mode(name="offline", reason=f"WANDB_MODE={wished}")
    if offline:
        return Mode(name="offline", reason="logger.offline=true")
    if not (key_in_settings or find_key(base_url, upstream_url)):
        return Mode(name="offline", reason=f"no API key for {base_url} was found; `wandb login` stores one")
    insists = offline is False or wished in ("online", "run")
    if not insists and not answers(base_url):
        return Mode(name="offline", reason=f"{base_url} did not answer")
    return Mode(name="online")


def find_key(*urls: str | None) -> bool:
    """Whether the environment, or the netrc file for one of the servers, has credentials."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    for path in _netrc_paths()[:1]:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            known = netrc.netrc(str(path))
            entries = [known.authenticators(urlsplit(url).netloc) for url in urls if url]
            return any(entry and entry[2] for entry in entries)
    return False


def answers(base_url: str, *, connect_seconds: float = CONNECT_SECONDS, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether the server says anything over HTTP in time: any status counts, and so does a certificate unknown here.

    Proxies of the environment are used. The question is asked in a daemon thread, because resolving a name cannot be
    given a time limit. A bare TCP connection would not do: a listening socket whose program hangs accepts it.
    """
    heard = threading.Event()

    def ask() -> None:
        if _hears(base_url, connect_seconds):
            heard.set()
        done.set()

    done = threading.Event()
    threading.Thread(target=ask, daemon=True, name="wandb-reachability").start()
    done.wait(seconds)
    return heard.is_set()


class _StayHere(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer; following it would ask another server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _hears(base_url: str, timeout: float) -> bool:
    import ssl

    request = urllib.request.Request(base_url, method="HEAD", headers={"User-Agent": "pretune"})
    try:
        with urllib.request.build_opener(_StayHere).open(request, timeout=timeout):
            return True
    except urllib.error.HTTPError as error:
        # A proxy answers for a server it cannot reach.
        return error.code not in (502, 503, 504, 407)
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except Exception:
        return False


def _netrc_paths() -> list[Path]:
    if named := os.environ.get("NETRC"):
        return [Path(named).expanduser()]
    with contextlib.suppress(RuntimeError):  # no home folder
        return [path for path in (Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()) if path.exists()]
    return []
