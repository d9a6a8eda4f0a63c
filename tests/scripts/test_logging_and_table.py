"""One training with all its evaluations: the table it leaves, and what its loggers write."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pretune.results import load
from pretune.results.schema import BASELINE_SCORER, METRIC_COLUMNS, RELATIONS
from support.studies import NLI, SMALL, Place, make_place
from tracking.wandb_file import OfflineRun, find_runs

RELATED = {
    "in_domain": {"pico/nli"},
    "out_of_domain": {"pico/nli_far"},
    "cross_task": {"pico/paraphrase", "pico/summary", "pico/question", "pico/choice", "pico/chat"},
    "validation": {"pico/nli"},
    "pretraining": {"pico/text"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """Two trainings with every evaluation, logged to W&B without an account and without a network."""
    there = make_place(tmp_path_factory.mktemp("whole"), cache)
    words = [word for word in NLI if word != "logger=none"]
    there.results.append(there.train("-m", *words, "checkpoint.step=8", "optimizer.lr=1e-3,1e-4", "eval.limit=6"))
    assert there.results[0].status == 0, there.results[0].text
    return there


@pytest.fixture(scope="module")
def table(whole: Place) -> pd.DataFrame:
    return load(whole.study)


def test_the_table_has_the_contracts_columns(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(METRIC_COLUMNS)
    assert {name: str(table[name].dtype) for name in table} == dict(METRIC_COLUMNS)
    assert set(table["kind"]) == {"train", "evaluate"}
    assert set(table["family"]) == {"pico"}
    assert set(table["step"]) == {8}
    assert set(table["tokens"]) == {8 * 4 * 64}
    assert table[["metric", "n", "params", "eval_task", "state"]].notna().all().all()
    assert not table.drop(columns="value").duplicated().any()


def test_base_rows_are_there_once_and_belong_to_no_training(table: pd.DataFrame) -> None:
    base = table[table["state"] == "base"]
    assert base[["train_task", "relation", "lr", "seed", "epochs", "optimizer", "regularizer"]].isna().all().all()
    assert not base.duplicated(["eval_task", "eval_split", "eval_format", "shots", "scorer", "metric"]).any()
    assert set(base["eval_task"]) == set.union(*RELATED.values())


def test_every_relation_is_there_with_its_tasks(table: pd.DataFrame) -> None:
    assert set(RELATED) == set(RELATIONS)
    tuned = table[(table["state"] == "tuned") & (table["kind"] == "evaluate")]
    for lr in (1e-3, 1e-4):
        rows = tuned[tuned["lr"] == lr]
        assert {name: set(rows["eval_task"][rows["relation"] == name]) for name in RELATED} == RELATED
    assert set(tuned["train_task"]) == {"pico/nli"}
    assert set(tuned["train_rows"]) == {32}
    assert set(tuned["epochs"]) == {3}


def test_tuned_and_base_rows_can_be_joined(table: pd.DataFrame) -> None:
    keys = ["eval_task", "eval_split", "eval_format", "shots", "scorer", "metric"]
    evaluated = table[table["kind"] == "evaluate"]
    base, tuned = evaluated[evaluated["state"] == "base"], evaluated[evaluated["lr"] == 1e-3]
    joined = tuned.merge(base, on=keys, how="left", validate="one_to_one", suffixes=("", "_base"))
    assert joined["value_base"].notna().all()
    assert (joined["n"] == joined["n_base"]).all()


def test_trivial_baselines_are_rows_of_the_table(table: pd.DataFrame) -> None:
    baselines = table[table["scorer"] == BASELINE_SCORER]
    assert set(baselines["eval_task"]) >= {"pico/nli", "pico/summary", "pico/choice"}
    nli = baselines[(baselines["eval_task"] == "pico/nli") & (baselines["metric"] == "accuracy")]
    assert nli["value"].between(1 / 3, 1).all()  # the majority class is never below chance


def test_the_limit_holds_and_intervals_enclose_values(table: pd.DataFrame) -> None:
    evaluated = table[(table["kind"] == "evaluate") & (table["metric"] == "accuracy")]
    assert evaluated["n"].max() == 6
    with_interval = evaluated[evaluated["ci_low"].notna()]
    assert len(with_interval) > 0
    assert (with_interval["ci_low"] <= with_interval["value"]).all()
    assert (with_interval["value"] <= with_interval["ci_high"]).all()


def test_the_losses_of_the_training_are_rows_of_its_cell(table: pd.DataFrame) -> None:
    trained = table[table["kind"] == "train"]
    assert sorted(trained["metric"]) == ["train_loss", "train_loss", "validation_loss", "validation_loss"]
    assert set(trained["epochs"]) == {3}
    assert trained.groupby("metric")["value"].nunique().eq(2).all()
    assert trained["value"].between(0, 100).all()


def test_items_hold_the_choices_verbatim(whole: Place) -> None:
    (run,) = whole.runs("evaluate-*lr0.001-*-on-pico.nli-default-*")
    items = pd.read_parquet(run / "items.parquet")
    assert set(items["run_id"]) == {run.name}
    assert {tuple(choices) for choices in items["choices"]} == {(" entailment", " neutral", " contradiction")}
    for _, row in items.iterrows():
        assert len(row["scores"]) == 3
        assert row["gold"] in ("entailment", "neutral", "contradiction")
        assert row["prediction"] in ("entailment", "neutral", "contradiction")
        assert row["value"] == float(row["gold"] == row["prediction"])
    assert set(items["scorer"]) >= {"first_token", "sum", "per_token", "per_byte"}
    assert items.groupby("scorer")["item"].nunique().eq(6).all()


def test_the_metric_is_the_mean_of_the_items(whole: Place, table: pd.DataFrame) -> None:
    for run in whole.runs("evaluate-*-on-pico.nli-default-*"):
        items = pd.read_parquet(run / "items.parquet")
        rows = table[(table["run_id"] == run.name) & (table["metric"] == "accuracy")].set_index("scorer")["value"]
        for scorer, values in items.groupby("scorer")["value"]:
            assert rows[scorer] == pytest.approx(values.mean())


# --- loggers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(whole: Place) -> list[OfflineRun]:
    return find_runs(whole.study)


def test_without_a_key_wandb_is_offline_and_says_so_once(whole: Place) -> None:
    (result,) = whole.results
    assert result.text.count("wandb sync") == 1
    assert "API key" not in result.text.replace("no API key", "")
    assert list(whole.cwd.iterdir()) == []


def test_the_runs_of_a_sweep_share_a_group_and_carry_their_configuration(
    whole: Place, offline: list[OfflineRun]
) -> None:
    assert sorted(run.job_type for run in offline) == ["sweep", "train", "train"]
    assert len({run.group for run in offline}) == 1
    assert len({run.id for run in offline}) == 3
    assert all(run.exit_code == 0 for run in offline)
    trained = [run for run in offline if run.job_type == "train"]
    assert {run.name for run in trained} == {path.name for path in whole.runs("train-*")}
    assert {run.config["optimizer/lr"] for run in trained} == {1e-3, 1e-4}
    for run in trained:
        assert run.config["checkpoint/step"] == 8
        assert run.config["checkpoint/tokens"] == 8 * 4 * 64
        assert run.config["task/name"] == "pico/nli"


def test_a_run_logs_every_step_and_the_evaluations(offline: list[OfflineRun], table: pd.DataFrame) -> None:
    run = next(run for run in offline if run.config.get("optimizer/lr") == 1e-3)
    keys = {key for record in run.history for key in record}
    for part in ("loss", "lr", "norm", "tokens_per_second"):
        assert any(part in key for key in keys), sorted(keys)
    assert any("validation" in key for key in keys), sorted(keys)
    rows = table.query("relation == 'in_domain' and scorer == 'sum' and metric == 'accuracy'")
    value = rows["value"][rows["lr"] == 1e-3].item()
    assert run.summary["eval/in_domain/pico.nli/default/sum/accuracy"] == pytest.approx(value)


def test_the_sweep_has_one_table_with_a_row_per_cell(offline: list[OfflineRun]) -> None:
    (sweep,) = (run for run in offline if run.job_type == "sweep")
    (path,) = sweep.folder.rglob("*.table.json")
    content = json.loads(path.read_text())
    assert len(content["data"]) == 2
    assert {"checkpoint", "task", "lr", "base", "tuned", "gain"} <= set(content["columns"])


def test_csv_files_hold_the_steps(place: Place) -> None:
    words = [word for word in SMALL if word != "logger=none"]
    result = place.train(
        *words, "task=pico/nli", "task.train_rows=32", "task.validation_rows=8", "eval.relations=[in_domain]",
        "checkpoint.step=8", "logger=csv",
    )  # fmt: skip
    assert result.status == 0, result.text
    files = [path for path in place.study.rglob("*.csv") if "report" not in path.parts]
    assert files
    steps = [frame for frame in map(pd.read_csv, files) if any("loss" in name for name in frame.columns)]
    assert any(len(frame) >= 12 for frame in steps)  # 4 steps in each of 3 epochs
    assert list(place.cwd.iterdir()) == []


def test_a_pre_training_on_real_text_is_a_run_with_its_losses(tmp_path: Path) -> None:
    place, text, recipe = make_place(tmp_path, tmp_path / "cache"), tmp_path / "text", "checkpoint.recipe"
    text.mkdir()
    for number in range(24):
        (text / f"{number:02}.txt").write_text(f"The {number}th robin of the garden sang a song about the river. " * 12)
    result = place.train(
        "stage=pretrain", "checkpoint=text", f"{recipe}.corpus.path={text}", f"{recipe}.corpus.held_out=4",
        f"{recipe}.corpus.vocabulary=300", f"{recipe}.stage.save_steps=[0,4,8]", f"{recipe}.stage.warmup_steps=1",
        f"{recipe}.stage.batch_size=2", f"{recipe}.stage.sequence_length=16", f"{recipe}.model.context_length=16",
    )  # fmt: skip
    assert result.status == 0, result.text
    (run,) = find_runs(place.study)
    assert run.exit_code == 0
    keys = {key for record in run.history for key in record}
    assert any("loss" in key for key in keys), sorted(keys)
    assert any("validation" in key for key in {*keys, *run.summary}), sorted({*keys, *run.summary})
