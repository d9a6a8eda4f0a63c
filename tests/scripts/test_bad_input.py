"""What cannot be done as asked is one readable message, status 2, and nothing is written anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support.commands import Result
from support.studies import LADDER, MODEL, lines_with

PICO = ("checkpoint=pico/step64", "task=pico/nli", "logger=none")

BAD: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "unknown checkpoint": (["checkpoint=step342"], ["checkpoint=step342:", "did you mean", "step342k"]),
    "unknown task": (["task=mnly"], ["task=mnly:", "did you mean", "mnli"]),
    "unknown task in a folder": (["task=pico/nly"], ["task=pico/nly:", "did you mean", "pico/nli"]),
    "unknown optimizer": ([*PICO, "optimizer=adam"], ["optimizer=adam:", "adamw"]),
    "unknown key": ([*PICO, "optimizer.learning_rate=1"], ["optimizer.learning_rate=1", "no such key", "optimizer.lr"]),
    "a key that is too long for a file": ([*PICO, f"{'a' * 5000}=1"], ["aaaa…=1", "no key has 5000 letters"]),
    "unknown key at the top": ([*PICO, "sed=1"], ["sed=1:", "no such key", "seed"]),
    "wrong type": ([*PICO, "stage.epochs=three"], ["stage.epochs=three", "three"]),
    "wrong type of a list": ([*PICO, "eval.shots=[a]"], ["eval.shots=[a]"]),
    "learning rate 0": ([*PICO, "optimizer.lr=0"], ["optimizer.lr=0", "greater than 0"]),
    "learning rate negative": ([*PICO, "optimizer.lr=-1e-3"], ["optimizer.lr=-0.001", "greater than 0"]),
    "learning rate nan": ([*PICO, "optimizer.lr=nan"], ["optimizer.lr=nan", "finite"]),
    "learning rate infinite": ([*PICO, "optimizer.lr=inf"], ["optimizer.lr=inf", "finite"]),
    "batch 0": ([*PICO, "stage.batch_size=0"], ["stage.batch_size=0", "at least 1"]),
    "epochs 0": ([*PICO, "stage.epochs=0"], ["stage.epochs=0", "at least 1"]),
    "epochs negative": ([*PICO, "stage.epochs=-3"], ["stage.epochs=-3", "at least 1"]),
    "training rows 0": ([*PICO, "task.train_rows=0"], ["task.train_rows=0", "at least 1"]),
    "negative shots": ([*PICO, "eval.shots=[0,-4]"], ["eval.shots=-4", "at least 0"]),
    "empty task": (["checkpoint=pico/step64", "task="], ["task="]),
    "no task": (["checkpoint=pico/step64", "task=null"], ["task=null", "alpaca", "in all"]),
    "list of tasks": (["checkpoint=pico/step64", "task=[pico/nli]"], ["task=[pico/nli]"]),
    "no experiment in a sweep": (["-m", *PICO, "experiment=miniature,null"], ["experiment=null", "amuro_char"]),
    "empty formats": ([*PICO, "eval.formats=[]"], ["eval.formats", "must not be empty"]),
    "unknown format in a list": ([*PICO, "eval.formats=[default,oi]"], ["oi", "did you mean", "io"]),
    "unknown related task": ([*PICO, "task.cross_task=[pico/nlu]"], ["pico/nlu", "did you mean", "pico/nli"]),
    "unknown precision": ([*PICO, "trainer.precision=fp8"], ["trainer.precision=fp8", "32-true"]),
    "step that the ladder has not": ([*PICO, "checkpoint.step=65"], ["checkpoint.step=65", "nearest: 32, 64", "1024"]),
    "no step of a ladder": (["checkpoint=pico", *PICO[1:]], ["checkpoint.step", "64"]),
    "step that is no number": ([*PICO, "checkpoint.step=first"], ["checkpoint.step=first", "every:N"]),
    "every zero": ([*PICO, "checkpoint.step=every:0"], ["checkpoint.step=every:0", "every:N"]),
    "revision and step": (
        ["checkpoint=main", "checkpoint.step=1000", "task=pico/nli"],
        ["checkpoint.step=1000", "contradicts checkpoint.revision=main"],
    ),
    "a hub without repository": (["checkpoint=hub", "task=pico/nli"], ["checkpoint.repo", "needs a repository"]),
    "a path without folder": (["checkpoint=path", "task=pico/nli"], ["checkpoint.path", "needs a folder"]),
    "a folder that is missing": (
        ["checkpoint=path", "checkpoint.path=/no/such/folder", "task=pico/nli"],
        ["checkpoint.path=/no/such/folder", "no such folder"],
    ),
    "rows in a folder not named": ([*PICO, "task.source=path"], ["task.path", "needs a folder"]),
    "rows in a folder that is missing": (
        [*PICO, "task.source=path", "task.path=/no/such/folder"],
        ["task.path=/no/such/folder", "no such folder"],
    ),
    "rows on the hub and in a folder": (["checkpoint=pico/step64", "task=mnli", "task.path=/tmp"], ["task.path=/tmp"]),
    "micro-batch above batch": (
        [*PICO, "stage.batch_size=4", "trainer.micro_batch=8"],
        ["trainer.micro_batch=8", "stage.batch_size=4"],
    ),
    "no training split": (["checkpoint=pico/step64", "task=gpt3nli"], ["task=gpt3nli", "no training split"]),
    "pre-training a hub checkpoint": (["stage=pretrain", "task=pico/nli"], ["stage=pretrain", "recipe"]),
    "pre-training with a fine-tuning key": (
        ["stage=pretrain", "checkpoint=pico", "optimizer.lr=1"],
        ["optimizer.lr=1", "checkpoint.recipe"],
    ),
    "pre-training that is planned": (
        ["stage=pretrain", "checkpoint=pico", "mode=plan"],
        ["mode=plan", "valid: run, checkpoints"],
    ),
    "value below nothing": (
        ["checkpoint.recipe.seed=1", "task=pico/nli"],
        ["checkpoint.recipe.seed=1", "below checkpoint.recipe", "null"],
    ),
    "ladder that cannot be": ([*PICO, f"{MODEL}.heads=5"], ["checkpoint.recipe.model.heads=5", "hidden_size"]),
    "ladder without order": (
        [*PICO, "checkpoint.recipe.stage.save_steps=[64,0]"],
        ["checkpoint.recipe.stage.save_steps=[64, 0]", "increasing"],
    ),
    "several values without -m": ([*PICO, "optimizer.lr=1e-3,1e-4"], ["optimizer.lr=1e-3,1e-4", "-m"]),
    "unwritable study folder": ([*PICO, "study_dir=/proc/study"], ["study_dir=/proc/study"]),
    "study folder without a name": ([*PICO, "study_dir="], ["study_dir"]),
    "negative seed": ([*PICO, "seed=-1"], ["seed=-1", "at least 0"]),
    "not an override": ([*PICO, "lr"], ["  lr: is not of the form key=value"]),
    "sweep with one bad value": (["-m", *PICO, "optimizer.lr=1e-3,0,1e-4"], ["optimizer.lr=0", "greater than 0"]),
    "sweep with one bad choice": (["-m", "checkpoint=pico/step64,pico/step65", *PICO[1:]], ["pico/step65", "step64"]),
    "sweep with one unknown key": (["-m", *PICO, "optimizer.lrr=1e-3,1e-4"], ["optimizer.lrr", "optimizer.lr"]),
    "sweep of pairs with a bad part": (
        ["-m", "pairs=checkpoint=pico/step65:optimizer.lrr=1", *PICO[1:]],
        ["2 problems", "checkpoint=pico/step65: did you mean pico/step64", "did you mean optimizer.lr?"],
    ),
    "list that ends with a comma": ([*PICO, "format=io,"], ["format=io,: ends with a comma"]),
    "sweep of no cells": (["-m", *PICO, "seed=range(0,0)"], ["seed=range(0,0)", "no cells"]),
    "sweep in chunks of none": (["-m", *PICO, "hydra.sweeper.chunk_size=0"], ["hydra.sweeper.chunk_size=0"]),
    "seed too large": ([*PICO, "seed=99999999999999999999999"], ["seed=9999", "at most 4294967295"]),
    "seed that is no whole number": ([*PICO, "seed=1.5"], ["seed=1.5", "must be a whole number"]),
    "seed that is a truth": ([*PICO, "seed=true"], ["seed=true", "must be a whole number"]),
    "seed beyond all numbers": ([*PICO, "seed=1e400"], ["seed=1e400", "must be a whole number"]),
    "seed without a value": ([*PICO, "seed="], ["seed=", "must be a whole number"]),
    "learning rate below all numbers": ([*PICO, "optimizer.lr=1e-400"], ["optimizer.lr=0", "greater than 0"]),
    "deleted key": ([*PICO, "~seed"], ["~seed: a key cannot be deleted"]),
    "deleted key below": ([*PICO, "~optimizer.lr"], ["~optimizer.lr: a key cannot be deleted"]),
    "deleted group": (["checkpoint=pico/step64", "~task"], ["task.name", "must not be empty"]),
    "added key": ([*PICO, "+new=1"], ["new=1", "no such key", "valid:"]),
    "added key below": ([*PICO, "+task.nme=1"], ["task.nme=1", "no such key", "did you mean name"]),
    "added key in a sweep": (["-m", *PICO, "+new=1,2"], ["new=1", "no such key"]),
    "only an equals sign": ([*PICO, "="], ["is not of the form key=value"]),
    "a value without key": ([*PICO, "=x"], ["=x: is not of the form key=value"]),
    "an empty word": ([*PICO, ""], ["is not of the form key=value"]),
    "braces that do not match": ([*PICO, "task.name=a{b"], ["task.name=a{b", "quotes"]),
    "a tilde": ([*PICO, "study_dir=~/x"], ["study_dir=~/x", "quotes"]),
    "a mapping for a text": ([*PICO, "task.name={a:1}"], ["task.name={a:1}", "must be a text"]),
    "a text for a mapping": ([*PICO, "task.fields=x"], ["task.fields=x", "must be a mapping of texts"]),
    "a list for a mapping": ([*PICO, "task.labels=[a]"], ["task.labels=[a]", "must be a mapping of texts"]),
    "a mapping with numbers as keys": (
        [*PICO, "task.labels={0:1}"],
        ["task.labels={0:1}", "must be a mapping of texts"],
    ),
    "a reference to nothing": ([*PICO, "seed=${x}"], ["'x' not found", "in seed=${x}"]),
    "a reference that is not closed": ([*PICO, "task.name=${"], ["task.name=${"]),
    "a reference to itself": ([*PICO, "task.name=${task.name}"], ["Recursive", "in task.name=${task.name}"]),
    "an environment variable that is not set": ([*PICO, "seed=${oc.env:NOPE}"], ["'NOPE' not found", "in seed="]),
    "an expression": ([*PICO, "task.name=${eval:1+1}"], ["eval", "in task.name=${eval:1+1}"]),
    "unknown mode": ([*PICO, "mode=fly"], ["mode=fly", "checkpoints", "plan"]),
    "unknown metric": ([*PICO, "task.metric=f1"], ["task.metric=f1", "accuracy"]),
    "unknown scorer": ([*PICO, "task.scorer=best"], ["task.scorer=best", "first_token"]),
    "unknown logger": ([*PICO[:2], "logger=tensorboard"], ["logger=tensorboard:", "wandb"]),
    "unknown relation": ([*PICO, "eval.relations=[x]"], ["eval.relations=x", "in_domain"]),
    "unknown selection": ([*PICO, "select=best"], ["select=best", "in_domain"]),
    "unknown policy of weights": ([*PICO, "keep_model=maybe"], ["keep_model=maybe", "selected"]),
    "no shots at all": ([*PICO, "eval.shots=[]"], ["eval.shots", "must not be empty"]),
    "debug that is no truth": ([*PICO, "debug=perhaps"], ["debug=perhaps", "must be true or false"]),
    "share above all": ([*PICO, "stage.warmup_ratio=2"], ["stage.warmup_ratio=2", "at most 1"]),
    "one beta": ([*PICO, "optimizer.betas=[0.9]"], ["optimizer.betas=[0.9]", "two numbers"]),
    "betas that are none": ([*PICO, "optimizer.betas=[2,-3]"], ["optimizer.betas=2", "optimizer.betas=-3"]),
    "negative strength": ([*PICO, "regularizer=l2sp", "regularizer.strength=-1"], ["strength=-1", "at least 0"]),
    "conversations for another stage": ([*PICO, "task.answer=chat"], ["stage=sft", "stage=instruct"]),
    "trained on what is evaluated": ([*PICO, "task.eval_split=train"], ["task.eval_split=train", "training split"]),
    "prompt with an open brace": ([*PICO, "format.templates.nli.prompt='{'"], ["format.templates.nli.prompt", "brace"]),
    "step that is a broken number": ([*PICO, "checkpoint.step=1e3"], ["checkpoint.step=1e3", "whole number"]),
    "step below zero": ([*PICO, "checkpoint.step=-1"], ["checkpoint.step=-1", "at least 0"]),
    "pattern that is none": (
        ["checkpoint=hub", "checkpoint.repo=a/b", "checkpoint.pattern='('", "checkpoint.step=1", "task=pico/nli"],
        ["checkpoint.pattern=(", "regular expression"],
    ),
    "repository that is a path": (
        ["checkpoint=hub", "checkpoint.repo=../..", "task=pico/nli"],
        ["repo=../..", "owner"],
    ),
    "repository that is an address": (
        ["checkpoint=hub", "checkpoint.repo=https://hub/x", "task=pico/nli"],
        ["checkpoint.repo=https://hub/x", "owner/name"],
    ),
    "data set that is a path": (["checkpoint=pico/step64", "task=mnli", "task.repo=/etc"], ["task.repo=/etc", "owner"]),
    "empty cache folder": ([*PICO, "cache_dir="], ["cache_dir", "must not be empty"]),
    "unknown launcher": ([*PICO, "hydra/launcher=nope"], ["hydra/launcher=nope", "workers"]),
    "launcher of Hydra's": (
        ["-m", *PICO, "hydra/launcher=joblib"],
        ["hydra/launcher=joblib", "hydra/launcher=workers"],
    ),
    "chunk size that is no number": (["-m", *PICO, "hydra.sweeper.chunk_size=x"], ["hydra.sweeper.chunk_size=x"]),
    "range without end": (["-m", *PICO, "seed=range(0,10,0)"], ["seed=range(0,10,0)", "cannot be swept"]),
    "range without steps": (["-m", *PICO, "optimizer.lr=interval(0,1)"], ["optimizer.lr=interval(0,1)", "list"]),
    "choice of nothing": (["-m", *PICO, "seed=choice()"], ["seed=choice()", "empty"]),
    "pattern without a match": (["-m", "task=glob(zz*)", "logger=none"], ["task=glob(zz*)", "no cells"]),
    "sweep over study folders": (["-m", *PICO, "study_dir=a,b"], ["study_dir=a,b", "cannot be swept"]),
    "unknown argument": (["--nope"], ["--nope", "--help"]),
    "argument without a value": (["--config-dir"], ["--config-dir", "expected one argument"]),
    "unknown primary configuration": (["--config-name=nope"], ["nope", "primary config"]),
    "config folder that is missing": (["--config-dir=/no/such"], ["/no/such", "not found"]),
    "config path that is missing": (["--config-path=/no/such"], ["/no/such"]),
    "option outside of the config folders": (["task=../../x"], ["task=../../x", "leads out"]),
    "pickled configuration": (["--experimental-rerun=x.pickle"], ["x.pickle", "not loaded"]),
    "sweep of two kinds of training": (["-m", *PICO, "stage=sft,pretrain"], ["stage=pretrain"]),
    "no processes at all": ([*PICO, "trainer=ddp", "trainer.devices=0"], ["trainer.devices=0", "at least 1"]),
    "launcher without workers": (
        ["-m", *PICO, "hydra/launcher=workers", "hydra.launcher.processes=0"],
        ["hydra.launcher.processes=0: must be at least 1"],
    ),
    "launcher with a word for a number": (
        ["-m", *PICO, "hydra/launcher=workers", "hydra.launcher.processes=two"],
        ["hydra.launcher.processes=two: must be a number"],
    ),
    "cache that is a file": ([*PICO, "cache_dir=/dev/null"], ["cache_dir=/dev/null: cannot be used"]),
    "cache that cannot be made": ([*PICO, "cache_dir=/proc/x"], ["cache_dir=/proc/x: cannot be used"]),
}


def check(result: Result, parts: Sequence[str]) -> None:
    """One readable message that holds all parts, and status 2."""
    assert result.status == 2, result.text
    assert result.out == ""
    assert result.err.startswith("error: "), result.err
    assert result.err.count("error: ") == 1, result.err
    for part in parts:
        assert part in result.err, result.err
    for noise in ("Traceback", "HYDRA_FULL_ERROR", "hydra.", "omegaconf", "object_type"):
        if noise not in " ".join(parts):
            assert noise not in result.err, result.err
    assert len(result.err.splitlines()) <= 8, result.err


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_readable_error(name: str, shell: Callable[..., Result]) -> None:
    words, parts = BAD[name]
    check(shell("train.py", *words), parts)


REAL = (
    "unknown checkpoint",
    "unknown key",
    "learning rate 0",
    "step that the ladder has not",
    "revision and step",
    "sweep with one bad value",
    "sweep of no cells",
)


@pytest.mark.parametrize("name", REAL)
def test_a_fresh_interpreter_says_the_same(name: str, shell: Callable[..., Result]) -> None:
    words, parts = BAD[name]
    check(shell("train.py", *words, fresh=True), parts)


EVALUATE: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "unknown task": (["checkpoint=pico/step64", "task=pico/nlu"], ["task=pico/nlu:", "pico/nli"]),
    "unknown suite": (["checkpoint=pico/step64", "suite=pico/nlu"], ["pico/nlu", "did you mean", "pico/nli"]),
    "negative shots": ([*PICO, "shots=-1"], ["shots=-1", "at least 0"]),
    "a list of shots": ([*PICO, "shots=[0,4]"], ["shots=[0,4]"]),
    "a training key": ([*PICO, "optimizer.lr=1e-3"], ["optimizer.lr=1e-3", "evaluate.py has no optimizer"]),
    "unknown format": ([*PICO, "format=instrct"], ["format=instrct:", "did you mean", "instruct"]),
    "shots without a training split": (["checkpoint=pico/step64", "task=gpt3nli", "shots=4"], ["gpt3nli", "shots=4"]),
    "limit 0": ([*PICO, "eval.limit=0"], ["eval.limit=0", "at least 1"]),
}


EVALUATE |= {
    "run and checkpoint": (["run=x", "checkpoint=pico/step64"], ["run=x", "contradicts checkpoint"]),
    "suite and task": (["suite=pico/nli", *PICO], ["suite=pico/nli", "contradicts task"]),
    "key of another script": (["stage=sft"], ["stage=sft", "evaluate.py has no stage"]),
    "n-gram of one word": ([*PICO, "contamination.ngram=1"], ["contamination.ngram=1", "at least 2"]),
    "run that is not there": (["run=nope", "study_dir=/tmp/no-such-study"], ["run=nope", "no finished run"]),
    "run outside of the study": (["run=../x", "study_dir=/tmp/no-such-study"], ["run=../x", "no finished run"]),
    "all of no runs": (["run=all", "study_dir=/tmp/no-such-study"], ["run=all", "no finished trained run"]),
}
STEP = "checkpoint=pico/step64"
PROBE: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "unknown probe": ([STEP, "probe=nope"], ["probe=nope", "gaussian"]),
    "no sizes": ([STEP, "probe.gammas=[]"], ["probe.gammas", "must not be empty"]),
    "size that is no number": ([STEP, "probe.gammas=[nan]"], ["probe.gammas=nan", "finite"]),
    "unknown tensors": ([STEP, "probe.tensors=[layer]"], ["probe.tensors=layer", "layer:N"]),
    "unknown text": ([STEP, "text=nope"], ["task=nope", "no such task"]),
    "text that is none": ([STEP, "text=pico/nli"], ["text=pico/nli", "no plain text"]),
    "unknown task": ([STEP, "tasks=[nope]"], ["task=nope", "no such task"]),
    "a line without an end": ([STEP, "probe=interpolate"], ["probe=interpolate", "needs run"]),
}
REPORT: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "no study": (["study_dir=/tmp/no-such-study"], ["/tmp/no-such-study", "no results"]),
    "no file": (["published.file=/no/such"], ["published.file=/no/such", "no such file"]),
    "unknown format of a table": (["published.format=xlsx"], ["published.format=xlsx", "tidy"]),
    "comparison without results": (["study_dir=/tmp/no-such-study", "compare=[a,b]"], ["no results"]),
    "answers of no run": (["study_dir=/tmp/no-such-study", "alpaca_eval=[a]"], ["run=a", "no finished run"]),
    "negative width": (["report.width=-1"], ["report.width=-1", "greater than 0"]),
    "unknown kind": (["report.format=ps"], ["report.format=ps", "paper"]),
    "group of another script": (["task=pico/nli"], ["task=pico/nli", "report.py has no task"]),
    "key of another script": (["checkpoint.repo=x"], ["checkpoint.repo=x", "report.py has no checkpoint"]),
    "a sweep of reports": (["-m", "report.format=page,paper"], ["leave -m out"]),
}


@pytest.mark.parametrize("name", PROBE)
def test_probe_refuses_bad_input_as_well(name: str, shell: Callable[..., Result]) -> None:
    words, parts = PROBE[name]
    check(shell("probe.py", *words, "logger=none"), parts)


@pytest.mark.parametrize("name", REPORT)
def test_report_refuses_bad_input_as_well(name: str, shell: Callable[..., Result]) -> None:
    words, parts = REPORT[name]
    check(shell("report.py", *words, "logger=none"), parts)


def test_a_chunk_that_is_none_is_one_message(shell: Callable[..., Result]) -> None:
    result = shell("train.py", *PICO, "chunk=/no/such")
    assert result.status == 1
    assert result.err.startswith("error: /no/such: no readable chunk")
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("name", EVALUATE)
def test_evaluate_refuses_bad_input_as_well(name: str, shell: Callable[..., Result]) -> None:
    words, parts = EVALUATE[name]
    check(shell("evaluate.py", *words), parts)


def test_everything_wrong_is_reported_together(shell: Callable[..., Result]) -> None:
    result = shell(
        "train.py", *PICO, "optimizer.lr=-1", "stage.epochs=0", "checkpoint.step=65", "eval.limit=0", "seed=-1"
    )
    check(result, ["5 problems"])
    for key in ("optimizer.lr=-1", "stage.epochs=0", "checkpoint.step=65", "eval.limit=0", "seed=-1"):
        assert len(lines_with(result.err, key)) == 1


def test_what_hydra_refuses_is_reported_together_with_what_we_refuse(shell: Callable[..., Result]) -> None:
    words = ("checkpoint=pico/step64", "task=pico/nlu", "optmizer.lr=1", "stage.epochs=many", "stage.batch_size=0")
    result = shell("train.py", *words)
    check(result, ["4 problems", "task=pico/nlu", "optmizer.lr=1", "stage.epochs=many", "stage.batch_size=0"])
    assert "pico/nli" in lines_with(result.err, "task=pico/nlu")[0]
    assert "optimizer.lr" in lines_with(result.err, "optmizer.lr=1")[0]


def test_the_bad_values_of_a_whole_sweep_are_reported_once_each(shell: Callable[..., Result]) -> None:
    result = shell("train.py", "-m", *PICO, "optimizer.lr=0,1e-3,-1", "stage.epochs=0,1", "seed=0,1")
    check(result, ["3 problems"])


def test_a_study_folder_that_is_a_file(tmp_path: Path, shell: Callable[..., Result]) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    check(shell("train.py", *PICO, f"study_dir={file}"), [f"study_dir={file}", "is a file"])
    check(shell("train.py", *PICO, f"study_dir={file}/deep/er"), [f"study_dir={file}/deep/er", "is a file"])
    check(shell("evaluate.py", *PICO, f"study_dir={file}"), [f"study_dir={file}", "is a file"])
    check(shell("report.py", f"study_dir={file}"), [f"study_dir={file}", "is a file"])
    assert file.read_text() == "precious"


def test_a_checkpoint_folder_without_weights(tmp_path: Path, shell: Callable[..., Result]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    words = ("checkpoint=path", f"checkpoint.path={folder}", "task=pico/nli", "logger=none")
    check(shell("train.py", *words), [f"checkpoint.path={folder}", "config.json"])
    (folder / "config.json").write_text("{}")
    check(shell("train.py", *words), [f"checkpoint.path={folder}", "safetensors"])


def test_a_value_that_only_looks_like_several_is_explained(shell: Callable[..., Result]) -> None:
    check(shell("train.py", *PICO[1:], "checkpoint=pico/step64,pico/step16"), ["several values need -m"])


def test_an_override_that_is_given_twice_is_told(shell: Callable[..., Result], tmp_path: Path) -> None:
    result = shell("train.py", *PICO, "checkpoint=pico/step128", "mode=plan", f"study_dir={tmp_path}")
    assert (result.status, result.err) == (0, "checkpoint is given twice: checkpoint=pico/step128 counts\n")
    assert "pico-step128" in result.out
    assert "pico-step64" not in result.out


def test_debug_adds_the_traceback(shell: Callable[..., Result]) -> None:
    result = shell("train.py", *PICO, "optimizer.lr=0", "debug=true")
    assert result.status == 2
    assert "Traceback (most recent call last)" in result.err
    assert re.search(r"^error: .*", result.err, flags=re.MULTILINE)


def test_a_hub_that_does_not_answer_is_one_message_with_the_ways_out(
    tmp_path: Path, shell: Callable[..., Result]
) -> None:
    result = shell("train.py", "checkpoint=step342k", "task=pico/nli", "logger=none", f"study_dir={tmp_path}/study")
    assert result.status == 1
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 6
    for part in ("allenai/OLMo-1B-hf", "checkpoint=pico/", "HF_ENDPOINT", "checkpoint=path"):
        assert part in result.err, result.err


def test_the_ladder_of_a_test_is_not_what_makes_these_fail(shell: Callable[..., Result], tmp_path: Path) -> None:
    """The same words without the mistake are accepted."""
    words = ("train.py", *LADDER, *PICO[1:], "checkpoint.step=8", "mode=plan", f"study_dir={tmp_path}/study")
    assert shell(*words).status == 0
    assert shell("train.py", *PICO, "mode=plan", f"study_dir={tmp_path}/study").status == 0
    assert not (tmp_path / "study").exists()
