"""Launching through submitit: job arrays of a SLURM cluster, or the same code path on this machine."""

from __future__ import annotations

import functools
import logging
import math
import shutil
import signal
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from pretune.errors import UsageError
from pretune.execution.launched import Returned, Task, work
from pretune.execution.launchers import (
    TICK_SECONDS,
    ChunkLauncher,
    bury,
    can_import,
    check_least,
    share_of_cores,
    stop_workers,
    take_place,
    visible_devices,
)
from pretune.execution.process import terminate

log = logging.getLogger(__name__)


class SubmittedWork:
    """What a submitted job runs: :func:`~pretune.execution.launched.work`, requeued before its time is over.

    submitit tells a job by a signal that its time is over or that it is preempted. The training saves its step, then
    submitit requeues the job, which goes on there. ``prepare`` is called first. With ``leaves_result=False`` a job that
    is ended by SIGTERM leaves no result: whoever ended it decides whether it comes again (SLURM).
    """

    def __init__(self, *, prepare: Callable[[], None] | None, leaves_result: bool) -> None:
        self.prepare, self.leaves_result = prepare, leaves_result

    def __call__(self, task: Task) -> Returned:
        """Run the chunk in the job's process."""
        from submitit import JobEnvironment

        if self.prepare is not None:
            self.prepare()
        number = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        requeue = signal.getsignal(number)
        asked = False

        def ask(*_: object) -> None:
            nonlocal asked
            asked = True
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGTERM, terminate)
        signal.signal(number, ask)
        returned = work(task)
        signal.signal(number, requeue)
        if returned.stopped and asked and callable(requeue):
            requeue(number, None)  # writes the job anew, requeues it and ends the process
        if returned.stopped and not self.leaves_result:
            sys.exit(128 + signal.SIGTERM)
        return returned

    def checkpoint(self, task: Task) -> Any:
        """What submitit runs when the job comes again: the same, whose finished cells are known by the study."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)


class Submitit(ChunkLauncher):
    """Common to SLURM and this machine: jobs are submitted, watched, and submitted again when they died.

    ``at_once``: jobs at the same time. ``timeout_min``: time limit of a job, before which (``signal_delay_s``) it is
    requeued, at most ``requeues`` times. ``resubmit``: how often a job that died without a word is submitted again.
    """

    def __init__(self, *, at_once: int, timeout_min: float, signal_delay_s: int, requeues: int, resubmit: int) -> None:
        check_least(0, requeues=requeues, resubmit=resubmit, timeout_min=timeout_min)
        check_least(1, at_once=at_once, signal_delay_s=signal_delay_s)
        if timeout_min * 60 <= signal_delay_s:
            raise UsageError(
                f"hydra.launcher.timeout_min={timeout_min}: must be longer than signal_delay_s={signal_delay_s} seconds"
            )
        self.at_once, self.timeout_min, self.signal_delay_s = at_once, timeout_min, signal_delay_s
        self.requeues, self.resubmit = requeues, resubmit

    def check(self) -> None:
        """Refuse when submitit is not installed."""
        if not can_import("submitit"):
            raise UsageError(
                f"hydra/launcher={self.name}: needs submitit, which is not installed: pip install 'pretune[cluster]'"
            )

    def places(self) -> int:
        """Jobs at the same time."""
        return self.at_once

    @abstractmethod
    def make_executor(self, folder: str, places: int) -> Any:
        """Submitit's executor with this launcher's parameters."""

    @abstractmethod
    def submit_first(self, executor: Any, call: SubmittedWork, tasks: Sequence[Task], places: int) -> Mapping[int, Any]:
        """Submit what is submitted in one go; return its jobs by the number of their task."""

    @abstractmethod
    def make_call(self, folder: str, places: int) -> SubmittedWork:
        """What each job runs."""

    @abstractmethod
    def stop(self, tasks: Sequence[Task], jobs: Mapping[int, Any]) -> None:
        """Called when the command is stopped while ``jobs`` run."""

    def run(self, tasks: Sequence[Task], *, places: int) -> Generator[Returned | None, None, None]:
        """Submit the tasks and watch their jobs."""
        folder, by_number = tasks[0].folder, {task.number: task for task in tasks}
        executor = self.make_executor(str(folder / "jobs"), places)
        call = self.make_call(str(folder), places)
        attempts = dict.fromkeys(by_number, 1)
        jobs: dict[int, Any] = {}
        try:
            jobs.update(self.submit_first(executor, call, tasks, places))
            waiting = [task for task in tasks if task.number not in jobs]
            while jobs or waiting:
                while waiting and len(jobs) < places:
                    task = waiting.pop(0)
                    jobs[task.number] = executor.submit(call, task)
                ended = [number for number, job in jobs.items() if job.done()]
                for number in ended:
                    returned = read_result(jobs.pop(number), by_number[number])
                    if returned.died and attempts[number] <= self.resubmit:
                        attempts[number] += 1
                        waiting.insert(0, by_number[number])
                    else:
                        yield returned
                if not ended:
                    yield None
                    time.sleep(TICK_SECONDS / 2)
        except BaseException:
            self.stop(tasks, jobs)
            raise


def read_result(job: Any, task: Task) -> Returned:
    """What a job that is over left behind."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        result = job.result()
    except FailedJobError as error:
        return Returned(number=task.number, error=f"job {job.job_id} failed: {last_line(error)}")
    except UncompletedJobError:
        state = str(job.state)
        if state.upper().startswith("CANCELLED"):
            return Returned(number=task.number, error=f"job {job.job_id} was cancelled", stopped=True)
        (grave,) = bury([task])
        return Returned(number=task.number, error=f"job {job.job_id} ({state}): {grave.error}", died=True)
    assert isinstance(result, Returned)
    return result


