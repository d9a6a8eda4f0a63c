"""What the analyses say of tables that others published, against the numbers in their papers."""

from __future__ import annotations

import pytest

from pretune.analysis import Inputs, run_analyses
from pretune.analysis.soundness import BELOW_CHANCE, CONSTANT_GOLD, TWINS
from pretune.published import read_published


@pytest.fixture(scope="module")
def study(published):
    found = read_published(published / "amuro_char_all_perf.csv", "amuro_char")
    inputs = Inputs(table=found.table, primary=found.primary)
    return inputs, {name: outcome.table for name, outcome in run_analyses(inputs).items()}


@pytest.mark.parametrize(
    ("trained", "evaluated", "ratio"),
    [("classification", "generation", -61.46), ("generation", "classification", 0.3)],
)
def test_forgetting_between_kinds_of_tasks(study, trained, evaluated, ratio):
    table = study[1]["exchange"]
    whole = table[table["checkpoint"].isna() & (table["relation"] == "cross_task")]
    row = whole[(whole["trained_on"] == trained) & (whole["evaluated_on"] == evaluated)].iloc[0]
    assert row["cells"] == 32
    assert row["ratio"] == pytest.approx(ratio, abs=0.1)


def test_the_unstable_ratio_is_said_to_be_unstable(study):
    table = study[1]["exchange"]
    row = table[table["checkpoint"].isna() & (table["trained_on"] == "classification")
                & (table["evaluated_on"] == "generation") & (table["relation"] == "cross_task")].iloc[0]  # fmt: skip
    assert row["unstable"] > 0
    assert "near zero" in row["warning"]
    assert row["difference_low"] < row["difference"] < row["difference_high"] < 0


def test_mnli_is_flat_before_and_rises_after_fine_tuning(study):
    inputs, tables = study
    headline = inputs.headline
    mnli = headline[(headline["train_task"] == "mnli") & (headline["eval_task"] == "mnli")]
    assert len(mnli) == 8
    assert set(mnli["shots"]) == {4}
    assert mnli["base"].round(2).between(0.33, 0.35).all()
    assert mnli["tuned"].iloc[0] == pytest.approx(0.354, abs=0.001)
    assert mnli["tuned"].iloc[-1] == pytest.approx(0.79, abs=0.001)
    classes = tables["dichotomy"].set_index("eval_task")["class"]
    assert classes["mnli"] == "needs fine-tuning"
    latent = tables["latent_gains"].set_index("eval_task").loc["mnli"]
    assert latent["latent"] == "yes"
    assert (latent["turning_low_step"], latent["turning_high_step"]) == (pytest.approx(18000), pytest.approx(342000))


def test_unsound_scores_are_flagged(study):
    flags = study[1]["soundness"]
    base = flags[flags["state"] == "base"]
    assert {"qqp", "stsb"} <= set(base.loc[base["flag"] == CONSTANT_GOLD, "eval_task"])
    assert set(base.loc[base["flag"] == BELOW_CHANCE, "eval_task"]) == {"rte"}
    assert not {"mnli", "mnli_mismatched", "gpt3nli"} & set(base["eval_task"])
    twins = flags[(flags["flag"] == TWINS) & (flags["train_task"] == "paws")]
    assert {"paws", "qqp", "stsb"} <= set(twins["eval_task"])


def test_noise_of_near_identical_checkpoints(study):
    noise = study[1]["noise"]
    own = noise[(noise["train_task"] == "paws") & (noise["eval_task"] == "paws")].iloc[0]
    assert own["twins"] == "step738000 and main"
    assert own["twin_sd"] == pytest.approx((0.878125 - 0.732061) / 2**0.5, abs=1e-4)


def test_pythia_learns_sciq_in_pretraining(published):
    found = read_published(published / "pythia_v1_evals.parquet", "pythia")
    tables = run_analyses(Inputs(table=found.table, primary=found.primary), ["trends", "dichotomy"])
    trends = tables["trends"].table.set_index("eval_task")
    assert trends.loc["sciq", "trend"] == "improves"
    assert trends.loc["logiqa", "trend"] == "none shown"
    assert tables["dichotomy"].table.set_index("eval_task").loc["sciq", "class"] == "learnt in pre-training"


def test_own_and_published_results_are_never_pooled(published):
    import pandas as pd

    found = read_published(published / "pythia_v1_evals.parquet", "pythia")
    own = found.table.assign(family="pythia-160m", value=0.9)
    inputs = Inputs(table=pd.concat([found.table, own], ignore_index=True), primary=found.primary)
    families = inputs.trends.groupby("family")["last"].max()
    assert families["pythia-160m"] == 0.9
    assert families["pythia-160m (pythia)"] < 0.8
