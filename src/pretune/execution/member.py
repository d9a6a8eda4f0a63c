"""One of the processes that compute cells together: it joins the others, and computes what it is told to.

The first one is told by the command (:mod:`pretune.execution.crew`) and tells the others. What it does is exactly
what a command without helpers does in its own process; the code of training and evaluation finds its part by rank.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from pretune.errors import PretuneError, ProcessLost, Terminated
from pretune.execution.hands import Order, OwnHands

PATIENCE = timedelta(days=7)
"""How long a process waits for another one; those that end are noticed by the command, not by waiting."""

STEP, VALUES, MESSAGE, DONE, FAILED, STOPPED = "step", "values", "message", "done", "failed", "stopped"
"""What the first process reports: progress, logged values, messages for the terminal, and how an order ended.

The others report the last three."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """An order with what a process needs to carry it out."""

    order: Order
    cache_dir: str
    accelerator: str
    logs: bool


class Channel(Protocol):
    """One end of a pipe to the command."""

    def send(self, message: Any) -> None:
        """Send one message."""

    def recv(self) -> Any:
        """Wait for the next message; ``EOFError`` when the other end is gone."""


class Deaf:
    """The channel of a process on another machine, or one that torchrun started: nobody hears its reports."""

    def send(self, message: Any) -> None:
        """Do nothing."""

    def recv(self) -> Any:
        """There are no messages."""
        raise EOFError


class Reports:
    """Sends reports whole, one after another, whatever thread or signal comes in between."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._sending = False
        self._asked = False

    def send(self, *report: Any) -> None:
        """Send one; raises :class:`Terminated` afterwards if SIGTERM came meanwhile."""
        main = threading.current_thread() is threading.main_thread()
        self._sending = self._sending or main
        try:
            with self._lock:
                self._channel.send(report)
        finally:
            self._sending = self._sending and not main
        if main and self._asked:
            self._asked = False
            raise Terminated("stopped by SIGTERM")

    def stop(self, *_: object) -> None:
        """Handle SIGTERM outside of a training, which handles it itself."""
        if self._sending:
            self._asked = True
        else:
            raise Terminated("stopped by SIGTERM")


class Forwarding(logging.Handler):
    """Hands log records to the command: its display knows how to show them."""

    def __init__(self, reports: Reports) -> None:
        super().__init__()
        self.reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        """Send one message."""
        self.reports.send(MESSAGE, record.levelno, record.name, record.getMessage())


def serve(environment: Mapping[str, str], channel: Channel, meeting: str) -> None:
    """Be a member until dismissed; ``environment`` names rank and number of processes, ``meeting`` where they join.

    The entry point of processes that the command starts. When the command is gone, so is the member.
    """
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the command decides
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                orders.put(channel.recv())
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=listen, name="orders", daemon=True).start()
    reports = Reports(channel)
    listen_to_logging(reports)
    if not work(orders, reports, meeting):
        os._exit(1)  # an orderly end would wait for the others in the libraries' exit handlers


def follow() -> int:
    """Be a member that torchrun started, until dismissed; return the exit status."""
    reports = Reports(Deaf())
    listen_to_logging(reports)
    return 0 if work(queue.SimpleQueue(), reports, "env://") else 1


def listen_to_logging(reports: Reports) -> None:
    """Let the first process's messages through, and the others' only where they are errors."""
    first = os.environ["RANK"] == "0"
    root = logging.getLogger()
    root.handlers[:] = [Forwarding(reports)] if first else [logging.NullHandler()]
    root.setLevel(logging.WARNING)
    logging.getLogger("pretune").setLevel(logging.INFO if first else logging.ERROR)
    for library in ("huggingface_hub", "datasets"):
        logging.getLogger(library).propagate = False


def work(orders: queue.SimpleQueue[Any], reports: Reports, meeting: str) -> bool:
    """Join the other processes and carry out orders until there are no more; whether all went well."""
    import torch.distributed as dist

    with joined(meeting):
        first, hands = dist.get_rank() == 0, None
        while True:
            assignment: Assignment | None = next_assignment(orders if first else None)
            if assignment is None:
                return True
            if hands is None:
                use_own_device(assignment.accelerator)
                hands = OwnHands(assignment.cache_dir, assignment.accelerator)
            if not carry_out(assignment, hands, reports, first=first):
                return False


@contextlib.contextmanager
def joined(meeting: str) -> Iterator[None]:
    """Be part of the process group in the body."""
    import torch
    import torch.distributed as dist

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=world, timeout=PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: the others may be gone


def next_assignment(orders: queue.SimpleQueue[Any] | None) -> Assignment | None:
    """What all processes do next, as the first one heard it; ``None`` at the end."""
    import torch
    import torch.distributed as dist

    told = [orders.get() if orders is not None else None]
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    assignment: Assignment | None = told[0]
    return assignment


def use_own_device(accelerator: str) -> None:
    """Make the GPU of this process's local rank the current one."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def carry_out(assignment: Assignment, hands: OwnHands, reports: Reports, *, first: bool) -> bool:
    """Compute one cell and report how it ended; whether this process can go on with another.

    It can after errors that are raised on purpose: all processes meet those at the same place.
    """
    from pretune.tracking.lightning_logger import ForwardingLogger

    def report_values(values: Mapping[str, Any]) -> None:
        reports.send(VALUES, dict(values))

    def report_step(done: int, total: int) -> None:
        if first:
            reports.send(STEP, done, total)

    loggers = [ForwardingLogger("pretune", "0", report_values)] if assignment.logs and first else []
    before = signal.signal(signal.SIGTERM, reports.stop)
    try:
        result = hands.perform(assignment.order, loggers=loggers, on_step=report_step)
    except Terminated:
        with contextlib.suppress(Terminated):  # asked twice
            reports.send(STOPPED)
        return False
    except Exception as error:  # noqa: BLE001 - whatever it is, the command must hear of it
        reports.send(FAILED, sendable(error), traceback.format_exc())
        return isinstance(error, PretuneError)
    finally:
        signal.signal(signal.SIGTERM, before)
    reports.send(DONE, result if first else None)
    return True


def sendable(error: Exception) -> Exception:
    """The error itself if it survives the way to another process, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - errors of libraries may need anything to be rebuilt
        return ProcessLost(f"{type(error).__name__}: {error}")
    return error
