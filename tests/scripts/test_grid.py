"""The grid as a whole: how many cells, in which order, what is done again and what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from support.commands import Running, run, start
from support.studies import CELL, GRID, SMALL, Place, make_place, values


def evaluated(study: Path) -> pd.DataFrame:
    table = values(study)
    return table[table["kind"] == "evaluate"].reset_index(drop=True)


def test_a_grid_of_two_checkpoints_and_three_rates_is_six_trainings(grid: Place) -> None:
    result = grid.results[0]
    assert result.done == (6, 8)
    assert result.before == (0, 0)
    assert len(grid.runs("train-*")) == 6
    assert len(grid.runs("evaluate-*")) == 8  # each base model once
    rows = [line for line in result.out.splitlines() if "pico/nli" in line]
    assert len(rows) == 6
    assert all("trained" in row for row in rows)
    assert str(grid.study) in result.out


def test_nothing_is_written_to_the_working_folder(grid: Place) -> None:
    assert list(grid.cwd.iterdir()) == []


def test_a_finished_study_leaves_neither_claims_nor_unfinished_work(grid: Place) -> None:
    assert [path for path in (grid.study / "claims").rglob("*") if path.is_file()] == []
    assert [path for path in (grid.study / "work").rglob("*") if path.is_file()] == []
    assert list((grid.study / "runs").glob(".*")) == []


def test_every_train_run_holds_what_the_record_promises(grid: Place) -> None:
    for folder in grid.runs("train-*"):
        names = {path.name for path in folder.iterdir()}
        assert {"config.yaml", "run.json", "metrics.parquet", "model"} <= names
        assert (folder / "model" / "model.safetensors").is_file()  # a small model is kept
        record = json.loads((folder / "run.json").read_text())
        assert record["run_id"] == folder.name
        assert folder.name.endswith(record["id"][:12])
        assert record["provenance"]["resumed_at"] == 0
        assert record["provenance"]["machine"]["threads"] == 1


def test_the_same_command_again_does_no_work_and_says_so(copied: Place) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.study.rglob("*")}
    result = copied.train("-m", *GRID)
    assert result.status == 0
    assert "Nothing to do: all 6 train and 8 evaluate cells were finished before" in result.out
    assert "no training was done" in result.out
    assert {path: path.stat().st_mtime_ns for path in copied.study.rglob("*")} == before


def test_cells_are_named_by_what_they_are_not_by_how_they_were_typed(copied: Place) -> None:
    typed = [word for word in GRID if not word.startswith(("checkpoint.step", "optimizer"))]
    result = copied.train("-m", "optimizer.lr=0.001,0.00050,.0001", *typed, "checkpoint.step=8,4")
    assert result.done == (0, 0)


def test_deleting_one_train_folder_makes_exactly_one_training(copied: Place, grid: Place) -> None:
    deleted = copied.runs("train-*step8*lr0.0005*")
    assert len(deleted) == 1
    shutil.rmtree(deleted[0])
    result = copied.train("-m", *GRID)
    assert result.status == 0
    assert result.done == (1, 0)
    assert result.before == (5, 8)
    assert copied.runs() == [copied.study / path.relative_to(grid.study) for path in grid.runs()]
    pd.testing.assert_frame_equal(values(copied.study), values(grid.study), check_exact=True)


def test_deleting_one_evaluation_makes_exactly_that_one_from_the_kept_weights(copied: Place, grid: Place) -> None:
    (deleted,) = copied.runs("evaluate-*lr0.001*step8*") or copied.runs("evaluate-*step8*lr0.001*")
    shutil.rmtree(deleted)
    result = copied.train("-m", *GRID)
    assert result.done == (0, 1)
    assert deleted in copied.runs()
    pd.testing.assert_frame_equal(values(copied.study), values(grid.study), check_exact=True)


def test_adding_shots_trains_nothing_and_only_adds_evaluations(copied: Place) -> None:
    before = copied.runs()
    result = copied.train("-m", *GRID, "eval.shots=[0,2]")
    assert result.status == 0
    assert result.done == (0, 8)
    assert result.before == (6, 8)
    added = set(copied.runs()) - set(before)
    assert len(added) == 8
    assert all("2shot" in path.name for path in added)


def test_adding_a_format_trains_nothing(copied: Place) -> None:
    trainings = copied.runs("train-*")
    result = copied.train("-m", *GRID, "eval.formats=[default,io]")
    assert result.done == (0, 8)
    assert copied.runs("train-*") == trainings
    assert len(copied.runs("evaluate-*-on-pico.nli-io-*")) == 8


def test_machine_settings_and_loggers_are_no_part_of_a_cell(copied: Place) -> None:
    result = copied.train(
        "-m", *GRID, "trainer.micro_batch=2", "trainer.save_seconds=5", "logger=csv", "keep_model=none",
        "eval.keep_prompts=true", "optimizer.fused=false",
    )  # fmt: skip
    assert result.done == (0, 0)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(place: Place, tmp_path: Path, grid: Place) -> None:
    chosen = ("optimizer.lr=1e-3", "checkpoint.step=8")
    assert place.train(*CELL, *chosen).done == (1, 2)
    again, known = values(place.study), values(grid.study)
    known = known[(known["step"] == 8) & ((known["lr"] == 1e-3) | known["lr"].isna())].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, known, check_exact=True)

    other = make_place(tmp_path / "other", place.cache)
    assert other.train(*CELL, *chosen, "seed=1").done == (1, 2)
    different = values(other.study)
    assert list(different["metric"]) == list(again["metric"])
    trained = again["state"] == "tuned"
    assert (different["value"][trained] != again["value"][trained]).any()
    assert set(different["seed"].dropna()) == {1}
    base = ~trained
    pd.testing.assert_frame_equal(different[base], again[base], check_exact=True)  # the seed is the training's


@pytest.fixture(scope="module")
def backwards(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """A grid typed with the checkpoint last, and its steps not in order."""
    there = make_place(tmp_path_factory.mktemp("backwards"), cache)
    there.results.append(there.train("-m", *CELL, "optimizer.lr=1e-3,1e-4", "checkpoint.step=8,0"))
    return there


def test_work_is_checkpoint_major_however_it_was_typed(backwards: Place) -> None:
    (result,) = backwards.results
    assert result.done == (4, 6)
    trained = [line.split("trained ")[1].split(" in ")[0] for line in result.err.splitlines() if "] trained " in line]
    assert [name.split("-")[1] for name in trained] == ["step8", "step8", "step0", "step0"]
    assert ["lr0.001" in name for name in trained] == [True, False, True, False]
    finished = sorted(backwards.runs(), key=lambda path: (path / "run.json").stat().st_mtime_ns)
    steps = ["step8" in path.name for path in finished]
    assert steps == sorted(steps, reverse=True)


def test_all_steps_and_every_other_step_of_a_family(copied: Place) -> None:
    chosen = (*CELL, "optimizer.lr=1e-4", "mode=plan")
    everything = copied.train("-m", *chosen, "checkpoint.step=all")
    assert "9 cells, 6 finished, 3 missing" in everything.out  # steps 0, 4, 8: two of them are finished
    every = copied.train("-m", *chosen, "checkpoint.step=every:2")
    assert "6 cells, 3 finished, 3 missing" in every.out
    assert "step4" not in every.out
    both = copied.train("-m", *chosen, "checkpoint.step=every:2,4")
    assert "9 cells, 6 finished, 3 missing" in both.out
    done = copied.train(*chosen, "mode=run", "checkpoint.step=all")
    assert done.done == (1, 2)
    assert done.before == (2, 4)


def test_a_plan_lists_the_cells_and_runs_nothing(place: Place) -> None:
    result = place.train("-m", *GRID, "mode=plan")
    assert result.status == 0
    assert len([line for line in result.out.splitlines() if line.rstrip().endswith("missing")]) == 14
    assert "14 cells, 0 finished, 14 missing" in result.out
    assert not place.study.exists()


def test_another_launcher_gets_chunks_and_gives_the_same_table(place: Place, grid: Place) -> None:
    chosen = (*CELL, "checkpoint.step=8", "optimizer.lr=1e-4,1e-3")
    result = place.train("-m", *chosen, "hydra.sweeper.chunk_size=1")
    assert result.status == 0, result.text
    assert result.done == (2, 3)
    assert len(list((place.study / "sweeps").glob("*.json"))) == 2
    table, known = values(place.study), values(grid.study)
    known = known[(known["step"] == 8) & ~(known["lr"] == 5e-4).fillna(False)].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, known, check_exact=True)
    assert list(place.cwd.iterdir()) == []
    assert "Nothing to do" in place.train("-m", *chosen).out


def both_at_once(place: Place, *overrides: str) -> Iterator[Running]:
    for _ in range(2):
        yield start("train.py", "-m", *place.arguments(*overrides), cwd=place.cwd)


def test_two_processes_share_a_grid_and_make_every_cell_once(place: Place, grid: Place) -> None:
    results = [running.wait() for running in list(both_at_once(place, *GRID))]
    assert [result.status for result in results] == [0, 0], results[0].text + results[1].text
    assert [sum(counts) for counts in zip(*(result.done for result in results), strict=True)] == [6, 8]
    for result in results:
        assert sum(result.done) + sum(result.before) == 14
    attempts = [json.loads(path.read_text())["attempt"] for path in (place.study / "attempts").glob("*.json")]
    assert attempts == [1] * 6
    pd.testing.assert_frame_equal(values(place.study), values(grid.study), check_exact=True)


def test_weights_in_a_folder_are_known_by_content(place: Place, grid: Place, tmp_path: Path) -> None:
    (built,) = (grid.cache / "ladders").glob("*/step8")
    folders = [tmp_path / "here" / "model", tmp_path / "there" / "elsewhere"]
    for folder in folders:
        shutil.copytree(built, folder)
    chosen = [word for word in CELL if not word.startswith("checkpoint")]
    first = place.train("checkpoint=path", f"checkpoint.path={folders[0]}", *chosen, "optimizer.lr=1e-3")
    assert first.done == (1, 2), first.text
    second = place.train("checkpoint=path", f"checkpoint.path={folders[1]}", *chosen, "optimizer.lr=1e-3")
    assert second.done == (0, 0), second.text
    known = evaluated(grid.study)
    known = known[(known["step"] == 8) & ((known["lr"] == 1e-3) | known["lr"].isna())]
    assert list(evaluated(place.study)["value"]) == list(known["value"])

    (folders[1] / "model.safetensors").write_bytes((built.parent / "step4" / "model.safetensors").read_bytes())
    changed = place.train("checkpoint=path", f"checkpoint.path={folders[1]}", *chosen, "optimizer.lr=1e-3", "mode=plan")
    assert "3 cells, 0 finished, 3 missing" in changed.out


def test_the_ladder_is_built_by_its_own_command_and_only_once(tmp_path: Path) -> None:
    ladder = [word for word in SMALL if word.startswith("checkpoint")]
    place = make_place(tmp_path, tmp_path / "cache")
    first = place.train("stage=pretrain", *ladder, "logger=none")
    assert first.status == 0, first.text
    assert "built in" in first.out
    assert [line.split()[0] for line in first.out.splitlines() if line[:1].isdigit()][:3] == ["0", "4", "8"]
    (folder,) = (place.cache / "ladders").glob("*-*")
    assert str(folder) in first.out
    assert {path.name for path in folder.glob("step*")} == {"step0", "step4", "step8"}
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    second = place.train("stage=pretrain", *ladder, "logger=none")
    assert "was built before" in second.out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert list(place.cwd.iterdir()) == []


def test_a_training_can_start_again_after_its_study_moved(grid: Place, tmp_path: Path) -> None:
    moved = make_place(tmp_path / "a" / "b", grid.cache, copy_of=grid.study)
    result = run("train.py", "-m", *moved.arguments(*GRID), cwd=moved.cwd)
    assert "Nothing to do" in result.out
