"""report.py alpaca_eval=[RUN]: generated answers in the form that AlpacaEval's tool reads."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pretune.config.science import Format, Task
from pretune.data.examples import Example, Turn
from pretune.data.rendering import render, render_conversation
from support.commands import run
from support.configs import read_option
from support.studies import SMALL, Place, make_place

ROWS = [
    {"instruction": " Name a bird .\n", "output": "a robin", "generator": "g", "dataset": "helpful_base"},
    {"instruction": "Say it twice : é ☃", "output": "it it\n\nit", "generator": "g", "dataset": "koala"},
    {"instruction": "no reference", "output": "", "generator": "g", "dataset": "koala"},
    {"instruction": "a small bird sat in the garden", "output": "yes", "generator": "g"},
]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Place, Path]:
    place, rows = make_place(tmp_path_factory.mktemp("answers"), cache), tmp_path_factory.mktemp("rows")
    (rows / "alpaca_eval.json").write_text(json.dumps(ROWS))
    result = place.evaluate(
        *SMALL, "checkpoint.step=8", "eval.limit=null", "task=alpaca_eval", f"task.path={rows}", "task.max_new_tokens=4"
    )
    assert result.done == (0, 1), result.text
    return place, rows


def export(place: Place, name: str = "evaluate-") -> tuple[int, str]:
    result = run("report.py", f"study_dir={place.study}", f"alpaca_eval=[{name}]", cwd=place.cwd)
    return result.status, result.text


def test_answers_are_written_with_the_instructions_to_the_letter(answered: tuple[Place, Path]) -> None:
    place, _ = answered
    status, text = export(place)
    assert status == 0, text
    (folder,) = place.runs()
    path = place.study / "report" / "alpaca_eval" / f"{folder.name}.json"
    assert f"Answers: {path}" in text
    written = json.loads(path.read_text())
    kept = [row for row in ROWS if row["output"]]
    assert [entry["instruction"] for entry in written] == [row["instruction"] for row in kept]
    assert [entry["dataset"] for entry in written] == ["helpful_base", "koala", "alpaca_eval"]
    assert {entry["generator"] for entry in written} == {folder.name}
    items = pd.read_parquet(folder / "items.parquet").query("scorer == 'generate'")
    assert [entry["output"] for entry in written] == list(items["prediction"])
    assert all(sorted(entry) == ["dataset", "generator", "instruction", "output"] for entry in written)


def test_rows_that_have_changed_are_refused(answered: tuple[Place, Path]) -> None:
    place, rows = answered
    (rows / "alpaca_eval.json").write_text(json.dumps(ROWS[1:]))
    try:
        status, text = export(place)
    finally:
        (rows / "alpaca_eval.json").write_text(json.dumps(ROWS))
    assert status == 1
    assert "row 0 is no longer the one that was evaluated" in text


def test_other_runs_are_refused(grid: Place) -> None:
    status, text = export(grid, grid.runs("evaluate-*")[0].name)
    assert status == 2
    assert "generated no answers" in text
    status, text = export(grid, grid.runs("train-*")[0].name)
    assert status == 2
    assert "of kind 'train'" in text


@pytest.mark.parametrize("name", ["default", "io", "instruct"])
def test_an_instruction_is_worded_as_one_turn_of_a_conversation(name: str) -> None:
    format_ = read_option("format", name, Format)
    question, answer = "What sang?", "A robin."
    single = Example(id="0", fields={"instruction": question}, target=answer)
    turns = (Turn(role="user", text=question), Turn(role="assistant", text=answer))
    prompt = render(single, format_, Task(name="i", family="instruction", answer="generation"))
    (exchange,) = render_conversation(
        Example(id="0", target=answer, turns=turns), format_, Task(name="c", family="chat")
    )
    assert (prompt.text, prompt.completions) == (exchange.text, (exchange.reply,))
