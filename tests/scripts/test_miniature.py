"""The whole study of the embedded miniature, by the README's command: what must come out of it, and that it repeats.

Nothing about the outcome is written into the miniature, so these tests look at what models really learnt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pretune.results import load
from pretune.results.schema import BASELINE_SCORER
from support.commands import ROOT

pytestmark = pytest.mark.slow

FINE_TUNED = ("pico/nli", "pico/paraphrase", "pico/summary", "pico/question", "pico/chat")
PRIMARY = dict.fromkeys(FINE_TUNED, ("accuracy", "sum")) | {
    "pico/summary": ("rouge_l", "generate"),
    "pico/question": ("rouge_l", "generate"),
    "pico/choice": ("accuracy", "sum"),
}


def run_miniature(study: Path, cache: Path) -> str:
    """Run the README's first command: through ./run when these tests run in its environment."""
    own = Path(sys.prefix) == ROOT / ".venv" and (ROOT / ".venv" / ".pretune-setup").is_file()
    command = ["./run", "miniature"] if own else [sys.executable, "-m", "pretune.study", "miniature"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HF_"))}
    done = subprocess.run(
        [*command, f"study_dir={study}", f"cache_dir={cache}"],
        cwd=ROOT,
        env={**environment, "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature")
    first = run_miniature(folder / "study", folder / "cache")
    return folder, first


@pytest.fixture(scope="module")
def table(place):
    return load(place[0] / "study")


def curve(table: pd.DataFrame, task: str, state: str) -> pd.Series:
    """Primary metric in percent by step: evaluated on ``task`` itself, tuned on it for ``state="tuned"``."""
    metric, scorer = PRIMARY[task]
    rows = table[
        (table.eval_task == task)
        & (table.state == state)
        & (table.metric == metric)
        & (table.scorer == scorer)
        & (table.eval_format == "default")
        & (table.eval_split == "test")
    ]
    if state == "tuned":
        rows = rows[(rows.train_task == task) & (rows.relation == "in_domain")]
    assert not rows.step.duplicated().any()
    return (100 * rows.set_index("step").value.astype(float)).sort_index()


def baseline(table: pd.DataFrame, task: str) -> float:
    """The task's trivial baseline on the evaluated rows, in percent."""
    rows = table[(table.eval_task == task) & (table.scorer == BASELINE_SCORER) & (table.eval_split == "test")]
    values = rows[rows.eval_format == "default"].value.astype(float).unique()
    assert len(values) == 1
    return 100 * float(values[0])


def test_it_ends_by_naming_the_report_and_the_table(place):
    folder, output = place
    page, results = folder / "study" / "report" / "index.html", folder / "study" / "report" / "results.csv"
    assert str(page) in output
    assert str(results) in output
    assert page.stat().st_size > 10_000
    assert len(pd.read_csv(results)) > 500


def test_choice_is_learnt_in_pre_training_and_then_flat(table):
    values = curve(table, "pico/choice", "base")
    trained = values[values.index > 0]
    assert values.iloc[-1] >= values.iloc[0] + 30
    assert values.iloc[-1] >= baseline(table, "pico/choice") + 25
    assert trained.iloc[-1] >= trained.iloc[0] + 15
    assert abs(values.iloc[-1] - values.iloc[-2]) <= 5


def test_at_least_three_tasks_need_fine_tuning(table):
    """Base near its trivial baseline at every checkpoint; tuned 20 points above base and 10 above the first tuned."""
    passing, seen = [], {}
    for task in FINE_TUNED:
        base, tuned, trivial = curve(table, task, "base"), curve(table, task, "tuned"), baseline(table, task)
        first_trained = tuned[tuned.index > 0].iloc[0]
        seen[task] = (base.round(1).tolist(), tuned.round(1).tolist(), round(trivial, 1))
        near = (base - trivial).abs().max() <= 8
        gains = tuned.iloc[-1] - base.iloc[-1] >= 20
        grows = tuned.iloc[-1] - first_trained >= 10
        if near and gains and grows:
            passing.append(task)
    assert len(passing) >= 3, f"only {passing}: {seen}"


def test_all_formats_and_relations_are_in_the_table(table):
    tuned = table[(table.kind == "evaluate") & (table.state == "tuned")]
    assert set(tuned.relation) == {"validation", "in_domain", "out_of_domain", "cross_task", "pretraining"}
    assert set(tuned[tuned.relation == "in_domain"].eval_format) == {"default", "io", "instruct"}
    assert set(tuned.train_task) == set(FINE_TUNED)


def test_a_second_run_trains_nothing_and_says_so(place, table):
    folder, _ = place
    before = {path: path.stat().st_mtime_ns for path in (folder / "study" / "runs").glob("*/run.json")}
    output = run_miniature(folder / "study", folder / "cache")
    assert output.count("no training was done") == 2
    assert "was built before" in output
    after = {path: path.stat().st_mtime_ns for path in (folder / "study" / "runs").glob("*/run.json")}
    assert after == before
