"""The report as a run of the tracker: the same tables and figures, in files and in W&B's own log."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from pretune.config.running import Logger
from pretune.report import write_report
from pretune.report.tracked import track_report
from synthetic_tables import PRIMARY, realistic_study
from tracking.wandb_file import find_runs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return write_report(realistic_study(steps=(0, 64, 1024)), out, title="A study", primary=PRIMARY)


def test_csv_files_hold_tables_figures_page_and_answers(files, tmp_path):
    track_report(files, Logger(name="csv"), tmp_path, name="tiny", cells=7)
    (folder,) = (tmp_path / "logs").iterdir()
    described = json.loads((folder / "run.json").read_text())
    assert (described["group"], described["job_type"], described["config"]["cells"]) == ("tiny-report", "report", 7)
    written = {path.name for path in folder.iterdir()}
    assert any(name.startswith("tables-headline") and name.endswith(".csv") for name in written)
    assert sum(name.endswith(".svg") for name in written) == len(files.figures)
    assert sum(name.endswith(".html") for name in written) == 1
    summary = json.loads((folder / "summary.json").read_text())
    row = pd.read_csv(files.tables["dichotomy"]).set_index("eval_task").loc["pico/nli"]
    assert summary["answer/pico/pico.nli/gain"] == pytest.approx(row["gain"])
    assert summary["answer/pico/pico.nli/class"] == row["class"]
    assert summary["state"] == "finished"


def test_wandb_gets_one_summary_run_of_the_group(files, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    track_report(files, Logger(name="wandb", group="tiny-1a2b"), tmp_path / "study", name="tiny", cells=7)
    (run,) = find_runs(tmp_path / "study")
    assert (run.group, run.job_type, run.exit_code) == ("tiny-1a2b", "report", 0)
    logged = {key: value for item in run.history for key, value in item.items()}
    assert logged["tables/headline/_type"] == "table-file"
    assert logged["figures/overview/_type"] == "html-file"
    assert logged["report/_type"] == "html-file"
    assert any(key.endswith("pico.nli/gain") for key in run.summary)
