from __future__ import annotations

import numpy as np
import pytest
from planted import ITEM_SE, make_axis, make_families, make_inputs, not_above

from pretune.analysis.catalogue import run_analyses
from pretune.analysis.dichotomy import BOTH, FINE_TUNING, NEITHER, PRETRAINING, UNDECIDED, classify_tasks
from pretune.analysis.gains import find_latent_gains, measure_gains

GROWN = np.clip(np.linspace(0, 1.6, 12), 0, 1)
TRUTHS = {
    PRETRAINING: (0.3 + 0.5 * GROWN, 0.3 + 0.5 * GROWN),
    FINE_TUNING: (0.3 + 0 * GROWN, 0.5 + 0.35 * GROWN),
    BOTH: (0.3 + 0.25 * GROWN, 0.5 + 0.35 * GROWN),
    NEITHER: (0.3 + 0 * GROWN, 0.3 + 0 * GROWN),
}


def _classify(inputs):
    return classify_tasks(inputs.headline, inputs.noise, inputs.trends).set_index("eval_task")


def test_planted_classes_are_recovered():
    rng = np.random.default_rng(0)
    truth = {f"{name} {i}": name for name in TRUTHS for i in range(12)}
    curves = {
        task: dict(zip(("base", "tuned"), (c + rng.normal(0, ITEM_SE, 12) for c in TRUTHS[name]), strict=True))
        for task, name in truth.items()
    }
    found = _classify(make_inputs(curves, baseline=0.3))
    right = [found.loc[task, "class"] == name for task, name in truth.items()]
    wrong = [found.loc[task, "class"] not in (name, UNDECIDED) for task, name in truth.items()]
    assert np.mean(right) >= 0.95
    assert not_above(sum(wrong), len(wrong), 0.01)


def test_noise_is_undecided():
    rng = np.random.default_rng(1)
    curves = {f"t{i}": {"base": rng.uniform(0.2, 0.8, 9), "tuned": rng.uniform(0.2, 0.8, 9)} for i in range(60)}
    found = _classify(make_inputs(curves, baseline=0.5))
    assert not_above(int((found["class"] != UNDECIDED).sum()), 60, 0.05)
    assert found.loc[found["class"] == UNDECIDED, "because"].str.contains("unclear").all()


def test_evidence_stands_beside_the_class():
    inputs = make_inputs({"t": {"base": TRUTHS[FINE_TUNING][0], "tuned": TRUTHS[FINE_TUNING][1]}}, baseline=0.3)
    row = _classify(inputs).loc["t"]
    assert (row["rise"], row["gain"], row["above"]) == (pytest.approx(0), pytest.approx(0.55), pytest.approx(0))
    assert row["gain_units"] == pytest.approx(0.55 / np.hypot(row["base_noise_sd"], row["tuned_noise_sd"]))
    assert row["end"].split(", ")[0] in set(inputs.headline["checkpoint"])
    assert row["tuned_runs"].count("tuned") == 0
    assert row["tuned_runs"].split()[0] in set(inputs.table["run_id"])


def test_high_from_the_start_is_undecided_and_says_so():
    row = _classify(make_inputs({"t": {"base": [0.9] * 6, "tuned": [0.9] * 6}}, baseline=0.5)).loc["t"]
    assert row["class"] == UNDECIDED
    assert "already above the baseline" in row["because"]


def test_without_baseline_a_task_is_never_learnt_by_neither():
    row = _classify(make_inputs({"t": {"base": [0.3] * 6, "tuned": [0.3] * 6}})).loc["t"]
    assert row["class"] == UNDECIDED
    assert "level above chance is unknown" in row["because"]


def test_false_gains_after_correction_are_rare():
    rng = np.random.default_rng(2)
    inputs = make_families(lambda: 0.5 + rng.normal(0, ITEM_SE, 8), families=50, tasks=3, states=("base", "tuned"))
    gains = measure_gains(inputs.headline, inputs.noise)
    alarms = (gains["p_holm"] <= 0.05).groupby(gains["family"]).any()
    assert len(alarms) == 50
    assert not_above(int(alarms.sum()), 50, 0.05)


def test_latent_gain_and_its_turning_point():
    rng = np.random.default_rng(3)
    x = make_axis(12)
    turn = x[6]
    curves = {}
    for i in range(12):
        noise = rng.normal(0, ITEM_SE, (2, 12))
        tuned = 0.85 - 0.12 * np.maximum(turn - x, 0) + noise[1]
        curves[f"latent{i}"] = {"base": 0.3 + noise[0], "tuned": tuned}
        curves[f"open{i}"] = {"base": tuned - 0.05 + noise[0], "tuned": tuned}
        curves[f"flat{i}"] = {"base": 0.3 + noise[0], "tuned": 0.6 + noise[1]}
    inputs = make_inputs(curves)
    found = find_latent_gains(inputs.headline, inputs.noise, inputs.trends).set_index("eval_task")
    for name, wanted in (("latent", "yes"), ("open", "no"), ("flat", "no")):
        assert (found.loc[found.index.str.startswith(name), "latent"] == wanted).mean() >= 0.95
    latent = found[found.index.str.startswith("latent")]
    tokens = 2**turn
    inside = (latent["turning_low_tokens"] <= tokens) & (tokens <= latent["turning_high_tokens"])
    assert inside.mean() >= 0.85


def test_every_analysis_returns_the_columns_it_documents():
    inputs = make_inputs({"t": {"base": TRUTHS[BOTH][0], "tuned": TRUTHS[BOTH][1]}}, baseline=0.3)
    for outcome in run_analyses(inputs).values():
        assert list(outcome.table.columns) == list(outcome.analysis.columns)
