"""evaluate.py: base checkpoints and trained runs, one task or a whole map."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from pretune.results import load
from support.studies import SMALL, Place, lines_with

TASK = ("task=pico/nli", "task.train_rows=32", "task.validation_rows=8")
TUNED = [word for word in SMALL if not word.startswith("checkpoint")]


def test_what_train_evaluated_already_is_not_evaluated_again(copied: Place) -> None:
    base = copied.evaluate("-m", *SMALL, *TASK, "checkpoint.step=4,8")
    assert base.status == 0, base.text
    assert base.done == (0, 0)
    assert base.before == (0, 2)
    tuned = copied.evaluate("run=all", *TUNED, *TASK)
    assert tuned.done == (0, 0)
    assert tuned.before == (0, 6)
    assert len(lines_with(tuned.out, "finished before", "pico/nli")) == 6


def test_a_run_is_found_by_a_unique_prefix_and_evaluated_from_its_kept_weights(copied: Place) -> None:
    (chosen,) = copied.runs("train-*step8*lr0.001*")
    prefix = chosen.name[: chosen.name.index("lr0.001") + len("lr0.001-")]
    result = copied.evaluate("-m", f"run={prefix}", *TUNED, *TASK, "shots=0,2", "format=default,io")
    assert result.status == 0, result.text
    assert result.done == (0, 3)
    assert result.before == (0, 1)
    table = load(copied.study)
    new = table[(table["eval_format"] == "io") & (table["shots"] == 2)]
    assert set(new["state"]) == {"tuned"}
    assert set(new["relation"]) == {"in_domain"}
    assert set(new["lr"]) == {1e-3}
    assert set(new["step"]) == {8}


def test_the_kept_weights_give_the_numbers_of_the_training(copied: Place, grid: Place) -> None:
    (evaluation,) = copied.runs("evaluate-*step8*lr0.001*")
    before = pd.read_parquet(evaluation / "items.parquet")
    for path in sorted(evaluation.iterdir()):
        path.unlink()
    evaluation.rmdir()
    (chosen,) = copied.runs("train-*step8*lr0.001*")
    result = copied.evaluate(f"run={chosen.name}", *TUNED, *TASK)
    assert result.done == (0, 1), result.text
    pd.testing.assert_frame_equal(pd.read_parquet(evaluation / "items.parquet"), before, check_exact=True)


def test_weights_that_were_not_kept_are_an_error_that_says_what_to_do(place: Place) -> None:
    trained = place.train(*SMALL, *TASK, "eval.relations=[in_domain]", "checkpoint.step=8", "keep_model=none")
    assert trained.done == (1, 2)
    (run,) = place.runs("train-*")
    assert not (run / "model").exists()
    result = place.evaluate(f"run={run.name}", *TUNED, *TASK, "shots=2")
    assert result.status == 1
    assert "keep_model=all" in result.err
    assert run.name in result.err


def test_a_suite_is_the_whole_map_of_a_training_task(place: Place) -> None:
    result = place.evaluate("-m", *SMALL, "suite=pico/choice", "checkpoint.step=8", "eval.limit=4", "shots=0,1")
    assert result.status == 0, result.text
    assert result.done == (0, 14)
    table = load(place.study)
    names = {"choice", "choice_far", "nli", "paraphrase", "summary", "question", "chat"}
    assert set(table["eval_task"]) == {f"pico/{name}" for name in names}
    assert set(table["state"]) == {"base"}
    assert table["relation"].isna().all()
    assert table["train_task"].isna().all()


def test_prompts_are_kept_when_asked_for_and_show_format_and_shots(place: Place) -> None:
    result = place.evaluate(*SMALL, *TASK, "checkpoint.step=8", "shots=2", "format=io", "eval.keep_prompts=true")
    assert result.done == (0, 1), result.text
    (run,) = place.runs()
    items = pd.read_parquet(run / "items.parquet")
    assert items["prompt"].str.len().min() > 20
    assert items.groupby("item")["prompt"].nunique().max() == 1
    shown = items["prompt"].iloc[0]
    assert sum(shown.count(label) for label in ("entailment", "neutral", "contradiction")) == 2  # the shots' answers
    assert "premise :" not in shown  # format io has no field names
    record = json.loads((run / "run.json").read_text())
    assert record["facts"]["rows"]["shots"] == 2


def test_prompts_are_not_kept_by_default(grid: Place) -> None:
    for run in grid.runs("evaluate-*"):
        assert "prompt" not in pd.read_parquet(run / "items.parquet")


def test_an_unknown_or_ambiguous_run_lists_what_is_there(copied: Place) -> None:
    unknown = copied.evaluate("run=train-nonsense", *TUNED, *TASK)
    assert unknown.status == 2
    assert "run=train-nonsense" in unknown.err
    listed = [line.strip() for line in unknown.err.splitlines()[1:]]
    assert len(listed) == 6
    assert all(line.startswith("train-pico-step") for line in listed[:5])
    assert re.fullmatch(r"and \d+ more", listed[5])
    ambiguous = copied.evaluate("run=train-", *TUNED, *TASK)
    assert ambiguous.status == 2
    assert "6 runs begin so" in ambiguous.err


def test_an_evaluation_is_no_trained_run(copied: Place) -> None:
    run = copied.runs("evaluate-*")[0]
    result = copied.evaluate(f"run={run.name}", *TUNED, *TASK)
    assert result.status == 2
    assert "not a trained run" in result.err


def test_run_all_without_trained_runs_is_an_error(place: Place, tmp_path: Path) -> None:
    result = place.evaluate("run=all", *TUNED, *TASK)
    assert result.status == 2
    assert "no finished trained run" in result.err
    assert not place.study.exists()


def test_shots_are_sampled_as_asked_and_each_way_is_a_cell_of_its_own(place: Place) -> None:
    ways = {"fixed": 1, "balanced": 1, "per_row": 8}
    for way, distinct in ways.items():
        result = place.evaluate(
            *SMALL, *TASK, "checkpoint.step=8", "shots=3", f"shot_sampling={way}", "eval.keep_prompts=true"
        )
        assert result.done == (0, 1), result.text
        (run,) = [path for path in place.runs() if way in (path / "config.yaml").read_text()]
        prompts = pd.read_parquet(run / "items.parquet").query("scorer == 'sum'")["prompt"]
        beginnings = {prompt[: prompt.rindex("\n\n")] for prompt in prompts}
        assert len(beginnings) == distinct
        record = json.loads((run / "run.json").read_text())
        assert record["facts"]["rows"]["shots"] == 3
        assert "overlapping_train_rows" in record["facts"]["rows"]
        if way == "balanced":
            answers = [block.split()[-1] for block in beginnings.pop().split("\n\n")]
            assert sorted(answers) == ["contradiction", "entailment", "neutral"]
    unknown = place.evaluate(*SMALL, *TASK, "checkpoint.step=8", "shots=3", "shot_sampling=random")
    assert unknown.status == 2
    assert "valid: balanced, fixed, per_row" in unknown.err
