"""report.py compare=[…]: two runs on the items that both answered."""

from __future__ import annotations

import pandas as pd
import pytest

from pretune.errors import UsageError
from pretune.report.comparing import compare_runs, print_comparison
from support.commands import Result, run
from support.studies import Place, lines_with


def compare(place: Place, *names: str) -> Result:
    return run("report.py", f"study_dir={place.study}", f"compare=[{','.join(names)}]", cwd=place.cwd)


def test_a_training_is_compared_with_its_base_and_with_another_training(grid: Place) -> None:
    slow, fast = (grid.runs(f"train-*step8*lr{lr}*")[0].name for lr in ("0.0001", "0.001"))
    result = compare(grid, fast, "base", slow)
    assert result.status == 0, result.text
    assert f"A: {fast}" in result.out
    assert "B: base" in result.out
    assert f"B: {slow}" in result.out
    assert len(lines_with(result.out, "pico/nli", "accuracy", "8")) == 2
    assert "adjusted for the 2 comparisons" in result.out
    assert not (grid.study / "report").exists()

    table = compare_runs(grid.study, fast, "base", slow)
    tuned, base = (
        pd.read_parquet(grid.runs(pattern)[0] / "items.parquet").query("scorer == 'sum'").set_index("item")["value"]
        for pattern in ("evaluate-*step8*lr0.001*", "evaluate-*step8-on*")
    )
    assert table.loc[0, "difference"] == pytest.approx((tuned - base).mean())
    assert table.loc[0, "only_first"] == ((tuned == 1) & (base == 0)).sum()
    assert table["n"].tolist() == [8, 8]


def test_single_evaluations_are_compared_by_unique_beginnings(grid: Place) -> None:
    result = compare(grid, "evaluate-pico-step8-on", "evaluate-pico-step4-on")
    assert result.status == 0, result.text
    assert "A: evaluate-pico-step8-on-pico.nli" in result.out
    swapped = compare_runs(grid.study, "evaluate-pico-step4-on", "evaluate-pico-step8-on")
    straight = compare_runs(grid.study, "evaluate-pico-step8-on", "evaluate-pico-step4-on")
    assert swapped["difference"].tolist() == pytest.approx((-straight["difference"]).tolist())
    assert swapped["p_value"].tolist() == straight["p_value"].tolist()


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train-pico"], ["give the runs to compare it with"]),
        (["train-pico", "base"], ["not unique; 6 runs begin so"]),
        (["evaluate-pico-step8-on", "evaluate-pico-step"], ["8 evaluations of 8 different weights"]),
        (["nonsense", "base"], ["compare=nonsense", "begins so", "runs there are:\n  train-pico-step4", "more"]),
        (["base", "base"], ["'base' stands for the checkpoint of the training named first", "\n  train-pico-step4"]),
        (["evaluate-pico-step8-on", "base"], ["is no trained run"]),
    ],
)
def test_names_that_are_not_clear_are_errors_that_say_why(grid: Place, names: list[str], parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        compare_runs(grid.study, *names)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_value_is_there_in_a_narrow_terminal(grid: Place, capsys: pytest.CaptureFixture[str], width: int) -> None:
    name = grid.runs("train-*step8*lr0.001*")[0].name
    (row,) = compare_runs(grid.study, name, "base").to_dict("records")
    print_comparison(grid.study, [name, "base"], width=width)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "│" in line) <= width
    cells = {cell.strip() for line in lines for cell in line.split("│")}
    assert {f"{row['first']:.3f}", f"{row['second']:.3f}", f"{row['difference']:+.3f}", str(row["n"])} <= cells
    assert f"{row['low']:+.3f} … {row['high']:+.3f}" in cells


def test_a_comma_without_brackets_is_explained(grid: Place) -> None:
    result = run("report.py", f"study_dir={grid.study}", "compare=a,b", cwd=grid.cwd)
    assert result.status == 2
    assert "compare=[a,b]" in result.err
