"""Config folders from elsewhere hold values only.

Hydra instantiates what a configuration's ``hydra`` node names before our code runs, so a folder given with
``--config-dir`` (or ``--config-path``, or ``hydra.searchpath``) is read here first, as data, and refused when it could
make Hydra run code, read this machine's environment, or reach files outside of itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from pretune.errors import UsageError

HEADER = re.compile(r"^\s*#[\s#]*@\s*package\b(.*)$", re.MULTILINE | re.IGNORECASE)
PLAIN_REFERENCE = re.compile(r"\$\{[\w.\[\]-]*\}")
"""``${some.key}``: a reference to another value, the only kind of interpolation that stays within the values."""

MOST_VALUES = 100_000
"""Values of one file, aliases expanded: a few lines of YAML can stand for billions."""


def check_config_folders(arguments: Sequence[str], *, script: Path | None = None) -> None:
    """Raise :class:`UsageError` when a config folder named on the command line holds more than values.

    ``script`` is the file of the script: a relative ``--config-path`` begins beside it, and its own ``conf`` is ours.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _refuse_arguments  # type: ignore[method-assign]
    parsed = parser.parse_args(list(arguments))
    if parsed.experimental_rerun is not None:
        raise UsageError(f"--experimental-rerun={parsed.experimental_rerun}: pickled configurations are not loaded")
    if parsed.config_name is not None:
        _check_option("--config-name", parsed.config_name)
    own = script.parent / "conf" if script is not None else None
    beside = script.parent if script is not None else Path()
    folders = [Path(folder) for folder in (parsed.config_dir, parsed.config_path) if folder]
    if parsed.config_path:
        folders.append(beside / parsed.config_path)
    folders += find_search_path(parsed.overrides)
    for text in parsed.overrides:
        key, _, value = text.partition("=")
        group = key.lstrip("+~").partition("@")[0]
        if "/" in group or any(place.is_dir() for place in (folder / group for folder in (own, *folders) if folder)):
            _check_option(key, value)
    for folder in folders:
        if not (own is not None and own.is_dir() and folder.is_dir() and folder.samefile(own)):
            check_folder(folder)


def _refuse_arguments(message: str) -> NoReturn:
    raise UsageError(f"{message}; --help shows what there is")


def _check_option(key: str, value: str) -> None:
    """An option's name may not lead out of its config folder: such a file would not have been looked through."""
    for name in re.split(r"[,\[\]\s'\"]+", value):
        if name.startswith(("/", "~")) or ".." in name.split("/"):
            raise UsageError(f"{key}={value}: leads out of the config folders; name the folder with --config-dir")


def find_search_path(overrides: Sequence[str]) -> list[Path]:
    """Folders that ``hydra.searchpath=[…]`` adds."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    found: list[Path] = []
    for text in overrides:
        if text.partition("=")[0].lstrip("+~") != "hydra.searchpath":
            continue
        try:
            value = OverridesParser.create().parse_override(text).value()
        except HydraException:
            continue  # Hydra will refuse it, and say why
        for part in value if isinstance(value, list) else [value]:
            place = str(part)
            if "${" in place:
                raise UsageError(f"hydra.searchpath={place}: write the folder out, without ${{…}}")
            if not place.startswith("pkg://"):  # a package that is installed here is trusted as all its code is
                found.append(Path(place.removeprefix("file://")))
    return found


def check_folder(folder: Path) -> None:
    """Raise :class:`UsageError` when a config folder holds more than values."""
    for place, folders, files in os.walk(folder):
        for name in sorted(folders):
            path = Path(place, name)
            if path.is_symlink():
                raise _refuse(path, "is a link to another folder")
            if name.lower() == "hydra":
                raise _refuse(path, "configures Hydra itself")
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix.lower() in (".yaml", ".yml"):
                for reason in find_code(path):
                    raise _refuse(path, reason)


def _refuse(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path}: {reason}; config folders from elsewhere may hold values only")


def find_code(path: Path) -> Iterator[str]:
    """What a YAML file holds that could run code, or is more than values."""
    if path.stem.lower() == "hydra":
        yield "configures Hydra itself"
    text = path.read_text(encoding="utf-8", errors="replace")
    if any("hydra" in _words(header) for header in HEADER.findall(text)):
        yield "is placed into the 'hydra' package"
    try:
        data = yaml.safe_load(text)
        if _count(data, {}) > MOST_VALUES:
            yield f"stands for more than {MOST_VALUES:,} values"
            return
        yield from _walk(data)
    except (yaml.YAMLError, ValueError) as error:
        yield f"is not plain YAML ({str(error).splitlines()[0]})"
    except RecursionError:
        yield "is nested too deeply, or within itself"


def _words(text: object) -> list[str]:
    return re.findall(r"\w+", str(text).lower())


def _count(data: Any, known: dict[int, int]) -> int:
    """Number of values with aliases expanded, each object counted once; ``RecursionError`` for one within itself."""
    if not isinstance(data, dict | list):
        return 1
    if id(data) in known:
        if known[id(data)] < 0:
            raise RecursionError
        return known[id(data)]
    known[id(data)] = -1
    known[id(data)] = 1 + sum(_count(item, known) for item in (data.values() if isinstance(data, dict) else data))
    return known[id(data)]


def _walk(data: Any, key: str = "") -> Iterator[str]:
    if isinstance(data, dict):
        for name, value in data.items():
            if str(name) == "_target_":
                yield f"names code to run (_target_: {value})"
            elif "hydra" in _words(name):
                yield f"has a 'hydra' node ({name})"
            elif name == "defaults":
                yield from _check_defaults(value)
            else:
                yield from _walk(str(name))
                yield from _walk(value, str(name))
    elif isinstance(data, list):
        for item in data:
            yield from _walk(item, key)
    elif isinstance(data, str):
        rest, before = data, ""
        while rest != before:
            rest, before = PLAIN_REFERENCE.sub("", rest), rest
        if "${" in rest:
            yield f"computes a value ({key}: {data[:60]})"


def _check_defaults(data: Any) -> Iterator[str]:
    """A defaults list chooses options of this folder or ours, and says so in plain words."""
    for entry in data if isinstance(data, list) else [data]:
        for name, value in entry.items() if isinstance(entry, dict) else [(entry, "")]:
            text = f"{name}: {value}" if value else str(name)
            if "hydra" in _words(name):
                yield f"chooses for Hydra itself (defaults: {text})"
            elif ".." in re.split(r"[/\s\[\],'\"]+", text) or "${" in text:
                yield f"chooses an option that cannot be looked through (defaults: {text})"
