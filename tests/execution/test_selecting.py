"""The learning rate that stands for a training is chosen on held-out rows only, and both views of it are written."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pretune.analysis.choosing import validate_rates
from pretune.analysis.cleaning import clean
from pretune.analysis.metrics import choose_measures
from pretune.config.running import Eval
from pretune.execution import selecting
from pretune.execution.cells import ContentHashes, list_cells
from pretune.execution.jobs import Job
from pretune.execution.keeping import drop_unselected
from pretune.execution.selecting import FILE_NAME, select
from pretune.results.store import Study
from support.configs import CONFIG, FORMAT, NLI, change
from synthetic_tables import measurement, tabulate

ACCURACY = {  # (step, lr) → value on validation rows
    (1000, 1e-5): 0.5, (1000, 1e-4): 0.9, (1000, 1e-3): 0.6,
    (2000, 1e-5): 0.8, (2000, 1e-4): 0.7, (2000, 1e-3): 0.1,
}  # fmt: skip


def job(step, lr, seed=0):
    config = change(change(change(CONFIG, "checkpoint.step", step), "optimizer.lr", lr), "seed", seed)
    config = dataclasses.replace(config, eval=Eval(relations=("validation", "in_domain")))
    return Job(script="train", config=config, tasks={NLI.name: NLI}, formats={FORMAT.name: FORMAT})


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Finished trainings whose held-out rows say what ``ACCURACY`` says, and whose evaluated rows say the opposite."""
    study, cells = Study(tmp_path), {}
    values = {}
    for (step, lr), value in ACCURACY.items():
        found = list_cells(job(step, lr), study, ContentHashes())
        cells[step, lr] = found
        for cell in found.tuned:
            good = cell.evaluation.split == "validation"
            values[cell.key] = value if good else 1 - value
    runs = {found.train.key: found for found in cells.values()}
    monkeypatch.setattr(study, "find_finished", lambda key: f"train-{key[:8]}" if key in runs else None)
    by_name = {f"train-{key[:8]}": found for key, found in runs.items()}
    monkeypatch.setattr(
        study,
        "read_run",
        lambda run_id: {"request": by_name[run_id].train.request, "facts": {"validation_losses": [1.0]}},
    )
    monkeypatch.setattr(
        selecting, "primary_row", lambda cell, task, study: {"metric": "accuracy", "value": values[cell.key]}
    )
    return study, list(cells.values())


def test_each_checkpoint_gets_its_best_rate_and_all_together_one(finished):
    study, jobs = finished
    entries = {entry["checkpoint"]: entry for entry in select(jobs, study)}
    assert {name: entry["lr"] for name, entry in entries.items()} == {"step1000": 1e-4, "step2000": 1e-5}
    assert {entry["fixed_lr"] for entry in entries.values()} == {1e-4}, "means: .65, .80, .35"
    assert entries["step1000"]["evidence"] == "accuracy on validation rows"
    assert entries["step1000"]["values"] == {"1e-05": 0.5, "0.0001": 0.9, "0.001": 0.6}
    assert len(entries["step1000"]["runs"]) == 1
    assert json.loads((study.root / FILE_NAME).read_text()) == list(entries.values())


def test_without_evaluated_validation_rows_the_loss_decides(finished, monkeypatch):
    study, jobs = finished
    monkeypatch.setattr(selecting, "primary_row", lambda *_: None)
    losses = {cells.train.key[:8]: cells.job.config.optimizer.lr for cells in jobs}
    real = study.read_run
    monkeypatch.setattr(
        study, "read_run", lambda run: {**real(run), "facts": {"validation_losses": [9.0, losses[run[6:]]]}}
    )
    entries = select(jobs, study)
    assert {entry["lr"] for entry in entries} == {1e-5}
    assert {entry["evidence"] for entry in entries} == {"validation loss"}


def test_nothing_finished_nothing_chosen(tmp_path):
    study = Study(tmp_path)
    assert select([list_cells(job(1000, 1e-4), study, ContentHashes())], study) == []


def test_seeds_that_only_one_rate_has_do_not_decide_here_nor_in_the_report(tmp_path, monkeypatch):
    """At seed 0 the larger rate is better; two more seeds of it alone came out worse."""
    accuracy = {(1e-4, 0): 0.6, (1e-3, 0): 0.7, (1e-3, 1): 0.4, (1e-3, 2): 0.4}
    study = Study(tmp_path)
    jobs = {key: list_cells(job(1000, lr, seed), study, ContentHashes()) for key in accuracy for lr, seed in [key]}
    names = {cells.train.key: key for key, cells in jobs.items()}
    values = {cell.key: accuracy[key] for key, cells in jobs.items() for cell in cells.tuned}
    requests = {f"train-{key[:8]}": jobs[name].train.request for key, name in names.items()}
    monkeypatch.setattr(study, "find_finished", lambda key: f"train-{key[:8]}")
    facts = {"validation_losses": [1.0], "keep_model": "selected"}
    monkeypatch.setattr(study, "read_run", lambda run_id: {"request": requests[run_id], "facts": facts})
    monkeypatch.setattr(selecting, "primary_row", lambda cell, *_: {"metric": "accuracy", "value": values[cell.key]})
    for run_id in requests:
        (study.run_dir(run_id) / "model").mkdir(parents=True)
    entry = select(jobs.values(), study)[0]
    assert (entry["lr"], entry["values"]) == (1e-3, {"0.0001": 0.6, "0.001": 0.7})
    dropped = drop_unselected(study, list(jobs.values()))
    assert set(requests) - set(dropped) == set(entry["runs"]), "the weights that are kept are those of the entry"
    assert len(entry["runs"]) == 3

    rows = [
        measurement(state="tuned", lr=lr, seed=seed, relation="validation", eval_split="validation", value=value)
        for (lr, seed), value in accuracy.items()
    ]
    rows += [measurement(state="tuned", lr=lr, seed=seed, value=0.5) for lr, seed in accuracy]
    cleaned = clean(tabulate(rows)).table
    rates = validate_rates(cleaned, choose_measures(cleaned, {}))
    assert rates.loc[rates["chosen"], "lr"].tolist() == [1e-3]
    assert dict(zip(rates["lr"], rates["validation"], strict=True)) == {1e-4: 0.6, 1e-3: 0.7}
