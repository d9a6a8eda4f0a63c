"""A matrix of differences: what training on each task does to every other one."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from pretune.report.svg import clip, element

CELL_WIDTH, CELL_HEIGHT, TOP, HEAD, BOTTOM = 58.0, 26.0, 44.0, 92.0, 26.0
LONGEST = 26


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """A number as text, its shade (``up1`` … ``down4`` or empty), what hovering shows, the cells behind it.

    ``outlined``: the training task itself or its twin. ``faint``: smaller than the noise floor.
    """

    text: str
    shade: str
    hover: str
    runs: tuple[str, ...] = ()
    outlined: bool = False
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Rows × columns of cells; ``None`` where there is none. ``note`` is the line below."""

    title: str
    subtitle: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[MatrixCell | None, ...], ...]
    note: str = ""

    @property
    def left(self) -> float:
        """Room for the names of the rows."""
        return 16 + 6.8 * max((min(len(name), LONGEST) for name in self.rows), default=0)

    @property
    def head(self) -> float:
        """Height of the slanted names of the columns."""
        return min(HEAD, 20 + 4.4 * max((min(len(name), LONGEST) for name in self.columns), default=0))

    @property
    def width(self) -> float:
        """Width of the drawing: the slanted names lean over the right edge."""
        return max(self.left + CELL_WIDTH * len(self.columns) + self.head * 0.75, 420.0)

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return TOP + self.head + CELL_HEIGHT * len(self.rows) + BOTTOM


def draw_matrix(matrix: Matrix) -> Markup:
    """Draw ``matrix``; each number is a group of class ``point`` within a ``series`` per row."""
    top = TOP + matrix.head
    parts = [
        element("title", f"{matrix.title}: {matrix.subtitle}"),
        element("text", clip(matrix.title, int(matrix.width / 8.6)), x=4, y=16, class_="heading"),
        element("text", clip(matrix.subtitle, int(matrix.width / 5.9)), x=4, y=32, class_="note"),
    ]
    for index, name in enumerate(matrix.columns):
        x = matrix.left + CELL_WIDTH * (index + 0.5)
        parts.append(element("text", element("title", name), clip(name, LONGEST), x=0, y=0, class_="tick",
                             transform=f"translate({x:.1f} {top - 8:.1f}) rotate(-38)"))  # fmt: skip
    for number, (name, cells) in enumerate(zip(matrix.rows, matrix.cells, strict=True)):
        y = top + CELL_HEIGHT * number
        head = element("text", element("title", name), clip(name, LONGEST), x=matrix.left - 8, y=y + 17, class_="end")
        drawn = [
            _draw_cell(cell, column, matrix.left + CELL_WIDTH * column, y)
            for column, cell in enumerate(cells)
        ]  # fmt: skip
        parts += [head, element("g", *drawn, class_="series", data_series=number)]
    parts.append(element("text", matrix.note, x=4, y=matrix.height - 7, class_="note"))
    return element("svg", *parts, viewBox=f"0 0 {matrix.width:g} {matrix.height:g}", role="img",
                   aria_label=f"{matrix.title}; values are in the tables", class_="panel matrix")  # fmt: skip


def _draw_cell(cell: MatrixCell | None, column: int, x: float, y: float) -> Markup:
    middle = x + CELL_WIDTH / 2
    if cell is None:
        return element("text", "–", x=middle, y=y + 17, class_="tick middle")
    box = element("rect", x=x + 1, y=y + 1, width=CELL_WIDTH - 2, height=CELL_HEIGHT - 2, rx=3,
                  class_=f"cell {cell.shade}{' own' if cell.outlined else ''}".replace("  ", " "))  # fmt: skip
    text = element(
        "text", cell.text, x=middle, y=y + 17, class_="middle number" + (" faint-number" if cell.faint else "")
    )
    return element("g", element("title", cell.hover), box, text, class_="point", data_point=column)
