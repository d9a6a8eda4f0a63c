"""What a person sees of a grid: progress while it runs, then one row per job, the totals, and every failure."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pretune.execution.outcomes import BLOCKED, BUSY, DONE, FAILED, FINISHED, MISSING, CellOutcome, JobOutcome
from pretune.terminal import LEAST, TextTable, say_count, shorten

log = logging.getLogger(__name__)

MADE = {"train": "trained", "probe": "probed"}
"""What is said of a finished cell where there is no bar; evaluations are too many to be named."""

NARROWEST = 160
"""Columns assumed where the output is not a terminal (a file, a CI log)."""
COUNTS = 32
"""Columns that the counts and times beside a bar take."""


def make_console(*, stderr: bool = False) -> Console:
    """Console on standard output (tables) or standard error (progress, messages)."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=NARROWEST)
    return console


class ProgressDisplay:
    """A bar for the grid and one for what is going on; plain lines where the output is not a terminal.

    Implements :class:`~pretune.execution.outcomes.Listener`. ``missing`` is the number of cells still to be made.
    """

    def __init__(self, console: Console, *, missing: int) -> None:
        self._console = console
        self._missing = missing
        self._made: set[str] = set()
        bar = 30 if console.width >= 100 else 15
        self._room = max(console.width - bar - COUNTS, LEAST)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=bar),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._cells: TaskID = self._progress.add_task("cells", total=missing)
        self._activity: TaskID = self._progress.add_task("", total=None, visible=False)
        self._what = ""
        self._last_line = time.monotonic()
        self._first: tuple[float, int] | None = None
        """When the activity first said how far it is, and how far it was."""

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start_activity(self, what: str) -> None:
        """Show what is going on."""
        if what == self._what:
            return
        self._what = what
        self._first = None
        self._progress.reset(self._activity, description=shorten(what, self._room), total=None, visible=True)

    def step(self, done: int, total: int) -> None:
        """Show how far it is."""
        self._progress.update(self._activity, completed=done, total=total)
        now = time.monotonic()
        if self._first is None:
            self._first = now, done  # the first step may take a hundred times as long as the others: it starts things
        if not self._console.is_terminal and now - self._last_line > 15:
            started, at = self._first
            left = f", about {(now - started) / (done - at) * (total - done):.0f} s left" if done > at else ""
            self._say(f"  {self._what}: {done} of {total}{left}")
            self._last_line = now

    def finish_cell(self, outcome: CellOutcome) -> None:
        """Count a finished cell; say so at once when it failed."""
        if outcome.status in (DONE, FAILED) and outcome.key not in self._made:
            self._made.add(outcome.key)
            self._progress.update(self._cells, completed=len(self._made))
            if outcome.status == FAILED:
                self._say(f"failed: {outcome.name}: {first_line(outcome.error)}", style="red")
            elif outcome.kind in MADE and not self._console.is_terminal:
                done = f"{MADE[outcome.kind]} {outcome.name} in {outcome.seconds:.1f} s"
                self._say(f"[{len(self._made)}/{self._missing}] {done}")
                self._last_line = time.monotonic()

    def _say(self, line: str, style: str = "") -> None:
        """Print a line; in a file or a log it stays one line, however long."""
        self._console.print(Text(line, style=style), soft_wrap=not self._console.is_terminal)


def status_of(outcome: JobOutcome, *, trains: bool) -> str:
    """One word for what became of a job."""
    if outcome.count(FAILED) or outcome.count(BLOCKED):
        return "failed"
    if outcome.count(MISSING):
        return "unfinished"
    if outcome.count(BUSY):
        return "elsewhere"
    if trains and outcome.count(DONE, "train"):
        return "trained"
    if outcome.count(DONE):
        return "probed" if outcome.count(DONE, "probe") else "evaluated"
    return "finished before"


