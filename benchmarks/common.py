"""What the measurements share: a configuration, its rows and tokens, and the words for a spread."""

from __future__ import annotations

import dataclasses
import gc
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))


def compose(*overrides: str) -> Any:
    """The frozen configuration that ``train.py`` would run with these overrides."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pretune.config.diagnosis import compose as compose_script
    from pretune.config.running import TrainConfig
    from pretune.config.schema import freeze, register
    from pretune.config.validation import validate

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = freeze(
            TrainConfig, compose_script("train", GlobalHydra.instance().config_loader(), ["logger=none", *overrides])
        )
    validate([config])
    return config


def load_rows(config: Any) -> list[Any]:
    """Training rows of a configuration, as a train cell draws them."""
    from pretune.data.partition import LoadSplit, draw_training_rows

    return draw_training_rows(LoadSplit().partition(config.task), config.task, seed=config.seed)


def finetune_aside(
    model: Any, tokenizer: Any, config: Any, examples: list[Any], on_step: Callable[[int, int], None], **more: Any
) -> Any:
    """The outcome of a fine-tuning without validation whose step checkpoints are thrown away."""
    from pretune.training.finetune import finetune

    with tempfile.TemporaryDirectory() as folder:
        return finetune(
            model, tokenizer, config, training=examples, validation=[], work_dir=Path(folder), on_step=on_step, **more
        )


def with_trainer(config: Any, **changes: Any) -> Any:
    """The configuration with other trainer keys."""
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, **changes))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with the smallest and the largest value."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def peak_memory(work: Callable[[], object], device: str) -> float:
    """MiB at the peak of ``work`` above what was held before: of the process (Linux), or of the device."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    held = read_status("VmRSS")
    work()
    return (read_status("VmHWM") - held) / 2**10


def read_status(name: str) -> int:
    """KiB that the kernel gives for this process under ``name``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def describe_place(threads: int, device: str | None = None) -> str:
    """Machine, versions and date, as a table of results must state them; ``device``: the one used, if not the best."""
    names = ("torch", "transformers", "lightning", "trl")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    import os

    import torch

    on_gpu = torch.cuda.is_available() and device != "cpu"
    place = torch.cuda.get_device_name() if on_gpu else f"{os.cpu_count()}-core CPU machine"
    parts = [place, f"{threads} threads", f"Python {platform.python_version()}", *versions, time.strftime("%Y-%m-%d")]
    return ", ".join(parts)
