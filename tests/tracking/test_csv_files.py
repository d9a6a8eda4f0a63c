from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pretune.config.running import Logger
from pretune.tracking import RunInfo, open_tracker


def info(**values: Any) -> RunInfo:
    config = {"checkpoint/step": 64, "checkpoint/tokens": 131072, "optimizer/lr": 5e-4}
    return RunInfo(**{"id": "cell-1", "name": "cell", "group": "g", "job_type": "train", "config": config, **values})


def log(run: Any, step: int, **metrics: float) -> None:
    run.loggers[0].log_metrics({key.replace("__", "/"): value for key, value in metrics.items()}, step=step)


def test_files_of_a_run(tmp_path: Path) -> None:
    tracker = open_tracker(Logger(name="csv"), tmp_path)
    run = tracker.start(info())
    log(run, 1, train__loss=2.0, train__lr=1e-4)
    log(run, 2, train__loss=1.0, train__lr=1e-4)
    log(run, 2, validation__loss=1.5)
    log(run, 3, train__loss=0.5)
    run.summarize({"eval/in_domain/mnli/accuracy": 0.7, "note": None})
    run.summarize({"bad": float("nan")})
    run.add_table("sweep/cells", pd.DataFrame({"a": [1, 2], "b": ["x", None]}))
    run.finish()
    run.finish(failed=True)
    log(run, 4, train__loss=9.0)
    tracker.close()

    folder = tmp_path / "logs" / "cell-1"
    steps = pd.read_csv(folder / "steps.csv")
    assert list(steps.columns) == ["trainer/step", "train/loss", "train/lr", "validation/loss"]
    assert steps["trainer/step"].tolist() == [1, 2, 2, 3]
    assert steps["train/loss"].dropna().tolist() == [2.0, 1.0, 0.5]
    assert steps["validation/loss"].dropna().tolist() == [1.5]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == {
        "checkpoint/step": 64,
        "checkpoint/tokens": 131072,
        "eval/in_domain/mnli/accuracy": 0.7,
        "note": None,
        "bad": "nan",
        "state": "finished",
    }
    described = json.loads((folder / "run.json").read_text())
    assert described["config"]["optimizer/lr"] == 5e-4
    assert (described["group"], described["job_type"]) == ("g", "train")
    tables = [path for path in folder.glob("*.csv") if path.name != "steps.csv"]
    assert [pd.read_csv(path)["a"].tolist() for path in tables] == [[1, 2]]


def test_resumed_run_drops_the_steps_it_repeats(tmp_path: Path) -> None:
    tracker = open_tracker(Logger(name="csv"), tmp_path)
    first = tracker.start(info())
    for step in (1, 2, 3, 4):
        log(first, step, train__loss=float(step))
    tracker.close()
    summary = json.loads((tmp_path / "logs/cell-1/summary.json").read_text())
    assert summary["state"] == "failed"  # nobody finished it

    tracker = open_tracker(Logger(name="csv"), tmp_path)
    second = tracker.start(info(resume=True))
    for step in (3, 4, 5):
        log(second, step, train__loss=10.0 * step)
    second.finish()
    steps = pd.read_csv(tmp_path / "logs/cell-1/steps.csv")
    assert steps["trainer/step"].tolist() == [1, 2, 3, 4, 5]
    assert steps["train/loss"].tolist() == [1.0, 2.0, 30.0, 40.0, 50.0]

    again = tracker.start(info())  # not resumed: from zero
    log(again, 1, train__loss=7.0)
    again.finish()
    assert pd.read_csv(tmp_path / "logs/cell-1/steps.csv")["train/loss"].tolist() == [7.0]


def test_unwritable_folder_is_one_warning(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    tracker = open_tracker(Logger(name="csv"), tmp_path)
    for number in range(5):
        run = tracker.start(info(id=f"cell-{number}"))
        assert list(run.loggers) == []
        run.summarize({"a": 1.0})
        run.finish()
    tracker.close()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
