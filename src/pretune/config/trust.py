"""Config folders from elsewhere hold values only.

Hydra instantiates what a configuration's ``hydra`` node names before our code runs, so a folder given with
``--config-dir`` (or ``--config-path``, or ``hydra.searchpath``) is read here first, as data, and refused when it could
make Hydra run code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pretune.errors import UsageError

HYDRA_PACKAGE = re.compile(r"^\s*#\s*@package\s+hydra\b", re.MULTILINE)


def check_config_folders(arguments: Sequence[str]) -> None:
    """Raise :class:`UsageError` when a config folder named on the command line holds more than values."""
    for folder in named_folders(arguments):
        for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
            for reason in find_code(path):
                raise UsageError(f"{path}: {reason}; config folders from elsewhere may hold values only")


def named_folders(arguments: Sequence[str]) -> Iterator[Path]:
    """Folders that the command line adds to the config search path."""
    for index, text in enumerate(arguments):
        name, joined, value = text.partition("=")
        if name in ("--config-dir", "-cd", "--config-path", "-cp"):
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            yield Path(value if joined else following)
        elif name.lstrip("+~") == "hydra.searchpath":
            yield from (Path(part.removeprefix("file://")) for part in re.findall(r"[^\[\],'\"\s]+", value))


def find_code(path: Path) -> Iterator[str]:
    """What a YAML file holds that could run code."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if HYDRA_PACKAGE.search(text):
        yield "is placed into the 'hydra' package"
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield f"is not plain YAML ({str(error).splitlines()[0]})"
        return
    yield from _walk(data, path.stem == "hydra" or path.parent.name == "hydra")


def _walk(data: Any, inside_hydra: bool) -> Iterator[str]:
    if inside_hydra:
        yield "configures Hydra itself"
    elif isinstance(data, dict):
        for key, value in data.items():
            name = str(key)
            if name == "_target_":
                yield f"names code to run (_target_: {value})"
            elif name.split("/")[0].split("@")[0].removeprefix("override ").strip() == "hydra":
                yield "has a 'hydra' node"
            elif "@" in name and name.split("@")[1].startswith("hydra"):
                yield "places a config into the 'hydra' package"
            else:
                yield from _walk(value, False)
    elif isinstance(data, list):
        for item in data:
            yield from _walk(item, False)
