"""Where a result came from: versions, code, machine. Recorded with every cell, part of no identity."""

from __future__ import annotations

import functools
import platform
import resource
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pretune

PACKAGES = ("torch", "transformers", "lightning", "datasets", "tokenizers", "hydra-core")


@functools.cache
def code_version() -> str:
    """Version of pretune, with the commit when it runs from a git checkout."""
    root = Path(pretune.__file__).parents[2]
    if (root / ".git").exists():
        try:
            command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
            found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            return f"{pretune.__version__}+{found.stdout.strip()}"
        except (OSError, subprocess.SubprocessError):
            pass
    return pretune.__version__


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    found = {"python": platform.python_version(), "pretune": code_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_machine(device: Any, threads: int) -> dict[str, Any]:
    """Device, threads and peak memory of this process so far, and how many processes computed the cell."""
    import torch

    from pretune.training.distributed import process_part

    facts: dict[str, Any] = {
        "device": str(device),
        "processes": process_part()[1],
        "threads": threads,
        "processor": platform.processor() or platform.machine(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    if getattr(device, "type", "") == "cuda":
        facts["device_name"] = torch.cuda.get_device_name(device)
        facts["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return facts


def collect(device: Any, threads: int, started: float, **facts: Any) -> dict[str, Any]:
    """Provenance of a cell that was started at ``started`` (``time.time()``)."""
    return {
        "versions": versions(),
        "machine": describe_machine(device, threads),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
        "seconds": round(time.time() - started, 3),
        **facts,
    }
