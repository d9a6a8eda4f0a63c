from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretune.results import load
from pretune.results.schema import METRIC_COLUMNS, metrics_frame
from pretune.results.store import Study
from support.records import make_record, publish

TRAIN = {
    "family": "pico", "checkpoint": "step16", "phase": "main", "step": 16, "tokens": 32768, "params": 1000,
    "annealed": False, "pretrain_seed": 0, "stage": "sft", "train_task": "nli", "train_format": "default",
    "train_rows": 8, "epochs": 3, "optimizer": "adamw", "lr": 1e-4, "regularizer": "none",
    "regularizer_strength": 0.0, "seed": 0, "state": "tuned", "metric": "train_loss", "value": 0.25, "n": 8,
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "study")


def assert_contract(frame):
    assert list(frame.columns) == list(METRIC_COLUMNS)
    assert {name: frame[name].dtype for name in frame} == {
        name: pd.api.types.pandas_dtype(dtype) for name, dtype in METRIC_COLUMNS.items()
    }


def test_table_holds_every_finished_cell_in_the_contracts_columns(study):
    publish(study, make_record("train-a-1", kind="train", metrics=[TRAIN, {**TRAIN, "annealed": None}]))
    publish(study, make_record("evaluate-b-2"))
    study.record_failure("evaluate-c-3", {"error": "boom"})
    frame = load(study.root)
    assert_contract(frame)
    assert frame["run_id"].tolist() == ["evaluate-b-2", "train-a-1", "train-a-1"]
    assert frame["kind"].tolist() == ["evaluate", "train", "train"]
    assert frame["step"].tolist() == [16, 16, 16]
    row = frame.iloc[1].to_dict()
    assert {name: row[name] for name in TRAIN} == TRAIN
    assert pd.isna(row["eval_task"])
    assert frame["lr"].isna().tolist() == [True, False, False]
    assert frame["annealed"].isna().tolist() == [True, False, True]


def test_empty_study_has_an_empty_table(study):
    for _ in range(2):
        frame = load(study.root)
        assert frame.empty
        assert_contract(frame)
        study.runs.mkdir(parents=True, exist_ok=True)


def test_cell_without_measurements_adds_no_row(study):
    publish(study, make_record("train-a-1", metrics=[]))
    assert_contract(load(study.root))
    publish(study, make_record("evaluate-b-2"))
    assert load(study.root)["run_id"].tolist() == ["evaluate-b-2"]


def broken(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def absent(path):
    path.unlink()


def without_a_column(path):
    pq.write_table(pq.read_table(path).drop_columns(["value"]), path)


def of_another_type(path):
    table = pq.read_table(path)
    index = table.column_names.index("step")
    pq.write_table(table.set_column(index, "step", pa.array(["sixteen"])), path)


@pytest.mark.parametrize("damage", [broken, empty, absent, without_a_column, of_another_type])
def test_unreadable_metrics_are_named_and_left_out(study, caplog, damage):
    publish(study, make_record("evaluate-bad-1"))
    publish(study, make_record("evaluate-good-2"))
    damage(study.run_dir("evaluate-bad-1") / "metrics.parquet")
    frame = load(study.root)
    assert_contract(frame)
    assert frame["run_id"].tolist() == ["evaluate-good-2"]
    assert "evaluate-bad-1" in caplog.text


def test_column_of_a_later_version_is_ignored(study):
    publish(study, make_record("evaluate-a-1"))
    path = study.run_dir("evaluate-a-1") / "metrics.parquet"
    pq.write_table(pq.read_table(path).append_column("later", pa.array([1])), path)
    assert_contract(load(study.root))


def test_folder_names_that_look_like_partitions_add_nothing(tmp_path):
    """``study_dir=studies/seed=3`` is no Hive partition."""
    study = Study(tmp_path / "seed=3" / "value=x")
    publish(study, make_record("evaluate-a-1", metrics=[{"metric": "accuracy", "value": 0.5, "seed": 1}]))
    frame = load(study.root)
    assert (frame["seed"].tolist(), frame["value"].tolist()) == ([1], [0.5])


def test_frame_refuses_columns_that_are_none():
    with pytest.raises(ValueError, match=r"\['evaltask'\]"):
        metrics_frame([{"evaltask": "nli"}])
    assert_contract(metrics_frame([]))
