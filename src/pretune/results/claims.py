"""Claims: at most one process works on a cell, and a dead owner's cell is taken over.

A claim is a small file created by an atomic link, renewed by a heartbeat. Nobody trusts clocks of other machines:
a claim is stale when *this* process has watched it unchanged for the length of a lease. A taken-over owner that
wakes up finds that the claim is no longer its own and discards its result. Where an owner on this machine has died,
which can be seen, nobody waits for the lease.

``PRETUNE_LEASE_SECONDS`` sets another lease for all processes of a study (a file system that shows changes late may
need a longer one).
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pretune.errors import ClaimLost, UsageError

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0
BEATS_IN_A_LEASE = 6


def find_lease() -> float:
    """Seconds after which a claim that does not change is stale. Raises :class:`UsageError` for no such number."""
    given = os.environ.get("PRETUNE_LEASE_SECONDS")
    if given is None:
        return LEASE_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"PRETUNE_LEASE_SECONDS={given}: must be a number of seconds above 0")
    return seconds


@functools.cache
def this_machine() -> str:
    """Where process ids mean what they mean here: the host, since it was started, and its namespace of processes.

    Containers may share the name of their host and yet see other processes.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


class Claim:
    """One process's right to work on one cell; ``request_key`` says which, for those who ask how far a grid is."""

    def __init__(self, path: Path, request_key: str | None = None) -> None:
        self.path = path
        self.request_key = request_key
        self.token = uuid.uuid4().hex
        self._beats = 0
        self._lost = threading.Event()

    def _write(self, target: Path) -> None:
        self._beats += 1  # no time: clocks stand still, or are set back
        body = {
            "token": self.token,
            "machine": this_machine(),
            "pid": os.getpid(),
            "beat": self._beats,
            "request_key": self.request_key,
        }
        target.write_text(json.dumps(body))

    def try_acquire(self) -> bool:
        """Create the claim unless it exists; ``True`` when it is ours."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{self.token}")
        self._write(temporary)
        try:
            os.link(temporary, self.path)  # fails if it exists, atomically, on network file systems too
        except FileExistsError:
            return os.stat(temporary).st_nlink == 2  # a server may have made the link and lost its answer
        except OSError:  # a file system without links
            try:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                return False
            os.replace(temporary, self.path)
            return True
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def renew(self) -> None:
        """Show that the owner lives. Raises :class:`ClaimLost` if somebody took over."""
        self.check()
        temporary = self.path.with_name(f"{self.path.name}.{self.token}")
        try:
            self._write(temporary)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise :class:`ClaimLost` unless the claim is still ours."""
        if read_token(self.path) != self.token:
            raise self._lost_error()

    def _lost_error(self) -> ClaimLost:
        return ClaimLost(f"{self.path.name}: another process took over this cell; the result is discarded")

    def check_quickly(self) -> None:
        """Raise :class:`ClaimLost` if the heartbeat has found that somebody took over. Reads nothing."""
        if self._lost.is_set():
            raise self._lost_error()

    def release(self) -> None:
        """Give the claim up, if it is still ours."""
        if read_token(self.path) == self.token:
            self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Renew the claim in the background while the body runs, then release it."""
        stop, pause = threading.Event(), min(HEARTBEAT_SECONDS, find_lease() / BEATS_IN_A_LEASE)

        def beat() -> None:
            while not stop.wait(pause):
                try:
                    self.renew()
                except ClaimLost:
                    self._lost.set()
                    return
                except OSError as error:  # a hiccup of the file system: the next beat may come in time
                    log.warning("%s could not be renewed: %s", self.path.name, error)

        thread = threading.Thread(target=beat, name="claim-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with contextlib.suppress(OSError):
                self.release()


def read_token(path: Path) -> str | None:
    """Token of the present owner; ``None`` when nobody holds the claim."""
    try:
        return str(json.loads(path.read_text())["token"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ""  # half-written on a file system without links: held by nobody we know


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that works on a cell, as its claim says; ``silent``: seconds since it last showed that it lives."""

    pid: int
    host: str
    silent: float


def read_holders(folder: Path) -> dict[str, Holder]:
    """Request key → who works on that cell, of all claims in a folder.

    Owners of this machine that have died are left out; those of others are not known to live, see ``silent``.
    """
    found = {}
    for path in folder.glob("*.json"):
        try:
            body, changed = path.read_bytes(), path.stat().st_mtime
            claim = json.loads(body)
            holder = Holder(
                pid=int(claim["pid"]), host=str(claim["machine"]).split()[0], silent=max(time.time() - changed, 0.0)
            )
            key = str(claim["request_key"])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue  # just released, or half-written on a file system without links
        if not _owner_is_dead(body):
            found[key] = holder
    return found


class Watch:
    """Decides whether claims of others are stale, by watching them with this machine's own monotonic clock."""

    def __init__(self, lease_seconds: float | None = None) -> None:
        self.lease_seconds = find_lease() if lease_seconds is None else lease_seconds
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def is_stale(self, path: Path) -> bool:
        """Whether the claim at ``path`` has not changed for a lease, or its owner is a dead process of this machine."""
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            self._seen.pop(path, None)
            return False
        now = time.monotonic()
        known = self._seen.get(path)
        if _owner_is_dead(body):
            self._seen[path] = (body, now)
            return True
        if known is None or known[0] != body:
            self._seen[path] = (body, now)
            return False
        return now - known[1] > self.lease_seconds

    def take_over(self, path: Path) -> None:
        """Set a stale claim aside: of several processes only one succeeds, the others see it gone."""
        known = self._seen.pop(path, None)
        grave = path.with_name(f"{path.name}.stale-{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, grave)
            if known is not None and grave.read_bytes() != known[0]:
                # Somebody else took over between our look and our rename: give the fresh claim back.
                with contextlib.suppress(FileExistsError):
                    os.link(grave, path)
            grave.unlink(missing_ok=True)


def _owner_is_dead(body: bytes) -> bool:
    """Whether the claim names a process of this machine that no longer runs."""
    try:
        owner = json.loads(body)
        if owner["machine"] != this_machine():
            return False
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return False
    return False
