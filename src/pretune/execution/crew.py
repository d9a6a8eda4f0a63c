"""Several processes that compute the cells of one command together, and the command that tells them what to do.

The command's own process keeps all that belongs to the study (claims, records, the tracker, the display) and takes
part in no computation. It starts one process per device for the first cell and keeps them, with their weights, for
the next ones. So a process that dies can neither hang the command nor take it down: its cell fails, the others are
ended, and the next cell has new ones. Where torchrun started the processes, the one of rank 0 runs the command and
starts a member in its place; the others are members from the start.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pretune.checkpoints.resolution import Resolved, locate
from pretune.config.running import ZERO_STAGES, Trainer
from pretune.config.sharing import uneven_steps
from pretune.errors import PretuneError, ProcessLost, Terminated, UsageError
from pretune.execution.hands import OnStep, Order
from pretune.execution.member import DONE, FAILED, MESSAGE, STEP, STOPPED, VALUES, Assignment, serve
from pretune.results.store import Record
from pretune.terminal import say_count
from pretune.training.stopping import StopRequest, heeding_termination

PRELOADED = ["torch", "lightning.pytorch", "transformers"]
GRACE_SECONDS = 10.0
"""What the other processes have to report after the first one failed."""
DISMISSAL_SECONDS = 20.0
"""What all have to end after the last cell."""


@dataclass(frozen=True)
class Member:
    """A process of this machine, and the command's end of the pipe to it."""

    rank: int
    process: Any
    channel: Connection


def is_elastic() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_follower() -> bool:
    """Whether this process is one that torchrun started to compute, not to run the command."""
    return is_elastic() and os.environ.get("RANK", "0") != "0"


class Crew:
    """Processes that share each cell, as ``trainer`` asks for; ``batch_sizes``: rows of a step in the trainings.

    Raises :class:`UsageError` where this machine, or how torchrun was called, makes that impossible.
    """

    def __init__(self, trainer: Trainer, *, cache_dir: str, batch_sizes: Sequence[int] = ()) -> None:
        self.cache_dir = cache_dir
        self.accelerator = trainer.accelerator
        self.devices = count_devices(trainer)
        self.processes = self.devices * trainer.num_nodes
        self._check_launch(trainer)
        if batch_sizes:
            require_deepspeed(trainer.strategy)
        for batch_size in batch_sizes:
            if fault := uneven_steps(self.processes, batch_size):
                raise UsageError(f"trainer.devices={self.devices}: {fault}")
        self._members: list[Member] = []
        self._folder: Path | None = None

    def _check_launch(self, trainer: Trainer) -> None:
        if not is_elastic():
            if trainer.num_nodes > 1:
                raise UsageError(
                    f"trainer.num_nodes={trainer.num_nodes}: start the command on each machine with torchrun, "
                    f"for example torchrun --nnodes={trainer.num_nodes} --nproc-per-node={self.devices} … train.py …"
                )
            return
        started, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if (started, here) != (self.processes, self.devices):
            raise UsageError(
                f"trainer.devices={self.devices}, trainer.num_nodes={trainer.num_nodes}: torchrun started {started} "
                f"processes, {here} of them on this machine; make the two agree"
            )

    def fetch(self, resolved: Resolved) -> None:
        """Have the files of the weights on this machine, so that not every process downloads them."""
        locate(resolved, self.cache_dir)

    def perform(self, order: Order, *, loggers: Sequence[Any], on_step: OnStep) -> tuple[Record, Path | None]:
        """Have all processes compute a cell; return what the first one made.

        Raises what one of them raised, :class:`ProcessLost` when one is gone.
        """
        self.start()
        assignment = Assignment(order=order, cache_dir=self.cache_dir, accelerator=self.accelerator, logs=bool(loggers))
        hearing = Hearing(self._members, loggers, on_step)
        try:
            self._members[0].channel.send(assignment)
            return hearing.result()
        except BaseException:
            if not hearing.is_intact():
                self._end()
            raise

    def start(self) -> None:
        """Start the processes, if there are none."""
        if self._members:
            return
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)  # imported once, not by each
        self._folder = Path(tempfile.mkdtemp(prefix="pretune-"))
        meeting = "env://" if is_elastic() else f"file://{self._folder}/meeting"
        for rank in range(1 if is_elastic() else self.processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(self._environment(rank), theirs, meeting), name=f"rank {rank}", daemon=True
            )
            process.start()
            theirs.close()
            self._members.append(Member(rank, process, ours))

    def _environment(self, rank: int) -> dict[str, str]:
        if is_elastic():
            return dict(os.environ)
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.processes, "LOCAL_WORLD_SIZE": self.processes}
        environment = {**os.environ, **{name: str(value) for name, value in ranks.items()}, "NODE_RANK": "0"}
        if sys.platform == "linux":
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the machine's own name need not lead to itself
        return environment

    def close(self) -> None:
        """Dismiss the processes."""
        if is_elastic():
            self.start()  # those that torchrun started wait to be dismissed, too
        if self._members:
            try:
                self._members[0].channel.send(None)
                limit = time.monotonic() + DISMISSAL_SECONDS
                for member in self._members:
                    member.process.join(max(0.0, limit - time.monotonic()))
            except OSError:
                pass  # gone already
        self._end()

    def _end(self) -> None:
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.join()
            member.channel.close()
        self._members = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Hearing:
    """Listens to the processes that compute one cell until all have ended it, or one is gone."""

    def __init__(self, members: Sequence[Member], loggers: Sequence[Any], on_step: OnStep) -> None:
        self.members = members
        self.loggers = loggers
        self.on_step = on_step
        self._ends: dict[int, tuple[Any, ...]] = {}
        self._lost: list[int] = []
        self._request = StopRequest()
        self._limit: float | None = None

    def result(self) -> tuple[Record, Path | None]:
        """What the first process made; raises what went wrong."""
        with heeding_termination(self._request):  # not raised here: half a message would be lost
            self._hear_all()
        for rank in self._lost:
            raise ProcessLost(self._describe_end(rank))
        failures = [(rank, end) for rank, end in self._ends.items() if end[0] == FAILED]
        for rank, (_, error, text) in failures:
            error.add_note(f"\nin the process of rank {rank}:\n{text}")
            if len(self._ends) < len(self.members):
                raise ProcessLost(f"rank {rank} of {len(self.members)}: {type(error).__name__}: {error}") from error
            raise error
        if any(end[0] == STOPPED for end in self._ends.values()):
            raise Terminated("stopped by SIGTERM")
        made: tuple[Record, Path | None] = self._ends[0][1]
        return made

    def is_intact(self) -> bool:
        """Whether all processes have ended the cell in a way after which they can go on."""
        ends = self._ends.values()
        unhurt = [end[0] == DONE or (end[0] == FAILED and isinstance(end[1], PretuneError)) for end in ends]
        return all(unhurt) and len(unhurt) == len(self.members)

    def _hear_all(self) -> None:
        told = False
        while open_members := [m for m in self.members if m.rank not in self._ends and m.rank not in self._lost]:
            if self._request.made and not told:
                told = True
                self.members[0].process.terminate()  # it saves the step that it is in, with the others
            if self._limit is not None and time.monotonic() > self._limit:
                return
            for ready in wait([member.channel for member in open_members], timeout=0.5):
                self._hear(next(member for member in open_members if member.channel is ready))

    def _hear(self, member: Member) -> None:
        try:
            message = member.channel.recv()
        except (EOFError, OSError):
            self._lost.append(member.rank)
            self._hurry()
            return
        kind = message[0]
        if kind == STEP:
            self.on_step(message[1], message[2])
        elif kind == VALUES:
            for logger in self.loggers:
                logger.log_metrics(message[1])
        elif kind == MESSAGE:
            logging.getLogger(message[2]).log(message[1], "%s", message[3])
        else:
            self._ends[member.rank] = message
            # after SIGTERM the first process may still be writing what all have saved; none waits for it then
            if kind == FAILED or (kind == STOPPED and member.rank == 0):
                self._hurry()

    def _hurry(self) -> None:
        if self._limit is None:
            self._limit = time.monotonic() + GRACE_SECONDS

    def _describe_end(self, rank: int) -> str:
        process = next(member.process for member in self.members if member.rank == rank)
        process.join(GRACE_SECONDS)
        status = process.exitcode
        how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        return f"the process of rank {rank} (of {len(self.members)}) {how}; its cell is given up"


