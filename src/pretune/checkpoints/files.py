"""Which files of a repository are loaded: one set of weights, its configuration and tokenizer; never code."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pretune.errors import CheckpointError

SMALL_FILES = ("*.json", "*.model", "*.txt")
"""Configuration and tokenizer, beside the weights."""

SAFE = ("model.safetensors", re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors"), "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", re.compile(r"pytorch_model-(\d{5})-of-(\d{5})\.bin"), "pytorch_model.bin.index.json")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a commit. ``sha256`` is ``None`` where the Hub has no LFS record of it."""

    name: str
    size: int
    sha256: str | None = None


def choose_weights(names: Iterable[str], where: str, *, allow_pickle: bool = False) -> list[str]:
    """Names of the weight files that transformers loads: one file or a complete set of shards; safetensors first.

    A repository may hold other weights besides (``consolidated.safetensors``, an optimizer's state, adapters, folders):
    they are left alone. Raises :class:`~pretune.errors.CheckpointError` when there is nothing to load.
    """
    top = sorted(name for name in names if "/" not in name)
    for kind in (SAFE, PICKLED) if allow_pickle else (SAFE,):
        found = _one_set(top, kind, where)
        if found:
            return found
    others = [name for name in top if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt"))]
    message = f"{where}: no safetensors weights"
    if _one_set(top, PICKLED, where):
        message += "; pickled weights are not loaded unless checkpoint.allow_pickle=true"
    elif "adapter_config.json" in top:
        message += "; it holds an adapter, not a model"
    elif others:
        message += f" named model.safetensors or model-00001-of-….safetensors; it has {', '.join(others[:4])}"
    raise CheckpointError(message)


def _one_set(names: Sequence[str], kind: tuple[str, re.Pattern[str], str], where: str) -> list[str]:
    single, shard, index = kind
    if single in names:
        return [single]
    shards = [match for match in map(shard.fullmatch, names) if match is not None]
    if not shards:
        return []
    total = int(shards[0][2])
    if len(shards) != total or {match[2] for match in shards} != {shards[0][2]} or index not in names:
        missing = sorted(set(range(1, total + 1)) - {int(match[1]) for match in shards})
        what = f"shards {missing} of {total}" if missing else index
        raise CheckpointError(f"{where}: its sharded weights are incomplete: {what} missing")
    return [match[0] for match in shards]


def choose_small(names: Iterable[str]) -> list[str]:
    """Names of the configuration and tokenizer files at the top of a repository."""
    return sorted(n for n in names if "/" not in n and any(fnmatch.fnmatch(n, pattern) for pattern in SMALL_FILES))
