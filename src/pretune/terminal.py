"""Tables and counts for a person at a terminal: every number is there in full, however narrow the window.

A table that is too wide says in a line above it what all its rows have in common, then shortens long names in the
middle, and at last goes on below itself. Where the output is no terminal, a table is as wide as it has to be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

LEAST = 20
"""Columns that a name keeps."""
GAP = 3
"""Columns between two cells: a line and a space on each side."""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Rows of texts under ``head``.

    ``right``: columns of numbers, which end in line; ``names``: columns that tell the rows apart, which are shortened
    and repeated where the table goes on; ``flowing``: columns that may take several lines; ``styles``: one per row.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[str] = ()
    names: Collection[str] = ()
    flowing: Collection[str] = ()
    styles: Sequence[str] = ()

    def cells(self, column: int) -> list[str]:
        """Texts of a column, without its heading."""
        return [row[column] for row in self.rows]


def print_table(console: Console, table: TextTable, *, width: int | None = None) -> None:
    """Print ``table`` as wide as the terminal, or ``width``; as wide as it is where there is no terminal."""
    for part in fit(table, width or (console.width if console.is_terminal else None)):
        console.print(part, markup=False, soft_wrap=True)


def fit(table: TextTable, width: int | None) -> list[str | Table]:
    """What is printed of ``table`` so that no line is longer than ``width`` (``None``: whatever it needs)."""
    widths = {
        column: max(cell_len(text) for text in (name, *table.cells(column))) for column, name in enumerate(table.head)
    }
    parts: list[str | Table] = []
    if width is None or _total(widths) <= width:
        return [_build(table, widths)]
    common = [column for column in widths if column and len(set(table.cells(column))) == 1]
    empty = [column for column in common if not table.rows[0][column]]
    said = [column for column in common if column not in empty and table.head[column] not in table.right]
    if said:
        parts.append(", ".join(f"{table.head[column]} = {table.rows[0][column]}" for column in said))
    widths = {column: size for column, size in widths.items() if column not in (*empty, *said)}
    gives_way = [column for column in widths if table.head[column] in (*table.names, *table.flowing)]
    for column in sorted(gives_way, key=lambda column: -widths[column]):
        excess = max(0, _total(widths) - width)
        least = max(LEAST, cell_len(table.head[column]))
        widths[column] = min(widths[column], max(least, widths[column] - excess))
    repeated = {column: size for column, size in widths.items() if not column or table.head[column] in table.names}
    block = dict(repeated)
    for column, size in widths.items():
        if column not in repeated and len(block) > len(repeated) and _total(block) + GAP + size > width:
            parts += [_build(table, block), ""]
            block = dict(repeated)
        block[column] = size
    return [*parts, _build(table, block)]


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _build(table: TextTable, widths: dict[int, int]) -> Table:
    """The columns ``widths`` of ``table``, each so wide, in their order."""
    built = Table(width=_total(widths), show_edge=False, pad_edge=False, header_style="bold")
    flowing = [table.head[column] in table.flowing for column in widths]
    for (column, size), flows in zip(widths.items(), flowing, strict=True):
        built.add_column(
            Text(table.head[column]),
            justify="right" if table.head[column] in table.right else "left",
            no_wrap=not flows,
            overflow="fold",
            min_width=size,
            max_width=size,
        )
    for number, row in enumerate(table.rows):
        texts = (
            row[column] if flows else shorten(row[column], size)
            for (column, size), flows in zip(widths.items(), flowing, strict=True)
        )
        built.add_row(*map(Text, texts), style=table.styles[number] if table.styles else "")
    return built


def shorten(name: str, width: int) -> str:
    """``name`` in at most ``width`` columns: its middle gives way to ``…``, so that beginning and end stay."""
    if cell_len(name) <= width:
        return name
    tail = width // 2
    end = name
    while cell_len(end) > tail:
        end = end[1:]
    return f"{set_cell_size(name, width - tail - 1)}…{end}"


def say_count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 checkpoint``, ``1,200 checkpoints``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