def count_devices(trainer: Trainer) -> int:
    """Processes on this machine: as configured, else one per GPU."""
    import torch

    gpus = torch.cuda.device_count() if trainer.accelerator != "cpu" else 0
    wanted = trainer.devices
    if wanted is None and is_elastic():
        wanted = int(os.environ["LOCAL_WORLD_SIZE"])
    if wanted is None:
        if not gpus:
            raise UsageError("trainer.devices=null: there is no GPU; give the number of processes on the CPU")
        return gpus
    if gpus and wanted > gpus:
        raise UsageError(f"trainer.devices={wanted}: this machine has {say_count(gpus, 'GPU')}")
    if trainer.accelerator == "gpu" and not gpus:
        raise UsageError("trainer.accelerator=gpu: there is no GPU")
    return wanted


def require_deepspeed(strategy: str) -> None:
    """Raise :class:`UsageError` where trainings by ``strategy`` need DeepSpeed and it is not installed."""
    if strategy in ZERO_STAGES and importlib.util.find_spec("deepspeed") is None:
        raise UsageError(
            f"trainer.strategy={strategy}: needs DeepSpeed, which is not installed: pip install 'pretune[deepspeed]'"
        )


def dismiss_followers(trainer: Trainer, cache_dir: str) -> None:
    """Let the processes that torchrun started end where there is nothing to compute."""
    if is_elastic() and trainer.strategy != "single":
        Crew(trainer, cache_dir=cache_dir).close()


def refuse_torchrun(trainer: Trainer) -> None:
    """Raise :class:`UsageError` for a command that torchrun started, but that wants one process."""
    if is_elastic() and trainer.strategy == "single" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("trainer.strategy=single: torchrun started several processes; give trainer=ddp")
