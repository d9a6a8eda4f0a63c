"""Tables at the widths of real terminals: every number is there in full, and names keep what tells them apart."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pretune.execution.display import summary_table
from pretune.execution.outcomes import DONE, CellOutcome, JobOutcome
from pretune.terminal import TextTable, print_table, say_count, shorten

WIDTHS = (80, 100, 120)
RUNS = [f"train-olmo1b-step{step}-mnli-default-lr2e-06-s0-{step:012d}" for step in (1000, 342000, 738000)]


def render(table: TextTable, width: int, *, terminal: bool = True) -> list[str]:
    file = io.StringIO()
    print_table(Console(file=file, width=width, force_terminal=terminal, color_system=None, highlight=False), table)
    return file.getvalue().splitlines()


def evaluations(tasks: list[str]) -> TextTable:
    """The summary of ``evaluate.py -m run=all``."""
    outcomes, headlines = [], []
    for task in tasks:
        for number, run in enumerate(RUNS):
            cell = CellOutcome(key=run + task, kind="evaluate", state="tuned", name=run, status=DONE, seconds=12.5)
            label = {"checkpoint": run, "task": task, "shots": 4 * number}
            outcomes.append(JobOutcome(label=label, command=f"{task} {run}", cells=(cell,)))
            headlines.append(
                {"metric": "accuracy", "value": f"0.87{number}", "95 % interval": f"0.86{number} … 0.88{number}"}
            )
    return summary_table(outcomes, headlines, trains=False)


def comparison(rows: int) -> TextTable:
    """A table as that of ``report.py compare=[…]``."""
    names = ("task", "format", "shots")
    numbers = ("items", "A", "B", "A − B", "95 % interval", "only A : B", "p", "p (Holm)", "detectable")
    cells = ["9815", "0.871", "0.334", "+0.537", "+0.521 … +0.549", "5412 : 139", "2e-16", "4e-16*", "0.012"]
    tasks = ("mnli (held out)", "pico/nli_far", "rte")[:rows]
    return TextTable(
        head=(*names, "metric", *numbers),
        rows=[[task, "default", "4", "accuracy", *cells] for task in tasks],
        right=numbers,
        names=names,
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "table", [evaluations(["mnli"]), evaluations(["mnli", "pico/nli_far"]), comparison(1), comparison(3)]
)
def test_every_value_is_there_in_full_and_no_line_is_too_long(table: TextTable, width: int) -> None:
    lines = render(table, width)
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= width
    for column, name in enumerate(table.head):
        assert name in text
        for cell in table.cells(column):
            if name in table.right or len(cell) <= 20:
                assert re.search(rf"(?<!\S){re.escape(cell)}(?![^\s,])", text), (name, cell)
            else:
                assert shorten(cell, 20)[-10:] in text


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_keeps_its_values(width: int) -> None:
    lines = render(evaluations(["mnli"]), width)
    for number, run in enumerate(RUNS):
        (line,) = [line for line in lines if run[-10:] in line]
        assert f"0.87{number} │ 0.86{number} … 0.88{number}" in line


def test_what_all_rows_have_in_common_is_said_once_where_it_is_too_narrow() -> None:
    lines = render(evaluations(["mnli"]), 100)
    assert lines[0] == "task = mnli, metric = accuracy, status = evaluated"
    assert [cell.strip() for cell in lines[1].split("┃")] == [
        "checkpoint",
        "shots",
        "value",
        "95 % interval",
        "seconds",
    ]


def test_a_table_that_is_still_too_wide_goes_on_below_with_its_names() -> None:
    heads = [line for line in render(comparison(3), 80) if "┃" in line]
    assert len(heads) == 2
    assert all(line.startswith("task") for line in heads)


@pytest.mark.parametrize("width", [40, 160])
def test_where_no_terminal_is_there_a_row_is_one_line(width: int) -> None:
    lines = render(evaluations(["mnli"]), width, terminal=False)
    assert len(lines) == 2 + len(RUNS)
    for line, run in zip(lines[2:], RUNS, strict=True):
        assert line.startswith(run)
        assert "12.5" in line


def test_a_flowing_column_takes_several_lines() -> None:
    values = ", ".join(f"{rate}: 0.{rate}00" for rate in range(100, 112))
    table = TextTable(head=("task", "values"), rows=[["mnli", values], ["rte", "1: 0.5"]], flowing=("values",))
    lines = render(table, 80)
    assert max(map(len, lines)) <= 80
    assert [word for line in lines for word in re.findall(r"0\.\d+", line)] == re.findall(r"0\.\d+", values + " 0.5")


def test_square_brackets_in_names_are_no_markup() -> None:
    assert "a[red]b" in render(TextTable(head=("task",), rows=[["a[red]b"]]), 80)[-1]


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=60), st.integers(8, 60))
def test_a_shortened_name_keeps_both_ends(name: str, width: int) -> None:
    short = shorten(name, width)
    assert len(short) == min(len(name), width)
    if short != name:
        start, end = short.split("…")
        assert name.startswith(start)
        assert name.endswith(end)
        assert abs(len(start) - len(end)) <= 1


def test_a_number_and_its_noun() -> None:
    assert [say_count(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
