"""Data rows that cannot be used, given to the real command: a message that names them, or a count of those left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.studies import CELL, make_place

LOCAL = [word for word in CELL if not word.startswith("task=")]
PLACES = ("garden", "kitchen", "street", "forest")
ROWS = [
    {
        "id": str(number),
        "premise": f"a robin is in the {PLACES[number % 4]} .",
        "hypothesis": "a bird is there .",
        "label": str(number % 3),
    }
    for number in range(32)
]


def lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def fourth(**changes: Any) -> str:
    """All rows, the fourth of them changed."""
    return lines([*ROWS[:3], {**ROWS[3], **changes}, *ROWS[4:]])


REFUSED = {
    "label out of range": (fourth(label="7"), ["unknown label '7' in row 3", "valid: 0, 1, 2"]),
    "label that is a list": (fourth(label=[1]), ["unknown label [1] in row 3"]),
    "text that is a list": (fourth(premise=["a"]), ["column 'premise' holds list, not text"]),
    "text that is true": (fourth(premise=True), ["column 'premise' holds bool, not text"]),
    "half of a character": (fourth(premise="a \ud800 robin"), ["column 'premise'", "half of a character", "U+D800"]),
    "missing column": (
        lines([{key: value for key, value in row.items() if key != "premise"} for row in ROWS]),
        ["the rows have no column 'premise'"],
    ),
    "no rows": ("", ["split 'train' is empty"]),
    "no JSON": ("premise,hypothesis\n", ["train.jsonl line 1 is not JSON"]),
    "a line cut off": (lines(ROWS)[:-20], ["train.jsonl line 32 is not JSON"]),
    "a list for a row": ("[1, 2]\n", ["train.jsonl line 1 is not an object"]),
    "a number for a row": ("5\n", ["train.jsonl line 1 is not an object"]),
    "no labels at all": (lines([{**row, "label": None} for row in ROWS]), ["hidden labels", "use test"]),
    "hidden labels": (lines([{**row, "label": "-1"} for row in ROWS]), ["all 32 rows", "hidden labels", "use test"]),
}
USED = {
    "a row without a label": (fourth(label=None), ["1 of 32 rows without a gold answer dropped"]),
    "a row without a text": (fourth(premise=""), ["1 of 32 rows with an empty input or option dropped"]),
    "control characters": (fourth(premise="a \x00\u202e\x07 robin"), []),
    "a number for a text": (fourth(premise=17), []),
    "a huge body, which is cut": (fourth(premise="a robin " * 30_000), []),
    "a huge text that must not be cut": (
        fourth(hypothesis="a robin " * 3000),
        ["row 3", "does not fit into 256 tokens"],
    ),
}


def train_on(text: str, folder: Path, cache: Path) -> Any:
    rows = folder / "rows"
    rows.mkdir()
    (rows / "train.jsonl").write_text(text)
    (rows / "test.jsonl").write_text(lines(ROWS))
    words = (*LOCAL, "task=pico/nli", "task.source=path", f"task.path={rows}", "checkpoint.step=8")
    return make_place(folder, cache).train(*words, "optimizer.lr=1e-3")


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_cannot_be_used_are_named_and_nothing_is_trained(case: str, tmp_path: Path, cache: Path) -> None:
    text, named = REFUSED[case]
    result = train_on(text, tmp_path, cache)
    assert result.status == 1, result.text
    assert "Traceback" not in result.text
    listed = result.err.split("Failed:")[1]
    assert all(part in listed for part in named), listed
    assert listed.count("record:") == 1, "one failed cell, said once"
    assert not list((tmp_path / "study" / "runs").glob("train-*/run.json"))


@pytest.mark.parametrize("case", USED)
def test_rows_that_can_be_left_out_or_cut_are_and_it_is_said(case: str, tmp_path: Path, cache: Path) -> None:
    text, named = USED[case]
    result = train_on(text, tmp_path, cache)
    assert result.status == 0, result.text
    assert "Traceback" not in result.text
    assert all(part in result.err for part in named), result.err
    assert len(list((tmp_path / "study" / "runs").glob("train-*/run.json"))) == 1
