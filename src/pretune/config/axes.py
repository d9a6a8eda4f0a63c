"""Axes of a sweep that are more than a key with its values: pairs, conditions, and points from a file.

::

    pairs=checkpoint=step342k,step738k:optimizer.lr=2e-6,2e-7     the first with the first, the second with the second
    only=format=io:task=mnli,rte                                  format io for these tasks alone
    cells=grid.csv                                                one point per row, the columns are keys

The parts of a value are joined by ``:`` and written as on the command line. Each axis may be given several times.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.config.kinds import field_names, find_type, make_check
from pretune.config.running import SESSION_KEYS
from pretune.errors import ConfigError, Problem, UsageError, suggest, suggest_key

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

AXES = ("pairs", "only", "cells")
"""Keys that the sweep's expansion takes for itself."""

NOT_IN_FILES = (*SESSION_KEYS, "debug", "chunk", "plan", *AXES)
"""Keys of the command, not of a point."""

MOST_PROBLEMS = 20
"""Problems of a file that are told, at most."""

DANGEROUS = ("checkpoint.allow_pickle",)
"""Keys that only who types the command may set."""

PART = re.compile(r":(?=\s*[\w./@-]+=)")
WORD = re.compile(r"[\w./+-]+")
INTEGER = re.compile(r"0|[1-9]\d*", re.ASCII)
OTHER_SEPARATOR = re.compile(r"[;|\t]")
LIST = re.compile(r"\[\s*(?:[\w./+-]+\s*(?:,\s*[\w./+-]+\s*)*)?\]")


def quote_axes(arguments: Sequence[str]) -> list[str]:
    """The arguments with the values of ``pairs=`` and ``only=`` in quotes: Hydra's grammar takes no second ``=``."""
    quoted = []
    for text in arguments:
        key, equals, value = text.partition("=")
        if equals and key in ("pairs", "only") and value[:1] not in ("'", '"'):
            # In Hydra's grammar a backslash is special only before a quote.
            escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and '\\"'), value)
            text = f'{key}="{escaped}"'
        quoted.append(text)
    return quoted


def hold_back(arguments: Sequence[str]) -> list[str]:
    """The arguments of a sweep with values below a swept group as a choice of one, which only the expansion reads.

    Hydra composes a sweep once without what is swept: ``checkpoint.recipe.seed=1`` would meet the default checkpoint,
    which has no recipe, though every one of ``checkpoint=pico/step64,pico/step256`` has.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed, swept = OverridesParser.create(), dict[str, "Override"](), set[str]()
    for text in arguments:
        # options of the command line; what is wrong is told later
        with contextlib.suppress(HydraException, ConfigError):
            parsed[text] = override = parser.parse_override(text)
            if override.key_or_group == "pairs":
                swept |= {part.partition("=")[0] for part in split_parts(override)}
            elif override.is_sweep_override() or override.key_or_group == "cells":
                swept.add(override.key_or_group)

    def hold(text: str) -> str:
        override = parsed.get(text)
        if override is None or override.is_sweep_override() or override.is_delete() or override.is_add():
            return text
        key, _, value = text.partition("=")
        head, *below = (override.package or override.key_or_group).split(".")
        return f"{key}=choice({value})" if value and below and (head in swept or "cells" in swept) else text

    return [hold(text) for text in arguments]


def split_parts(override: Override) -> list[str]:
    """The parts of ``pairs=`` or ``only=``, each an override."""
    value = override.value()
    parts = [part.strip() for part in PART.split(str(value))]
    if len(parts) < 2 or not all("=" in part for part in parts):
        example = {
            "pairs": "pairs=checkpoint=step342k,step738k:optimizer.lr=2e-6,2e-7",
            "only": "only=format=io:task=mnli,rte",
        }[override.key_or_group]
        message = f"needs two or more parts joined by ':', such as {example}"
        raise ConfigError([Problem(key=override.key_or_group, value=value, message=message)])
    return parts


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``only=``: points with the first part's value are kept only with one of the values of every other part."""

    text: str
    when: tuple[str, tuple[Any, ...]]
    required: Mapping[str, tuple[Any, ...]]

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Whether a point with these values of its keys is kept."""
        key, chosen = self.when
        return values[key] not in chosen or all(values[name] in wanted for name, wanted in self.required.items())

    def check(self, axes: Mapping[str, Collection[Any]]) -> None:
        """Refuse keys and values that no point has: such a condition would silently do nothing."""
        for key, wanted in ((self.when[0], self.when[1]), *self.required.items()):
            if key not in axes:
                raise UsageError(f"{self.text}: '{key}' is not given in this sweep; {suggest(key, axes)}")
            for value in wanted:
                if value not in axes[key]:
                    listed = ", ".join(str(one) for one in axes[key])
                    raise UsageError(f"{self.text}: no point has {key}={value}; it takes: {listed}")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a file of cells: its place, for messages, and its values as overrides."""

    place: str
    overrides: tuple[str, ...]


