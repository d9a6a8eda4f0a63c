"""Write the reference page: every key of every script, read from the typed schema, and what the files hold.

python -m pretune.reference > docs/reference.md

Nothing on that page is written by hand, so that it cannot contradict the program; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pretune.config.options import METADATA_KEY, Rule
from pretune.config.running import ReportConfig
from pretune.config.schema import SCRIPTS, UNION_TYPES
from pretune.results.schema import COLUMN_MEANINGS, KINDS, METRIC_COLUMNS, RELATIONS, STATES

INTRODUCTION = """\
# Reference

Written by `python -m pretune.reference`; the keys with their types, defaults, bounds and texts are those of the schema.

* **Keys marked ∎ are part of a cell's identity**: another value is another cell. The others change where, how fast or
  how talkatively a cell is computed, never its result.
* *value of the group* means that the chosen file of the group (`task=mnli`) gives the value.
* The exit status of every script: 0 done; 1 a cell or an analysis failed; 2 the command could not be carried out as
  given, and nothing was started; 75 stopped by SIGTERM, run it again; 130 stopped by Ctrl-C.
"""


def render_reference(conf: Path) -> str:
    """Return the page as Markdown; ``conf`` is the folder of the config groups."""
    parts = [INTRODUCTION, _render_groups(conf)]
    for script, cls in SCRIPTS.items():
        parts.append(f"## {script}.py\n\n{_summary(cls)}\n\n{_render_table(cls, '', marked=cls is not ReportConfig)}")
    computing = {cls for _, cls in _sections(script for script in SCRIPTS.values() if script is not ReportConfig)}
    for key, cls in _sections(SCRIPTS.values()):
        parts.append(f"## `{key}`\n\n{_summary(cls)}\n\n{_render_table(cls, f'{key}.', marked=cls in computing)}")
    parts.append(_render_columns())
    return "\n".join(parts)


def _summary(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")


def _sections(scripts: Iterable[type]) -> Iterator[tuple[str, type]]:
    """Yield ``(dotted key, class)`` of every nested class once, in the order in which the scripts name them."""
    seen: set[type] = set()

    def descend(cls: type, prefix: str) -> Iterator[tuple[str, type]]:
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            inner = find_class(hints[field.name])
            if inner is None or inner in seen:
                continue
            seen.add(inner)
            key = f"{prefix}{field.name}" + (".NAME" if typing.get_origin(hints[field.name]) is dict else "")
            yield key, inner
            yield from descend(inner, f"{key}.")

    for cls in scripts:
        yield from descend(cls, "")


def find_class(hint: Any) -> type | None:
    """Return the dataclass inside a type hint: itself, the value of a mapping, or the part of a union."""
    if dataclasses.is_dataclass(hint):
        return typing.cast(type, hint)
    for part in typing.get_args(hint):
        if (found := find_class(part)) is not None:
            return found
    return None


def _render_table(cls: type, prefix: str, *, marked: bool) -> str:
    hints = typing.get_type_hints(cls)
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        rule: Rule = field.metadata[METADATA_KEY]
        inner = find_class(hints[field.name])
        mark = " ∎" if marked and rule.scientific and inner is None else ""
        meaning = rule.help + _bounds(rule)
        lines.append(
            f"| `{prefix}{field.name}`{mark} | {_name_type(hints[field.name])} | {_show_default(field, inner)} "
            f"| {meaning.replace('|', '&#124;')} |"
        )
    return "\n".join(lines) + "\n"


def _bounds(rule: Rule) -> str:
    said = []
    if rule.choices:
        said.append("one of " + ", ".join(f"`{choice}`" for choice in rule.choices))
    if rule.minimum is not None:
        said.append(f"≥ {rule.minimum:g}")
    if rule.above is not None:
        said.append(f"> {rule.above:g}")
    if rule.maximum is not None:
        said.append(f"≤ {rule.maximum:g}")
    if rule.nonempty:
        said.append("not empty")
    return f" ({'; '.join(said)})" if said else ""


def _name_type(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "section"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"list of {_name_type(arguments[0])}"
    if origin is dict:
        return f"map of {_name_type(arguments[1])}"
    if origin in UNION_TYPES:
        return " or ".join(_name_type(part) for part in arguments)
    return {str: "text", int: "integer", float: "number", bool: "true/false", types.NoneType: "null"}.get(hint, "any")


def _show_default(field: dataclasses.Field[Any], inner: type | None) -> str:
    if field.default_factory is not dataclasses.MISSING and inner is not None:
        return "below" if dataclasses.is_dataclass(field.default_factory()) else "`{}`"
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if default is dataclasses.MISSING:
        return "required"
    if default is None:
        return "`null`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`[{','.join(str(item) for item in default)}]`"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`" if default != "" else "value of the group"


def _render_groups(conf: Path) -> str:
    lines = ["## Groups", "", "`GROUP=NAME` on the command line chooses one file of `conf/GROUP/`.", ""]
    lines += ["| group | names |", "|---|---|"]
    for folder in sorted(path for path in conf.iterdir() if path.is_dir() and path.name != "hydra"):
        names = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
        shown = [f"`{name}`" for name in names if name.rpartition("/")[2] != "base"]
        lines.append(f"| `{folder.name}` | {', '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _render_columns() -> str:
    kinds = {"string": "text", "Int64": "integer", "Float64": "number", "boolean": "true/false"}
    lines = [
        "## The results table",
        "",
        "`pretune.results.load(study_dir)` returns one row per measurement with these columns; null where one does not",
        f"apply. `kind` is {_alternatives(KINDS)}; `state` is {_alternatives(STATES)}; `relation` is",
        f"{_alternatives(RELATIONS)}.",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        *(f"| `{name}` | {kinds[kind]} | {COLUMN_MEANINGS[name]} |" for name, kind in METRIC_COLUMNS.items()),
    ]
    return "\n".join(lines) + "\n"


def _alternatives(values: tuple[str, ...]) -> str:
    return ", ".join(f"`{value}`" for value in values[:-1]) + f" or `{values[-1]}`"


if __name__ == "__main__":
    sys.stdout.write(render_reference(Path(__file__).parents[2] / "conf"))