def summary_table(outcomes: Sequence[JobOutcome], headlines: Sequence[dict[str, Any]], *, trains: bool) -> TextTable:
    """One row per job: its labels (those that differ, and checkpoint and task), what became of it, its headline."""
    labels = list(dict.fromkeys(name for outcome in outcomes for name in outcome.label))
    shown = [
        name
        for name in labels
        if name in ("checkpoint", "task", "probe") or len({str(outcome.label.get(name)) for outcome in outcomes}) > 1
    ]
    values = ["base", "tuned", "gain"] if trains else ["value", "95 % interval"]
    rows, styles = [], []
    for outcome, headline in zip(outcomes, headlines, strict=True):
        status = status_of(outcome, trains=trains)
        seconds = sum(cell.seconds for cell in outcome.cells if cell.status in (DONE, FAILED))
        labelled = [format_label(outcome.label.get(name)) for name in shown]
        measured = [str(headline.get(name, "")) for name in ("metric", *values)]
        rows.append([*labelled, *measured, status, f"{seconds:.1f}" if seconds else ""])
        styles.append({"failed": "red", "finished before": "dim"}.get(status, ""))
    return TextTable(
        head=[*shown, "metric", *values, "status", "seconds"],
        rows=rows,
        right=[*values, "seconds"],
        names=shown,
        styles=styles,
    )


def format_label(value: Any) -> str:
    """A label as a short text."""
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def describe_totals(totals: dict[str, int]) -> str:
    """One sentence with the number of cells by what became of them."""
    missing = sum(count for name, count in totals.items() if name.endswith(f" {MISSING}"))
    if missing:
        made = {name: count for name, count in totals.items() if not name.endswith(f" {MISSING}")}
        return f"{describe_totals(made)[:-1]}; {missing} {'is' if missing == 1 else 'are'} still missing."
    probes = {status: totals.get(f"probe {status}", 0) for status in (DONE, FINISHED, FAILED)}
    if any(probes.values()):
        if not probes[DONE] and not probes[FAILED]:
            many = f"all {probes[FINISHED]} probe cells were" if probes[FINISHED] > 1 else "the probe cell was"
            return f"Nothing to do: {many} finished before."
        were = f"{probes[FINISHED]} {'was' if probes[FINISHED] == 1 else 'were'} finished before"
        text = f"{say_count(probes[DONE], 'probe cell')} done; {were}"
        return f"{text}; {probes[FAILED]} failed." if probes[FAILED] else f"{text}."
    made = {kind: totals.get(f"{kind} {DONE}", 0) for kind in ("train", "evaluate")}
    before = {kind: totals.get(f"{kind} {FINISHED}", 0) for kind in ("train", "evaluate")}
    failed = totals.get(f"train {FAILED}", 0) + totals.get(f"evaluate {FAILED}", 0)
    blocked = totals.get(f"evaluate {BLOCKED}", 0)
    if not any(made.values()) and not failed and not blocked:
        return (
            f"Nothing to do: all {before['train']} train and {before['evaluate']} evaluate cells were finished before; "
            "no training was done."
        )
    text = (
        f"{made['train']} train and {made['evaluate']} evaluate cells done; "
        f"{before['train']} and {before['evaluate']} were finished before"
    )
    if failed or blocked:
        text += f"; {failed} failed" + (f", {blocked} could not be made after a failed training" if blocked else "")
    return text + "."


def first_line(text: str) -> str:
    """The first line of a message."""
    return text.splitlines()[0] if text else ""


def failure_lines(outcomes: Sequence[JobOutcome], runs_dir: Any) -> list[str]:
    """Every failed cell once: what, why, where the record is, how to try again. Advice that repeats is given once."""
    lines: list[str] = []
    seen: set[str] = set()
    for outcome in outcomes:
        for cell in outcome.cells:
            if cell.status == FAILED and cell.key not in seen:
                seen.add(cell.key)
                advice = cell.error.splitlines()[1:]
                lines += [
                    f"{cell.name}: {first_line(cell.error)}",
                    *(line for line in advice if line not in lines),
                    f"    record:  {runs_dir / str(cell.run_id) / 'failure.json'}",
                    f"    retry:   {outcome.command}",
                ]
    return lines


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Lines of a table in plain text, for thousands of rows and for ``grep``; the columns ``right`` end in line."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def megabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 10**9 else f"{size / 1e6:,.1f} MB"
