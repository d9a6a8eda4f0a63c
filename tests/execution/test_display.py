"""What a grid says while it runs and at its end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pretune.execution.display import ProgressDisplay, describe_totals
from pretune.execution.outcomes import FAILED, CellOutcome


@pytest.mark.parametrize(("terminal", "folded"), [(False, False), (True, True)])
def test_a_failure_is_one_line_in_a_log_however_long(terminal: bool, folded: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=terminal, color_system=None)
    error = f"the [data] of task=mnli {'cannot be read and ' * 12}that is the end of it"
    with ProgressDisplay(console, missing=1) as display:
        display.finish_cell(CellOutcome(key="k", kind="train", state="", name="cell", status=FAILED, error=error))
    assert (f"failed: cell: {error}\n" not in file.getvalue()) is folded
    assert "that is the end of it" in " ".join(file.getvalue().split())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_counts_beside_a_bar_are_there_in_full(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    with ProgressDisplay(console, missing=1234) as display:
        display.start_activity(f"training olmo1b-step738000-mnli-default-{'long-' * 20}lr2e-06-s0")
        display.step(1234, 56789)
    assert "0/1234" in file.getvalue()
    assert "lr2e-06-s0 " in file.getvalue()
    assert " 1234/56789 0:00:0" in file.getvalue()


def test_the_time_left_is_told_by_the_steps_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now, file = [0.0], io.StringIO()
    monkeypatch.setattr("pretune.execution.display.time.monotonic", lambda: now[0])
    with ProgressDisplay(Console(file=file, width=80), missing=1) as display:
        display.start_activity("training a cell")
        for seconds, done in ((60.0, 1), (80.0, 11)):  # a minute until the first step, then two seconds for each
            now[0] = seconds
            display.step(done, 111)
    assert [line.strip() for line in file.getvalue().splitlines()] == [
        "training a cell: 1 of 111",
        "training a cell: 11 of 111, about 200 s left",
    ]


@pytest.mark.parametrize(
    ("totals", "sentence"),
    [
        ({"probe done": 1}, "1 probe cell done; 0 were finished before."),
        ({"probe done": 2, "probe finished": 1}, "2 probe cells done; 1 was finished before."),
        ({"probe finished": 1}, "Nothing to do: the probe cell was finished before."),
        ({"probe finished": 3}, "Nothing to do: all 3 probe cells were finished before."),
        ({"probe done": 2, "probe missing": 1}, "2 probe cells done; 0 were finished before; 1 is still missing."),
    ],
)
def test_totals_of_probes_agree_in_number(totals: dict[str, int], sentence: str) -> None:
    assert describe_totals(totals) == sentence