def last_line(error: Exception) -> str:
    """The line of a traceback that says what happened."""
    lines = [line for line in str(error).splitlines() if line.strip() and not set(line.strip()) <= {"-"}]
    return lines[-1] if lines else ""


class SlurmLocal(Submitit):
    """``hydra/launcher=slurm_local``: jobs as on a cluster, as processes of this machine.

    Each gets a GPU, if there is one: the jobs take turns (``at_once`` more than GPUs: they share them).
    """

    name = "slurm_local"

    def make_executor(self, folder: str, places: int) -> Any:
        """Submitit's executor for this machine."""
        from submitit import LocalExecutor

        executor = LocalExecutor(folder, max_num_timeout=self.requeues)
        executor.update_parameters(timeout_min=self.timeout_min, signal_delay_s=self.signal_delay_s)
        return executor

    def make_call(self, folder: str, places: int) -> SubmittedWork:
        """Each job takes a place of this machine."""
        devices = visible_devices(self.accelerator)
        prepare = functools.partial(take_place, folder, devices, places, share_of_cores(places))
        return SubmittedWork(prepare=prepare, leaves_result=True)

    def submit_first(self, executor: Any, call: SubmittedWork, tasks: Sequence[Task], places: int) -> Mapping[int, Any]:
        """Nothing: this machine has no queue of its own."""
        return {}

    def stop(self, tasks: Sequence[Task], jobs: Mapping[int, Any]) -> None:
        """Let the jobs save and end."""
        stop_workers(tasks)


class Slurm(Submitit):
    """``hydra/launcher=slurm``: one job array of a SLURM cluster; each job works on a chunk.

    ``gpus_per_node``, ``cpus_per_task``, ``mem_gb``: resources of a job. ``partition``, ``account``, ``qos``,
    ``constraint`` and ``additional_parameters`` go to sbatch; ``setup``: shell lines before the job's own.
    """

    name = "slurm"

    def __init__(
        self,
        *,
        at_once: int,
        timeout_min: float,
        signal_delay_s: int,
        requeues: int,
        resubmit: int,
        gpus_per_node: int | None,
        cpus_per_task: int | None,
        mem_gb: float | None,
        partition: str | None,
        account: str | None,
        qos: str | None,
        constraint: str | None,
        setup_lines: Sequence[str],
        additional_parameters: Mapping[str, Any],
    ) -> None:
        super().__init__(
            at_once=at_once,
            timeout_min=timeout_min,
            signal_delay_s=signal_delay_s,
            requeues=requeues,
            resubmit=resubmit,
        )
        self.parameters = {
            "gpus_per_node": gpus_per_node,
            "cpus_per_task": cpus_per_task,
            "mem": None if mem_gb is None else f"{round(mem_gb * 1024)}MB",
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "setup": list(setup_lines) or None,
            "additional_parameters": dict(additional_parameters) or None,
        }

    def check(self) -> None:
        """Refuse where there is no SLURM."""
        super().check()
        if shutil.which("srun") is None:
            raise UsageError(
                f"hydra/launcher={self.name}: there is no SLURM here (srun was not found); "
                "hydra/launcher=slurm_local takes the same path on this machine"
            )

    def wanted_chunks(self) -> int:
        """Not more chunks than checkpoints: each job loads few of them."""
        return 1

    def make_executor(self, folder: str, places: int) -> Any:
        """Submitit's executor for SLURM."""
        from submitit import SlurmExecutor

        executor = SlurmExecutor(folder, max_num_timeout=self.requeues)
        executor.update_parameters(
            job_name="pretune",
            time=math.ceil(self.timeout_min),
            signal_delay_s=self.signal_delay_s,
            array_parallelism=places,
            **{key: value for key, value in self.parameters.items() if value is not None},
        )
        return executor

    def make_call(self, folder: str, places: int) -> SubmittedWork:
        """SLURM itself gives each job its devices and cores."""
        return SubmittedWork(prepare=None, leaves_result=False)

    def submit_first(self, executor: Any, call: SubmittedWork, tasks: Sequence[Task], places: int) -> Mapping[int, Any]:
        """One array with all tasks."""
        return dict(zip((task.number for task in tasks), executor.map_array(call, tasks), strict=True))

    def stop(self, tasks: Sequence[Task], jobs: Mapping[int, Any]) -> None:
        """The jobs go on without the command."""
        names = sorted({str(job.job_id).split("_")[0] for job in jobs.values()})
        log.warning("the jobs of this command go on; scancel %s ends them", " ".join(names))
