"""``select=in_domain`` by the real command: the choice, what is kept by it, and the report's view of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pretune.analysis.inputs import Inputs
from pretune.results import load
from support.studies import NLI, Place, lines_with, make_place

SELECTING = (
    *NLI, "checkpoint.step=4,8", "optimizer.lr=1e-6,5e-3", "eval.relations=[validation,in_domain]",
    "select=in_domain", "keep_model=selected",
)  # fmt: skip


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """Two rates at two checkpoints, with the choice made. To be read only."""
    there = make_place(tmp_path_factory.mktemp("selected"), cache)
    there.results.append(there.train("-m", *SELECTING))
    assert there.results[0].status == 0, there.results[0].text
    return there


def entries(place: Place) -> dict[str, dict]:
    return {entry["checkpoint"]: entry for entry in json.loads((place.study / "selected.json").read_text())}


def test_the_choice_is_by_validation_rows_only(selected: Place) -> None:
    table = load(selected.study)
    held_out = table[
        (table.state == "tuned") & (table.relation == "validation")
        & (table.metric == "accuracy") & (table.scorer == "sum")
    ]  # fmt: skip
    found = entries(selected)
    assert len(found) == 2
    for step, entry in ((4, found["step4"]), (8, found["step8"])):
        values = held_out[held_out.step == step].set_index("lr")["value"]
        assert entry["evidence"] == "accuracy on validation rows"
        assert entry["values"] == {f"{lr:g}": value for lr, value in sorted(values.items())}
        best = min(lr for lr, value in values.items() if value == values.max())
        assert entry["lr"] == best


def test_the_table_shows_both_views(selected: Place) -> None:
    for entry in entries(selected).values():
        (line,) = lines_with(selected.results[0].out, entry["checkpoint"], "accuracy on")
        for lr, value in entry["values"].items():
            assert lr in line
            assert f"{value:.3f}" in selected.results[0].out


def test_exactly_the_weights_of_the_chosen_runs_are_kept(selected: Place) -> None:
    kept = [folder.name for folder in selected.runs("train-*") if (folder / "model").is_dir()]
    assert sorted(kept) == sorted(run for entry in entries(selected).values() for run in entry["runs"])
    assert len(kept) == 2
    assert len(selected.runs("train-*")) == 4


def test_the_report_tunes_by_the_same_choice(selected: Place) -> None:
    rates = Inputs(table=load(selected.study), primary={"pico/nli": ("accuracy", "sum")}).rates
    chosen = rates[rates["chosen"]].set_index("checkpoint")
    assert len(chosen) == 2
    for checkpoint, entry in entries(selected).items():
        assert chosen["lr"][checkpoint] == entry["lr"]
        assert chosen["validation"][checkpoint] == entry["values"][f"{entry['lr']:g}"]
