"""Every task over Parquet files of its data set's own schema: read, refused, counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretune.config.science import HELD_OUT, Task
from pretune.data.partition import LoadSplit
from pretune.data.sources import load_split
from pretune.errors import DataError
from support.configs import change, read_option
from support.rows import HIDDEN, NEEDED, ROWS, write_split


def local(name: str, folder: Path) -> Task:
    """The shipped task over files in ``folder``."""
    return change(change(read_option("task", name, Task), "source", "path"), "path", str(folder))


def names_of(task: Task) -> dict[str, list[str]] | None:
    return {str(task.label): list(task.label_names)} if task.label_names else None


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_are_read_and_those_that_cannot_be_used_are_counted(name, tmp_path):
    task = local(name, tmp_path)
    usable = len(load_split_of(task, ROWS[name], tmp_path).examples)
    hidden = {**ROWS[name][0], **HIDDEN[name]}
    split = load_split_of(task, [*ROWS[name], hidden, hidden], tmp_path)
    assert len(split.examples) == usable
    assert split.dropped == 2
    assert usable + split.empty == len(ROWS[name])


def load_split_of(task: Task, rows, folder: Path):
    write_split(folder / "test.parquet", rows, names_of(task))
    return load_split(task, "test")


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_split_without_gold_answers_is_refused_with_those_to_use(name, tmp_path):
    task = local(name, tmp_path)
    write_split(tmp_path / "hidden.parquet", [{**ROWS[name][0], **HIDDEN[name]}] * 3, names_of(task))
    with pytest.raises(DataError, match=rf"task={name}: all 3 rows of split 'hidden' have hidden labels; use good"):
        load_split(task, "hidden", other_splits=("good",))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_renamed_column_is_one_error_that_lists_the_columns(name, tmp_path):
    column = NEEDED[name].split()[0]
    rows = [{f"{key}_v2" if key == column else key: value for key, value in row.items()} for row in ROWS[name]]
    write_split(tmp_path / "test.parquet", rows)
    with pytest.raises(DataError, match=rf"task={name}: the rows have no column '{column}'; .*{column}_v2"):
        load_split(local(name, tmp_path), "test")


@pytest.mark.parametrize("name", sorted(name for name in ROWS if read_option("task", name, Task).label_names))
def test_labels_named_otherwise_are_refused(name, tmp_path):
    task = local(name, tmp_path)
    write_split(tmp_path / "test.parquet", ROWS[name], {str(task.label): list(reversed(task.label_names))})
    with pytest.raises(DataError, match=f"task={name}: the data set names its labels"):
        load_split(task, "test")


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_shipped_splits_are_labelled_ones_and_apart(name):
    task = read_option("task", name, Task)
    if task.source == "path":
        return
    used = [part for split in (task.train_split, task.validation_split, task.eval_split) if split
            for part in split.split("+")]  # fmt: skip
    assert len(set(used)) == len(used)
    assert set(used) <= {*task.labelled_splits, HELD_OUT}


def test_rows_of_a_single_split_are_divided_for_a_task_that_holds_them_out(tmp_path):
    task = change(local("alpaca", tmp_path), "validation_rows", 2)
    rows = [{**ROWS["alpaca"][0], "output": f"Robin {index} ."} for index in range(12)]
    write_split(tmp_path / "train.parquet", rows)
    load = LoadSplit()
    partition, held_out = load.partition(task), load(task, task.eval_split)
    parts = [{example.target for example in part} for part in (partition.pool, partition.validation, held_out.examples)]
    assert [len(part) for part in parts] == [8, 2, 2]
    assert len(set.union(*parts)) == 12
