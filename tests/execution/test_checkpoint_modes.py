"""Listing, verifying, prefetching and evicting the checkpoints of a grid, against a Hub on the loopback."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from pretune.checkpoints import hub as client
from pretune.checkpoints.downloads import find_cached, remove
from pretune.checkpoints.hub import fetch_refs
from pretune.config.probing import Probe, ProbeConfig
from pretune.config.running import Cache, Eval, EvaluateConfig, Sample
from pretune.config.science import Task
from pretune.config.validation import find_problems
from pretune.errors import CheckpointError, HubUnreachable, UsageError
from pretune.execution import prefetching
from pretune.execution.grid import describe_job, plan_grid, run_grid
from pretune.execution.jobs import Job, complete_evaluate_job, complete_probe_job, complete_train_job
from pretune.execution.listing import format_tokens, show_checkpoints
from pretune.execution.outcomes import FAILED
from pretune.execution.prefetching import prefetch
from pretune.execution.session import Session, expand_steps
from pretune.execution.verifying import verify_jobs
from pretune.results.store import Study
from pretune.tracking.runs import NoTracker
from support.configs import CONFIG, FORMAT, HUB, LADDER, NLI, change
from support.hub import parquet, save_weights

REPO = "owner/model"
FAMILY = change(change(change(HUB, "step", None), "final_step", 3000), "context_length", 128)
ROWS = [{"premise": "a bird sat", "hypothesis": f"a tree {number}", "label": number % 3} for number in range(12)]
TASK = dataclasses.replace(NLI, config="plain", eval_split="test", train_rows=6, validation_rows=2)


class Silent:
    """Hears of progress and says nothing."""

    def __getattr__(self, name):
        return lambda *_: None


class Shelf:
    """A library of one task and one format."""

    def task(self, name):
        return TASK

    def format(self, name):
        return FORMAT


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return [save_weights(tmp_path_factory.mktemp("weights"), seed=seed) for seed in range(3)]


@pytest.fixture
def model(hub, weights):
    hub.add_dataset("owner/nli", {"plain": {"train": parquet(ROWS), "test": parquet(ROWS[:4])}})
    return hub.add_model(
        REPO,
        {"main": weights[2], "step1000-tokens4B": weights[0], "step2000-tokens8B": weights[1],
         "step3000-tokens12B": weights[2], "notes": {"README.md": b""}},
    )  # fmt: skip


def evaluate(tmp_path, checkpoint=FAMILY, **changes):
    config = EvaluateConfig(
        checkpoint=checkpoint, task=TASK, format=FORMAT, trainer=CONFIG.trainer, logger=CONFIG.logger,
        eval=Sample(limit=4), study_dir=str(tmp_path / "study"),
    )  # fmt: skip
    for key, value in changes.items():
        config = change(config, key.replace("__", "."), value)
    return config


def jobs_of(*configs) -> list[Job]:
    jobs = [
        complete_evaluate_job(config, Shelf(), (f"checkpoint.step={config.checkpoint.step}",)) for config in configs
    ]
    return expand_steps(jobs)


def run(*configs):
    return run_grid(plan_grid(jobs_of(*configs)), Silent(), NoTracker())


# --- mode=checkpoints


def test_every_step_is_listed_with_its_tokens(hub, model, tmp_path, capsys):
    assert show_checkpoints([evaluate(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"olmo1b: {REPO}, 3 checkpoints; 4,194,304 tokens a step; context 128"
    assert [line.split()[:3] for line in lines[3:6]] == [
        ["1,000", "4.19", "B"], ["2,000", "8.39", "B"], ["3,000", "12.6", "B"]
    ]  # fmt: skip
    assert "main is step 3000." in lines
    assert "Without a step (checkpoint.revision=…): main, notes" in lines


def test_phases_and_annealing_are_columns_where_they_differ(hub, weights, tmp_path, capsys):
    names = ["stage1-step5", "stage2-step1", "stage2-step2"]
    hub.add_model(REPO, {name: {} for name in names})
    family = dataclasses.replace(
        HUB, step=None, final_step=None, pattern=r"(?:stage1|(?P<phase>stage2))-step(?P<step>\d+)", annealed_from=9,
        phases={},
    )  # fmt: skip
    show_checkpoints([evaluate(tmp_path, family)])
    table = capsys.readouterr().out.splitlines()[2:6]
    assert table[0].split() == ["phase", "step", "tokens", "rate", "revision", "commit"]
    assert [line.split()[0] for line in table[1:]] == ["main", "stage2", "stage2"]
    assert table[2].split()[2:4] == ["?", "?"]
    show_checkpoints([evaluate(tmp_path, change(family, "phase", "stage2"))])
    assert "stage1" not in capsys.readouterr().out


def test_choice_of_steps_shows_what_it_stands_for(hub, model, tmp_path, capsys):
    show_checkpoints([evaluate(tmp_path, change(FAMILY, "step", "every:2"))])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:5]] == ["1,000", "3,000"]


def test_ladder_is_listed_without_a_hub(tmp_path, capsys):
    show_checkpoints([evaluate(tmp_path, LADDER)])
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["step", "tokens"],
        ["0", "0"],
        ["2", "128"],
        ["5", "320"],
    ]


def test_what_the_study_noted_is_listed_when_the_hub_is_gone(hub, model, tmp_path, capsys, caplog):
    show_checkpoints([evaluate(tmp_path)])
    online = capsys.readouterr().out
    hub.stop()
    show_checkpoints([evaluate(tmp_path)])
    assert capsys.readouterr().out == online
    assert "this is what the study has noted" in caplog.text
    with pytest.raises(HubUnreachable):
        show_checkpoints([evaluate(tmp_path / "another")])


def test_fifteen_hundred_branches_are_listed_and_searched_in_a_second(hub, weights, tmp_path, capsys):
    names = [f"step{step}000-tokens{step * 4}B" for step in range(1500)]
    hub.add_model(REPO, {"main": weights[0], **{name: {} for name in names}, names[700]: weights[1]})
    fetch_refs(REPO)  # the clients are imported, the server has its commits
    started = time.perf_counter()
    show_checkpoints([evaluate(tmp_path, change(FAMILY, "final_step", None))])
    assert len(expand_steps(jobs_of(evaluate(tmp_path, change(FAMILY, "step", "every:100"))))) == 16
    assert time.perf_counter() - started < 2  # twice what it must be: the machine may be busy
    assert len(capsys.readouterr().out.splitlines()) > 1500


@pytest.mark.parametrize(
    ("tokens", "text"),
    [(None, "?"), (0, "0"), (999, "999"), (1000, "1.00 k"), (2_048_000, "2.05 M"), (75_497_472_000, "75.5 B"),
     (1_433_000_000_000, "1.43 T"), (15 * 10**12, "15.0 T"), (123_456_789_012_345, "123 T")],
)  # fmt: skip
def test_tokens_are_short(tokens, text):
    assert format_tokens(tokens) == text


# --- steps of a sweep


def test_step_and_main_are_one_cell(hub, model, tmp_path, caplog):
    caplog.set_level("INFO")
    grid = plan_grid(jobs_of(evaluate(tmp_path), evaluate(tmp_path, change(FAMILY, "step", 3000))))
    assert len({cell.key for cells in grid.jobs for cell in cells.all()}) == 1
    assert "step 3000 is main, one point" in caplog.text


def test_all_steps_include_main_once(hub, model, tmp_path):
    jobs = jobs_of(evaluate(tmp_path, change(FAMILY, "step", "all")))
    assert [(job.config.checkpoint.step, job.config.checkpoint.revision) for job in jobs] == [
        (1000, None), (2000, None), (None, "main")
    ]  # fmt: skip


def test_choice_of_steps_in_a_phase_that_is_not_there_is_refused(hub, model, tmp_path):
    nowhere = change(change(FAMILY, "step", "all"), "phase", "stage9")
    with pytest.raises(CheckpointError, match=r"checkpoint\.phase=stage9: .* no such phase; valid: main"):
        jobs_of(evaluate(tmp_path, nowhere))


def test_phase_without_a_step_is_refused_except_in_a_list(tmp_path):
    config = evaluate(tmp_path, change(FAMILY, "phase", "stage2"))
    assert [problem.key for problem in find_problems(config)] == ["checkpoint.phase"]
    assert find_problems(change(config, "mode", "checkpoints")) == []


def test_rows_longer_than_the_pre_trainings_are_refused():
    config = change(CONFIG, "checkpoint.context_length", 512)
    assert [problem.key for problem in find_problems(config)] == ["stage.max_length"]
    assert find_problems(change(config, "stage.max_length", 512)) == []


# --- mode=verify


def verdicts(capsys) -> list[list[str]]:
    return [line.split("  ") for line in capsys.readouterr().out.splitlines()]


def test_good_checkpoints_are_called_good(hub, model, tmp_path, capsys):
    assert verify_jobs(jobs_of(evaluate(tmp_path, change(FAMILY, "step", "all")))) == 0
    text = capsys.readouterr().out
    assert text.count("good") == 4
    assert "good; main is step 3000" in text
    assert text.endswith("3 checkpoints, 3 good, 0 not.\n")
    assert not (tmp_path / "study" / "checkpoints").exists()  # nothing was computed with them


def test_every_revision_that_is_not_what_it_says_gets_its_verdict(hub, model, weights, tmp_path, capsys):
    model.revisions |= {"step4000-tokens16B": weights[0], "step5000-tokens20B": {"README.md": b""}}
    jobs = jobs_of(evaluate(tmp_path, change(change(FAMILY, "final_step", None), "step", "all")))
    model.revisions |= {"step6000-tokens24B": weights[1]}
    assert verify_jobs(jobs) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"same weights as {REPO}@step4000-tokens16B" in lines[1]
    assert lines[2].endswith("good")
    assert f"same weights as {REPO}@step1000-tokens4B" in lines[4]
    assert "no safetensors weights" in lines[5]
    assert lines[-1] == "5 checkpoints, 2 good, 3 not."


def test_branch_that_moved_and_damaged_download_are_reported(hub, model, weights, tmp_path, capsys):
    config = evaluate(tmp_path, change(FAMILY, "step", 1000))
    run(config)
    model.revisions["step1000-tokens4B"] = weights[1]
    assert verify_jobs(jobs_of(config)) == 0
    assert "good; its branch has moved since" in capsys.readouterr().out
    (commit,) = {json.loads(p.read_text())["commit"] for p in (tmp_path / "study" / "checkpoints").iterdir()}
    path = find_cached(REPO, commit, "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert verify_jobs(jobs_of(config)) == 1
    assert f"{path} is damaged: delete it" in capsys.readouterr().out


def test_name_that_stood_for_other_weights_is_reported(hub, model, weights, tmp_path, capsys):
    config = evaluate(tmp_path, change(FAMILY, "step", 1000))
    run(config)
    model.revisions["step1000-tokens4B"] = weights[1]
    for path in (tmp_path / "study" / "refs").iterdir():
        path.unlink()
    assert verify_jobs(jobs_of(config)) == 1
    assert "has other weights than when this study first used it" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="has other weights"):
        run(change(config, "format.name", "other"))


# --- mode=prefetch


def train(tmp_path, step=1000, seed=None):
    config = dataclasses.replace(
        CONFIG,
        checkpoint=dataclasses.replace(FAMILY, step=step, pretrain_seed=seed),
        task=TASK,
        format=FORMAT,
        eval=Eval(limit=4),
        study_dir=str(tmp_path / "study"),
    )
    return complete_train_job(config, Shelf(), ())


def test_grid_is_prefetched_and_then_needs_no_hub(hub, model, tmp_path, capsys):
    jobs = [train(tmp_path), *jobs_of(evaluate(tmp_path, shots=2))]
    assert prefetch(plan_grid(jobs)) == 0
    said = capsys.readouterr().out
    assert "Weights of 2 checkpoints, 2 of them to download: 0.4 MB" in said
    assert "Rows of 1 task:" in said
    assert said.index("to download") < said.index("[1/2]") < said.index("rows of nli: read")
    assert "HF_HUB_OFFLINE=1" in said
    assert prefetch(plan_grid(jobs)) == 0
    assert capsys.readouterr().out.count("in the cache") == 2
    hub.stop()
    client._reached.clear()  # another command does not know that it answered
    outcomes = run_grid(plan_grid(jobs), Silent(), NoTracker())
    assert not [cell.error for outcome in outcomes for cell in outcome.cells if cell.status == FAILED]


def probe(tmp_path, **changes):
    config = ProbeConfig(
        checkpoint=dataclasses.replace(FAMILY, step=1000),
        probe=Probe(name="representation", reference_step=2000),
        text="text",
        tasks=("nli",),
        format=FORMAT,
        eval=Sample(limit=4),
        study_dir=str(tmp_path / "study"),
        **changes,
    )
    text = Task(name="text", family="text", answer="language", repo="owner/nli", config="plain", eval_split="test",
                reader="columns", label="premise")  # fmt: skip
    shelf = Shelf()
    shelf.task = lambda name: text if name == "text" else TASK
    return complete_probe_job(config, shelf, (), config.checkpoint)


def test_a_probe_needs_the_checkpoint_that_it_compares_with(hub, model, tmp_path, capsys):
    assert prefetch(plan_grid([probe(tmp_path)])) == 0
    said = capsys.readouterr().out
    assert "Weights of 2 checkpoints, 2 of them to download" in said
    assert "rows of nli: read" in said
    assert "rows of text: read" in said
    assert verify_jobs([probe(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "step2000" in said
    assert "2 checkpoints, 2 good" in said


def test_what_cannot_be_had_is_named_and_the_rest_is_fetched(hub, model, tmp_path, capsys):
    absent = change(evaluate(tmp_path), "task.repo", "owner/none")
    gone = change(evaluate(tmp_path), "task.eval_split", "gone")
    assert prefetch(plan_grid(jobs_of(absent, gone, evaluate(tmp_path)))) == 1
    said = capsys.readouterr().out
    fetched, missing = said.split("Not to be had:")
    assert "rows of nli: read" in fetched
    assert "data set owner/none" in missing
    assert "gone" in missing


def test_disk_that_is_too_small_is_noticed_before(hub, model, tmp_path, monkeypatch):
    usage = prefetching.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prefetching.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UsageError, match=r"needs 0\.4 MB, but .* has 0\.0 MB left"):
        prefetch(plan_grid(jobs_of(evaluate(tmp_path), evaluate(tmp_path, change(FAMILY, "step", 1000)))))
    assert not any("/resolve/" in request and "safetensors" in request for request in hub.requests)


# --- cache.evict


def weights_in_cache(model):
    return [n for n in model.revisions if find_cached(REPO, model.commit(n), "model.safetensors") is not None]


def test_done_checkpoints_leave_the_cache_and_failed_ones_stay(hub, model, tmp_path):
    steps = [change(FAMILY, "step", step) for step in (1000, 2000)]
    good = [evaluate(tmp_path, step, cache=Cache(evict=True)) for step in steps]
    bad = change(good[1], "task.eval_split", "gone")
    outcomes = run(*good, bad)
    assert [cell.status for outcome in outcomes for cell in outcome.cells].count(FAILED) == 1
    assert weights_in_cache(model) == ["step2000-tokens8B"]


def test_checkpoints_stay_where_it_is_not_asked_for(hub, model, tmp_path):
    run(evaluate(tmp_path, change(FAMILY, "step", 1000)))
    assert weights_in_cache(model) == ["step1000-tokens4B"]


# --- equal weights


def test_equal_weights_are_refused_before_any_work_and_across_commands(hub, model, weights, tmp_path):
    model.revisions["step4000-tokens16B"] = weights[0]
    one, other = (evaluate(tmp_path, change(FAMILY, "step", step)) for step in (1000, 4000))
    with pytest.raises(CheckpointError, match="have equal weights"):
        run(one, other)
    assert not list(Study(tmp_path / "study").finished_runs())
    run(one)
    with pytest.raises(CheckpointError, match="step1000-tokens4B and .*step4000-tokens16B have equal weights"):
        run(other)


def test_commit_and_weights_are_in_every_run(hub, model, tmp_path):
    run(evaluate(tmp_path, change(FAMILY, "step", 1000)))
    (folder,) = Study(tmp_path / "study").finished_runs()
    facts = json.loads((folder / "run.json").read_text())["facts"]
    assert facts["commit"] == model.commit("step1000-tokens4B")
    assert facts["revision"] == "step1000-tokens4B"
    assert list(facts["weight_hashes"]) == ["model.safetensors"]
    assert all(len(sha256) == 64 for sha256 in facts["weight_hashes"].values())


def test_session_dispatches_the_modes(hub, model, tmp_path, capsys):
    session = Session(jobs_of(evaluate(tmp_path, mode="verify")))
    assert (session.shows_only(), session.run()) == (True, 0)
    assert Session(jobs_of(evaluate(tmp_path, mode="prefetch"))).run() == 0
    assert "1 checkpoint, 1 good" in capsys.readouterr().out


def test_grid_of_a_trained_run_is_about_its_own_checkpoint(hub, model, tmp_path, capsys):
    run_grid(plan_grid([train(tmp_path)]), Silent(), NoTracker())
    (run_id,) = [path.name for path in Study(tmp_path / "study").finished_runs() if path.name.startswith("train-")]
    again = complete_evaluate_job(evaluate(tmp_path, run=run_id, shots=1), Shelf(), ())
    assert verify_jobs([again]) == 0
    assert "step1000-tokens4B" in capsys.readouterr().out
    remove(REPO, model.commit("step1000-tokens4B"))
    assert prefetch(plan_grid([again])) == 0
    assert weights_in_cache(model) == ["step1000-tokens4B"]


def test_seeds_of_a_pre_training_are_told_apart(hub, model, weights, tmp_path, caplog):
    grid = plan_grid([train(tmp_path), train(tmp_path, seed=3), train(tmp_path, seed=4)])
    assert "differ only in keys" not in caplog.text
    labels = [describe_job(cells, ()).label for cells in grid.jobs]
    assert [label.get("pre-training seed") for label in labels] == [None, 3, 4]
