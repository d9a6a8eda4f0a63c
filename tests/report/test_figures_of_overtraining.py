"""The figures of the questions about overtraining, from a table in which every answer is planted."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pretune.report import write_report
from pretune.report.charts import Figure
from pretune.report.dots import Dots
from pretune.report.panels import Panel
from pretune.report.results import analyse
from pretune.report.writing import draw_report
from synthetic_tables import measurement, tabulate

STEPS = (16, 32, 64, 128, 256, 512, 1024, 2048)
RATES = (1e-4, 1e-3, 1e-2)
GAMMAS = (0.1, 0.4)
OWN_RUN = Path(__file__).parents[2] / "docs" / "results" / "overtraining" / "results.csv"


def _probes(place: int, step: int) -> list[dict]:
    noise = np.random.default_rng(step)
    rows = []
    for gamma in (0.0, *GAMMAS):
        for seed in range(1 if gamma == 0 else 3):
            rise = gamma * place + (float(noise.normal(0, 0.01)) if gamma else 0.0)
            loss = (
                4.0
                - 0.1 * place
                + float(noise.normal(0, 0.01)) * (gamma > 0)
                + (gamma * (place - 3) ** 2 * 0.3 if gamma else 0.0)
            )
            shared = {
                "kind": "probe", "step": step, "eval_task": "pico/text", "eval_format": None, "shots": None,
                "scorer": "likelihood", "probe": "gaussian", "probe_variant": "init", "magnitude": gamma,
                "probe_seed": seed, "run_id": f"probe-{step}",
            }  # fmt: skip
            rows.append(measurement(**shared, metric="loss", value=loss))
            if gamma:
                rows.append(measurement(**shared, metric="loss_increase", value=rise))
    sharp = {"kind": "probe", "step": step, "eval_task": "pico/text", "eval_format": None, "shots": None,
             "probe": "sharpness", "run_id": f"sharp-{step}", "scorer": None}  # fmt: skip
    rows.append(measurement(**sharp, metric="top_eigenvalue", value=1.0 + place, ci_low=None, ci_high=None))
    return rows


def _tuning(place: int, step: int) -> list[dict]:
    rows = []
    text = 4.0 - 0.1 * place
    rows.append(measurement(step=step, eval_task="pico/text", eval_format=None, metric="loss", scorer="likelihood",
                            value=text))  # fmt: skip
    for number, task in enumerate(("pico/nli", "pico/chat", "pico/question")):
        rows.append(measurement(step=step, eval_task=task, value=0.3))
        rows.append(measurement(step=step, eval_task=task, scorer="baseline", value=0.33, ci_low=None, ci_high=None))
        for index, lr in enumerate(RATES):
            best = 2 - place // 3  # the best rate falls
            tuning = {"state": "tuned", "train_task": task, "lr": lr, "step": step}
            score = 0.5 + 0.02 * place + 0.01 * number - 0.04 * abs(index - best)
            loss = 2.0 - score
            rows.append(measurement(**tuning, eval_task=task, value=score))
            rows.append(measurement(**tuning, eval_task=task, relation="validation", eval_split="train", value=score))
            rows.append(measurement(**tuning, kind="train", eval_task=None, eval_format=None, shots=None, relation=None,
                                    metric="validation_loss", scorer="likelihood", value=loss))  # fmt: skip
            rise = 0.05 * 4**index * (1 + 0.2 * place)
            rows.append(measurement(**tuning, eval_task="pico/text", eval_format=None, relation="pretraining",
                                    metric="loss", scorer="likelihood", value=text + rise))  # fmt: skip
    return rows


@functools.cache
def _planted() -> pd.DataFrame:
    rows = [row for place, step in enumerate(STEPS) for row in (*_probes(place, step), *_tuning(place, step))]
    for step in STEPS:  # a constant gold label
        rows.append(measurement(step=step, eval_task="broken", value=1.0, ci_low=1.0, ci_high=1.0))
    return tabulate(rows)


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    _, sections = draw_report(analyse(_planted(), {}))
    return {figure.name: figure for section in sections for figure in section.figures}


def _panel(figures: dict[str, Figure], name: str) -> Panel:
    chart = figures[name].chart
    assert isinstance(chart, Panel)
    return chart


def test_damage_is_drawn_per_size_with_intervals_its_verdict_and_the_noise_floor(figures):
    panel = _panel(figures, "sensitivity-gaussian-init-pico-text-loss-increase")
    assert [curve.name for curve in panel.curves] == ["γ 0.1: more sensitive", "γ 0.4: more sensitive"]
    for curve, gamma in zip(panel.curves, GAMMAS, strict=True):
        assert [point.value for point in curve.points] == pytest.approx([gamma * p for p in range(8)], abs=0.03)
        assert all(point.low < point.value < point.high for point in curve.points)
        assert all(point.runs for point in curve.points)
    assert panel.curves[0].colour != panel.curves[1].colour
    assert panel.about_zero
    assert panel.floor is not None
    rates = _panel(figures, "sensitivity-fine-tuning-pico-nli-pico-text-loss")
    assert [curve.label for curve in rates.curves] == ["lr 1e-4", "lr 1e-3", "lr 1e-2"]
    assert [curve.points[-1].value for curve in rates.curves] == pytest.approx([0.12, 0.48, 1.92])


def test_the_same_size_has_the_same_colour_in_all_figures(figures):
    disturbed = {curve.name.partition(":")[0]: curve.colour
                 for curve in _panel(figures, "inflection-pico-text-loss-gaussian-init").curves}  # fmt: skip
    for curve in _panel(figures, "sensitivity-gaussian-init-pico-text-loss-increase").curves:
        assert disturbed[curve.name.partition(":")[0]] == curve.colour


def test_the_best_checkpoint_of_a_curve_is_marked_with_its_verdict(figures):
    panel = _panel(figures, "inflection-pico-text-loss-gaussian-init")
    undisturbed, *_, strong = panel.curves
    assert undisturbed.name.startswith("undisturbed: no decline shown")
    assert strong.name.startswith("γ 0.4: worsens after its peak (p")
    (marked,) = (point for point in strong.points if point.caret)
    assert (marked.checkpoint, marked.caret) == ("step128", "filled")
    assert strong.downwards
    assert panel.span is not None
    places = [point.checkpoint for point in strong.points]
    assert places.index(panel.span[0]) <= places.index("step128") <= places.index(panel.span[1])
    tuned = next(curve for curve in _panel(figures, "inflection-pico-nli-accuracy").curves if curve.state == "tuned")
    assert [point.caret for point in tuned.points if point.caret] == ["open"]
    assert 'class="caret filled' in figures["inflection-pico-text-loss-gaussian-init"].drawing


def test_best_rates_stand_at_rates_of_the_grid_and_the_edge_is_small(figures):
    panel = _panel(figures, "rates")
    assert panel.axis.labels == ("1e-4", "1e-3", "1e-2")
    curve = panel.curves[0]
    assert "decreasing" in curve.name or "undecided" in curve.name
    assert [2**point.value for point in curve.points][:3] == pytest.approx([1e-2] * 3)
    assert [point.minor for point in curve.points] == [True] * 3 + [False] * 3 + [True] * 2
    inner = curve.points[4]
    assert (2**inner.low, 2**inner.high) == pytest.approx((1e-4, 1e-2))


def test_forgetting_at_equal_loss_and_the_fronts_of_the_rates(figures):
    matched = _panel(figures, "matched-pico-text")
    table = figures["matched-pico-text"].data
    assert {curve.label for curve in matched.curves} == {"pico/nli", "pico/chat", "pico/question"}
    shown = [point.value for point in matched.curves[0].points]
    own = table[table["train_task"] == matched.curves[0].label].drop_duplicates("checkpoint")
    assert shown == pytest.approx(own["matched_forgetting"].tolist())
    front = _panel(figures, "front-pico-nli-pico-text")
    assert 2 <= len(front.curves) <= 5
    assert front.span == ("τ", "τ")
    for curve in front.curves:
        rises = [point.value for point in curve.points]
        assert rises == sorted(rises)
        places = [front.ladder.places[point.checkpoint] for point in curve.points]
        unbeaten = [not any(a < x and b < y for a, b in zip(places, rises, strict=True))
                    for x, y in zip(places, rises, strict=True)]  # fmt: skip
        assert [not point.minor for point in curve.points] == unbeaten


def test_arms_are_drawn_about_the_reference_with_intervals_both_ways(figures):
    panel = _panel(figures, "mitigation-pico-nli-pico-text")
    points = [point for curve in panel.curves for point in curve.points]
    (reference,) = (point for point in points if point.caret)
    assert reference.value == 0
    assert len(points) == len(RATES)
    for point in points:
        if point is not reference:
            assert point.across is not None
            left, right = point.across
            assert left < panel.ladder.places[point.checkpoint] < right
            assert point.low < point.value < point.high


def test_arms_without_a_text_are_compared_by_their_score_alone():
    rows = _planted()
    rows = rows[~(rows["eval_task"] == "pico/text").fillna(False)]
    _, sections = draw_report(analyse(rows, {}))
    drawn = {figure.name: figure.chart for section in sections for figure in section.figures}
    chart = drawn["arms-pico-nli"]
    assert isinstance(chart, Dots)
    assert chart.rows == ("lr 1e-2", "lr 1e-3", "lr 1e-4")
    assert [point.value for point in chart.curves[0].points] == pytest.approx([-8, -4, 0], abs=0.01)
    assert "the reference" in chart.curves[0].points[-1].hover


def test_predictors_stand_beside_their_baselines(figures):
    chart = figures["prediction-regret-earlier"].chart
    assert isinstance(chart, Dots)
    table = figures["prediction-regret-earlier"].data
    names = {curve.name: curve for curve in chart.curves}
    assert {"baseline: latest checkpoint", "baseline: lowest perplexity", "baseline: mean"} <= set(names)
    mean = {point.checkpoint: point.value for point in names["baseline: mean"].points}
    for row in table.to_dict("records"):
        if row["predictor"].replace("_", " ") in mean:
            assert mean[row["predictor"].replace("_", " ")] == pytest.approx(row["regret_mean"] * 100)
    assert chart.floor is not None


def test_flagged_scores_stand_beside_what_is_expected(figures):
    chart = figures["soundness"].chart
    assert isinstance(chart, Dots)
    assert "broken, base" in chart.rows
    point = next(p for curve in chart.curves for p in curve.points if p.checkpoint == "broken, base")
    assert point.value == 100
    assert "constant gold label" in point.hover


def test_probes_that_are_no_damage_have_figures_of_their_own(figures):
    panel = _panel(figures, "probe-sharpness-top-eigenvalue-pico-text-base")
    assert [point.value for point in panel.curves[0].points] == pytest.approx(np.arange(1.0, 9.0))


def test_wordings_that_a_probe_scored_are_curves_of_their_own_and_no_seeds():
    shared = {"kind": "probe", "probe": "format", "probe_variant": "format", "magnitude": None, "metric": "accuracy"}
    rows = [measurement(**shared, step=step, eval_format=name, value=0.5 + 0.1 * number)
            for step in (1, 2) for number, name in enumerate(("default", "io"))]  # fmt: skip
    rows += [measurement(**(shared | {"metric": "accuracy_spread", "probe_variant": "all"}), step=step,
                         eval_format=None, value=0.1) for step in (1, 2)]  # fmt: skip
    results = analyse(tabulate(rows), {})
    scores = results.curves[results.curves["metric"] == "accuracy"]
    assert set(scores["probe_variant"]) == {"format: default", "format: io"}
    assert (scores["seeds"] == 1).all()
    _, sections = draw_report(results)
    drawn = {figure.name: figure.chart for section in sections for figure in section.figures}
    spread = drawn["probe-format-accuracy-spread-pico-nli-base"]
    assert isinstance(spread, Panel)
    assert [point.value for point in spread.curves[0].points] == pytest.approx([10, 10])


def test_every_chart_is_drawn_inside_its_picture(figures):
    for name, figure in figures.items():
        numbers = [float(x) for x in re.findall(r' (?:x|cx|x1|x2)="(-?[0-9.]+)"', figure.drawing)]
        assert min(numbers) >= 0, name
        assert max(numbers) <= figure.chart.width + 0.5, name
        assert not re.search(r'"-?(nan|inf)"', figure.drawing), name


def test_the_controlled_run_of_the_documentation_draws_what_it_says(tmp_path):
    files = write_report(pd.read_csv(OWN_RUN), tmp_path, title="Overtraining", primary={})
    text = files.figures["inflection-heldout-loss-gaussian-init"].read_text(encoding="utf-8")
    assert 'class="caret filled' in text
    damage = pd.read_csv(files.figures["sensitivity-gaussian-init-heldout-loss-increase"].with_suffix(".csv"))
    last = damage[(damage["magnitude"] == 0.4) & (damage["checkpoint"] == "step5250")].iloc[0]
    assert last["damage"] == pytest.approx(0.6502, abs=5e-4)
    assert last["damage_low"] < last["damage"] < last["damage_high"]
    assert not math.isnan(last["tokens"])
