from __future__ import annotations

import pytest

from pretune.analysis import reading as classes
from pretune.analysis.headline import build_headline
from pretune.analysis.reading import read_tasks
from synthetic_tables import PRIMARY, measurement, realistic_study, tabulate

NLI = {"pico/nli": ("accuracy", "sum")}


def _read(base, tuned=(), baseline=0.33, half=0.03):
    rows = []
    for index, value in enumerate(base):
        bounds = {"ci_low": value - half, "ci_high": value + half}
        rows.append(measurement(step=2**index, value=value, **bounds))
    for index, value in enumerate(tuned):
        bounds = {"ci_low": value - half, "ci_high": value + half}
        rows.append(measurement(step=2**index, state="tuned", value=value, **bounds))
    if baseline is not None:
        rows.append(measurement(step=1, scorer="baseline", value=baseline))
    return read_tasks(build_headline(tabulate(rows), NLI)).iloc[0]


def test_whole_study():
    reading = read_tasks(build_headline(realistic_study(), PRIMARY)).set_index("task")["reading"]
    assert reading["pico/choice"] == classes.PRETRAINING
    assert reading["pico/nli"] == classes.FINE_TUNING
    assert reading["pico/paraphrase"] == classes.FINE_TUNING
    assert reading["pico/chat"] == classes.BOTH


def test_learnt_in_pretraining_and_flat_from():
    row = _read([0.34, 0.60, 0.95, 0.96, 0.955], [0.4, 0.6, 0.94, 0.95, 0.96])
    assert row["reading"] == classes.PRETRAINING
    assert row["flat_from"] == "step4"
    assert row["flat_range"] == pytest.approx(1.0)
    assert row["base_rise"] == pytest.approx(61.5)


def test_needs_fine_tuning():
    row = _read([0.34, 0.35, 0.33], [0.40, 0.60, 0.80])
    assert row["reading"] == classes.FINE_TUNING
    assert row["gain_last"] == pytest.approx(47.0)
    assert row["tuned_rise"] == pytest.approx(40.0)
    assert row["base_above_baseline"] == pytest.approx(2.0)


def test_neither():
    assert _read([0.34, 0.35, 0.33], [0.34, 0.33, 0.35])["reading"] == classes.NEITHER


def test_gain_within_the_interval_is_undecided():
    assert _read([0.34, 0.35, 0.33], [0.40, 0.42, 0.45], half=0.2)["reading"] == classes.UNDECIDED


def test_without_a_baseline_nothing_needs_fine_tuning():
    assert _read([0.34, 0.35, 0.33], [0.40, 0.60, 0.80], baseline=None)["reading"] == classes.UNDECIDED


def test_one_checkpoint_has_no_trend():
    row = _read([0.9])
    assert row["reading"] == classes.UNDECIDED
    assert row["base_rise"] == 0.0


def test_tuned_gain_at_an_earlier_checkpoint_is_not_taken_for_the_last():
    row = _read([0.34, 0.35, 0.33], [0.40, 0.80])
    assert row["gain_last"] is None or row["gain_last"] != row["gain_last"]
    assert row["reading"] == classes.UNDECIDED


def test_losses_are_not_read():
    rows = [measurement(metric="loss", scorer="likelihood", value=2.0), measurement(metric="f1", scorer="x", value=0.1)]
    assert read_tasks(build_headline(tabulate(rows), {"pico/nli": ("loss", "likelihood")})).empty
