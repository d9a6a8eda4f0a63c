"""Launching on a Ray cluster, or on this machine by Ray."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pretune.errors import UsageError
from pretune.execution.launched import Returned, Task, work
from pretune.execution.launchers import TICK_SECONDS, ChunkLauncher, bury, can_import, check_least, stop_workers


class RayCluster(ChunkLauncher):
    """``hydra/launcher=ray_cluster``: one Ray task for each chunk.

    ``address``: of the cluster (``auto``: the one this machine belongs to); ``None`` starts Ray on this machine.
    ``num_cpus``, ``num_gpus``: what a chunk takes (``num_gpus=0.25``: four share a GPU). ``retries``: how often Ray
    runs a chunk again whose process died. ``init``: further arguments of ``ray.init``.
    """

    name = "ray_cluster"

    def __init__(
        self, *, address: str | None, num_cpus: float, num_gpus: float, retries: int, init: Mapping[str, Any]
    ) -> None:
        check_least(0, num_gpus=num_gpus, retries=retries)
        if num_cpus <= 0:
            raise UsageError(f"hydra.launcher.num_cpus={num_cpus}: must be greater than 0")
        self.address, self.num_cpus, self.num_gpus, self.retries = address, num_cpus, num_gpus, retries
        self.init = dict(init)

    def connect(self) -> Any:
        """The library, connected to the cluster."""
        if not can_import("ray"):
            raise UsageError(
                f"hydra/launcher={self.name}: needs Ray, which is not installed: pip install 'pretune[ray]'"
            )
        import ray

        if not ray.is_initialized():
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            if self.address is None:
                quiet["include_dashboard"] = False
            try:
                ray.init(address=self.address or "local", **{**quiet, **self.init})
            except ConnectionError as error:
                raise UsageError(f"hydra.launcher.address={self.address}: {error}") from None
        return ray

    def check(self) -> None:
        """Refuse when there is no Ray, no cluster, or no room in it for a chunk."""
        self.places()

    def places(self) -> int:
        """As many chunks as the cluster has room for now."""
        resources = self.connect().cluster_resources()
        room = resources.get("CPU", 0) / self.num_cpus
        if self.num_gpus:
            room = min(room, resources.get("GPU", 0) / self.num_gpus)
        if room < 1:
            raise UsageError(
                f"hydra.launcher.num_cpus={self.num_cpus:g}, num_gpus={self.num_gpus:g}: the cluster has "
                f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
            )
        return int(room)

    def run(self, tasks: Sequence[Task], *, places: int) -> Generator[Returned | None, None, None]:
        """Hand the tasks to Ray, ``places`` at once."""
        ray = self.connect()
        # A process of its own for each chunk: a reused one would keep the GPU memory of the chunk before.
        remote = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.retries, max_calls=1)(work)
        waiting = list(tasks)
        running: dict[Any, Task] = {}
        try:
            while waiting or running:
                while waiting and len(running) < places:
                    task = waiting.pop(0)
                    running[remote.remote(task)] = task
                ended, _ = ray.wait(list(running), num_returns=1, timeout=TICK_SECONDS)
                if not ended:
                    yield None
                for reference in ended:
                    task = running.pop(reference)
                    try:
                        yield ray.get(reference)
                    except ray.exceptions.RayError as error:
                        (grave,) = bury([task])
                        yield Returned(number=task.number, error=f"{grave.error}: {type(error).__name__}", died=True)
        except BaseException:
            for reference in running:
                ray.cancel(reference, recursive=False)
            stop_workers(tasks)
            raise
