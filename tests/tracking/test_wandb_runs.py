"""W&B runs, read back from the transaction logs of offline runs."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from wandb_file import find_runs

from pretune.config.running import Logger, Trainer
from pretune.tracking import RunInfo, open_tracker
from pretune.tracking.wandb_runs import count_waiting

CONFIG = {
    "checkpoint/step": 64,
    "checkpoint/tokens": 131072,
    "optimizer/lr": 5e-4,
    "stage/betas": [0.9, 0.95],
    "task/path": None,
}


def info(number: int = 1, **values: Any) -> RunInfo:
    base = {"id": f"train-pico-{number:012d}-1", "name": "pico · nli", "group": "default-1a2b", "job_type": "train"}
    return RunInfo(**{**base, "config": CONFIG, "tags": ("pico",), **values})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty working folder, and find it still empty at the end."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def test_training_is_followed(tmp_path: Path) -> None:
    import lightning.pytorch as pl
    import torch

    from pretune.training.fitting import fit

    class Tiny(pl.LightningModule):
        """Logs as the training module does: by handing records to the loggers."""

        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.layer = torch.nn.Linear(1, 1)
            self.step = 0

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.optimizers().step()
            self.step += 1
            values = {"loss": 1.0 / self.step, "lr": 0.1, "gradient_norm": 2.0, "tokens_per_second": 1000.0}
            self.log_all({f"train/{key}": value for key, value in values.items()})

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log_all({"validation/loss": 0.25})

        def log_all(self, values: dict[str, float]) -> None:
            for logger in self.loggers:
                logger.log_metrics({**values, "trainer/step": self.step}, step=self.step)

    tracker = open_tracker(Logger(offline=True), tmp_path)
    run = tracker.start(info())
    batches = torch.utils.data.DataLoader(torch.zeros(3, 1))
    fit(
        Tiny(),  # type: ignore[arg-type]
        batches,
        trainer=Trainer(accelerator="cpu"),
        precision="32-true",
        epochs=2,
        validation=[torch.zeros(1)],
        loggers=run.loggers,
    )
    run.summarize({"eval/in_domain/mnli/accuracy": 0.75, "missing": None})
    run.summarize({"broken": math.nan})
    frame = pd.DataFrame(
        {"cell": ["a", "b"], "lr": [1e-4, math.nan], "step": pd.array([1, None], dtype="Int64"), "mix": [1, "x"]}
    )
    run.add_table("cells", frame)
    run.finish()
    tracker.close()

    (written,) = find_runs(tmp_path)
    assert (written.id, written.name, written.group) == ("train-pico-000000000001-1", "pico · nli", "default-1a2b")
    assert (written.job_type, written.project, written.tags) == ("train", "pretune", ("pico",))
    assert {key: value for key, value in written.config.items() if key != "_wandb"} == CONFIG
    assert written.axes == {"trainer/step": "", "train/*": "trainer/step", "validation/*": "trainer/step"}
    trained = [row for row in written.history if "train/loss" in row]
    assert [row["trainer/step"] for row in trained] == [1, 2, 3, 4, 5, 6]
    assert trained[3]["train/loss"] == 0.25
    for row in trained:
        assert {"train/lr", "train/gradient_norm", "train/tokens_per_second"} <= set(row)
    assert [row["trainer/step"] for row in written.history if "validation/loss" in row] == [3, 6]
    logged = {key for row in written.history for key in row}
    assert "trainer/global_step" not in logged
    assert "epoch" not in logged
    summary = written.summary
    assert (summary["checkpoint/step"], summary["checkpoint/tokens"]) == (64, 131072)
    assert summary["eval/in_domain/mnli/accuracy"] == 0.75
    assert summary["missing"] is None
    assert summary["validation/loss"] == 0.25
    assert (summary["cells/_type"], summary["cells/nrows"]) == ("table-file", 2)
    table = json.loads((written.folder / "files" / summary["cells/path"]).read_text())
    assert table["columns"] == ["cell", "lr", "step", "mix"]
    assert table["data"] == [["a", 1e-4, 1, 1], ["b", None, None, "x"]]
    assert written.exit_code == 0
    assert list(Path.cwd().iterdir()) == []


def test_two_runs_have_nothing_of_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pretune")
    tracker = open_tracker(Logger(offline=True, project="other"), tmp_path)
    first = tracker.start(info(1, config={"only/first": 1, "checkpoint/step": 1}))
    first.loggers[0].log_metrics({"train/loss": 1.0}, step=7)
    first.finish(failed=True)
    first.loggers[0].log_metrics({"train/loss": 2.0}, step=8)
    first.summarize({"late": 1})
    second = tracker.start(info(2, config={"only/second": 2}, group="g2", job_type="evaluate", tags=()))
    third = tracker.start(info(3, config={}))  # open at the same time
    third.summarize({"third": 3})
    second.summarize({"second": 2})
    second.finish()
    tracker.close()
    tracker.close()

    one, two, three = sorted(find_runs(tmp_path), key=lambda run: run.id)
    assert len({one.id, two.id, three.id}) == 3
    assert [row["trainer/step"] for row in one.history] == [7]
    assert one.exit_code == 1
    assert "late" not in one.summary
    assert (two.config["only/second"], "only/first" in two.config) == (2, False)
    assert (two.group, two.job_type, two.tags, two.project) == ("g2", "evaluate", (), "other")
    assert (two.summary.get("second"), two.summary.get("third"), two.exit_code) == (2, None, 0)
    assert not {"checkpoint/step", "train/loss", "trainer/step"} & set(two.summary)
    assert three.summary["third"] == 3
    assert three.exit_code == 1  # left open
    assert set(three.config) <= {"_wandb"}
    (told,) = [record.getMessage() for record in caplog.records if "wandb sync" in record.getMessage()]
    assert str(tmp_path / "wandb" / "offline-run-*") in told
    assert "3 runs are" in told
    caplog.clear()
    tracker = open_tracker(Logger(offline=True), tmp_path)
    tracker.start(info(9))
    tracker.close()
    assert "4 runs are" in caplog.text  # those of other processes are waiting, too
    next(tmp_path.glob(f"wandb/offline-run-*-{info(9).id}")).joinpath("run.wandb.synced").touch()
    assert count_waiting(tmp_path / "wandb") == 3


def test_twenty_runs_are_cheap(tmp_path: Path) -> None:
    tracker = open_tracker(Logger(offline=True), tmp_path)
    tracker.start(info(0)).finish()  # imports, starts the service
    started = time.perf_counter()
    for number in range(1, 21):
        run = tracker.start(info(number))
        run.summarize({"a": number})
        run.finish()
    seconds = (time.perf_counter() - started) / 20
    tracker.close()
    assert len(find_runs(tmp_path)) == 21
    assert seconds < 1.0


def test_same_id_again_is_a_second_folder(tmp_path: Path) -> None:
    """A resumed cell keeps its id; W&B uploads both files, in order, to one run."""
    tracker = open_tracker(Logger(offline=True), tmp_path)
    for resume in (False, True):
        run = tracker.start(info(resume=resume))
        run.loggers[0].log_metrics({"train/loss": 1.0}, step=1 + resume)
        run.finish()
    tracker.close()
    assert [(run.id, len(run.history)) for run in find_runs(tmp_path)] == [(info().id, 1)] * 2


def test_unwritable_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "wandb").write_text("a file where the folder should be")
    tracker = open_tracker(Logger(offline=True), tmp_path)
    for number in range(5):
        run = tracker.start(info(number))
        assert list(run.loggers) == []
        run.summarize({"a": 1.0})
        run.add_table("t", pd.DataFrame({"a": [1]}))
        run.finish()
    tracker.close()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_bad_table_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = open_tracker(Logger(offline=True), tmp_path)
    run = tracker.start(info())
    run.add_table("bad", "not a frame")  # type: ignore[arg-type]
    run.summarize({"after": 1})
    run.finish()
    tracker.close()
    assert find_runs(tmp_path)[0].summary["after"] == 1
    assert "adding table bad failed" in caplog.text


def test_failures_while_logging_end_the_tracking_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = open_tracker(Logger(offline=True), tmp_path)
    run = tracker.start(info(1))

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("service is gone")

    run._run.log = fail  # type: ignore[attr-defined]
    for step in range(3):
        run.loggers[0].log_metrics({"train/loss": 1.0}, step=step)
    run.summarize({"a": 1})
    run.finish()
    later = tracker.start(info(2))
    later.summarize({"b": 2})
    later.finish()
    tracker.close()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "service is gone" in warnings[0]
    assert find_runs(tmp_path)[-1].summary["b"] == 2
    assert "WANDB_DATA_DIR" not in os.environ
