"""A folder of weights is looked through before a library opens it: what its small files ask for beside the weights.

Code of a repository is never loaded (``trust_remote_code=False``). But a configuration can also name a kernel to fetch
and run, an adapter can name another model, and an index can name files of another folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretune.checkpoints.files import PICKLED, SAFE
from pretune.errors import CheckpointError

LONGEST_FILE = 64 * 2**20
"""Bytes of a configuration or index that are read; a real one has some megabytes at most."""

KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")


def inspect_folder(folder: Path) -> None:
    """Raise :class:`CheckpointError` when a folder asks for more than its own weights, or its files are unreadable."""
    config = _read(folder / "config.json")
    for key, value in _named(config, KERNEL_KEYS):
        if "/" in str(value):
            raise CheckpointError(f"{folder}/config.json: {key}={value} names a kernel to fetch and run: refused")
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder}: it holds an adapter (adapter_config.json) beside the weights; merge it into them first"
        )
    for _, shard, index in (SAFE, PICKLED):
        listed = _read(folder / index).get("weight_map", {}) if (folder / index).is_file() else {}
        if not isinstance(listed, dict):
            raise CheckpointError(f"{folder / index}: weight_map is {type(listed).__name__}, not an object")
        for name in listed.values():
            if not isinstance(name, str) or not shard.fullmatch(name):
                raise CheckpointError(f"{folder / index}: {name!r} is no shard of these weights")


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise ValueError(f"more than {LONGEST_FILE // 2**20} MB")
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.parent}: no loadable causal language model: {path.name} is no readable JSON ({error})"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds {type(content).__name__}, not an object")
    return content


def _named(data: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Values of ``keys``, however deep; nested mappings count by their content."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in keys:
                for text in value.values() if isinstance(value, dict) else [value]:
                    yield key, text
            yield from _named(value, keys)
    elif isinstance(data, list):
        for item in data:
            yield from _named(item, keys)