def read_cells(path: str, schema: type, options: Callable[[str], Sequence[str]]) -> list[Row]:
    """Read ``cells=FILE.csv``: only words, numbers and lists of them, only for keys of the schema.

    The file may come from anybody: nothing in it is given to Hydra that could choose, compute or interpolate.
    ``options`` lists the choices of a group (none for a key that is no group). Raises :class:`UsageError` with every
    problem found, by row and column.
    """
    try:
        with open(Path(path).expanduser(), encoding="utf-8-sig", newline="") as file:
            lines = [(number, row) for number, row in _numbered(csv.reader(file, strict=True)) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cells={path}: cannot be read as a CSV file: {reason}") from None
    if len(lines) < 2:
        raise UsageError(f"cells={path}: has no cell: a first row with keys and one row for each cell are needed")
    keys = [name.strip() for name in lines[0][1]]
    if len(keys) == 1 and (separator := OTHER_SEPARATOR.search(keys[0])):
        raise UsageError(f"cells={path}: the columns are separated by {separator[0]!r}; commas are needed")
    problems = list(_find_bad_columns(keys, schema))
    checks = {key: _make_check(key, hint, options(key)) for key in keys if (hint := find_type(schema, key))}
    rows = []
    for number, values in lines[1:]:
        if len(values) != len(keys):
            problems.append(f"row {number}: has {_count(values, 'value')} for {_count(keys, 'column')}")
            continue
        texts = [value.strip() for value in values]
        bad = [(key, text, checks[key](text)) for key, text in zip(keys, texts, strict=True) if key in checks]
        problems += [f"row {number}, column {key}: '{text}' {reason}" for key, text, reason in bad if reason]
        overrides = tuple(f"{key}={text}" for key, text in zip(keys, texts, strict=True))
        rows.append(Row(place=f"cells={path}, row {number}", overrides=overrides))
    if problems:
        more = [f"and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        raise UsageError("\n  ".join([f"cells={path}:", *problems[:MOST_PROBLEMS], *more]))
    return rows


def _count(things: Sequence[str], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        yield reader.line_num, row


def _find_bad_columns(keys: Sequence[str], schema: type) -> Iterator[str]:
    known = list(field_names(schema))
    for number, key in enumerate(keys, start=1):
        if key in keys[: number - 1]:
            yield f"column {number}: '{key}' is there twice"
        elif key not in known:
            yield f"column {number}: '{key}': no such key; {suggest_key(key, known)}"
        elif key in DANGEROUS:
            yield f"column {number}: '{key}': cannot be set by a file; type it"
        elif key in NOT_IN_FILES or key.split(".")[0] in NOT_IN_FILES:
            yield f"column {number}: '{key}': holds for the whole command; type it"


def _make_check(key: str, hint: Any, choices: Sequence[str]) -> Callable[[str], str]:
    """A function that says what is wrong with a value of a column; empty when nothing is."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser, find_fault = OverridesParser.create(), make_check(key, hint)

    @functools.cache
    def check(text: str) -> str:
        if choices:
            return "" if text in choices else f"is not a choice; {suggest(text, choices)}"
        if not text:
            return "is empty; give null for none"
        if not (WORD.fullmatch(text) or LIST.fullmatch(text)):
            return "must be a word, a number, or a list of them"
        # Thousands of seeds need no parser.
        value = int(text) if INTEGER.fullmatch(text) else parser.parse_override(f"{key}={text}").value()
        return find_fault(text, value)

    return check
