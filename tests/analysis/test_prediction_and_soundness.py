from __future__ import annotations

import numpy as np
import pytest
from planted import make_rows, make_steps

from pretune.analysis import soundness
from pretune.analysis.catalogue import run_analyses
from pretune.analysis.inputs import Inputs
from pretune.analysis.prediction import BETTER, EARLIER, NO_BETTER, OTHERS, TOGETHER
from synthetic_tables import measurement, tabulate

CHECKPOINTS = 10


def _study(rng, *, tasks=6, families=1, noise=0.01, informative=True, text=True):
    """Tuned scores that wander, and a probe that knows them up to ``noise`` (or knows nothing)."""
    rows = []
    steps = make_steps(CHECKPOINTS)
    for family in range(families):
        shared = rng.uniform(0.3, 0.8, CHECKPOINTS)
        place = {"family": f"f{family}"}
        for task in range(tasks):
            tuned = shared + rng.normal(0, noise, CHECKPOINTS)
            rows += make_rows(f"t{task}", [0.5] * CHECKPOINTS, steps=steps, **place)
            rows += make_rows(f"t{task}", tuned, steps=steps, state="tuned", **place)
        signal = shared if informative else rng.uniform(0, 1, CHECKPOINTS)
        for step, value in zip(steps, signal, strict=True):
            rows.append(measurement(**place, kind="probe", step=step, probe="gaussian", probe_variant="init",
                                    magnitude=0.1, metric="loss_increase", eval_task=None, scorer=None,
                                    eval_format=None, value=5 - 3 * value))  # fmt: skip
        for index, step in enumerate(steps):
            if text:
                rows.append(measurement(**place, step=step, eval_task="text", metric="loss", scorer="likelihood",
                                        value=4 - 0.2 * index))  # fmt: skip
    return run_analyses(Inputs(table=tabulate(rows), primary={}), ["prediction"])["prediction"].table


def test_a_probe_that_knows_the_score_beats_every_baseline():
    found = _study(np.random.default_rng(0))
    probe = found[found["predictor"] == "gaussian init 0.1 loss_increase"].set_index("learns_from")
    for source in (EARLIER, OTHERS):
        assert probe.loc[source, "verdict"] == BETTER
        assert probe.loc[source, "advantage_low"] > 0
        assert probe.loc[source, "error"] < 0.03
        assert probe.loc[source, "rank_correlation"] > 0.8
    assert probe.loc[OTHERS, "regret"] <= probe.loc[OTHERS, "regret_mean"]
    flat = found[found["predictor"] == "base score"]
    assert set(flat["verdict"]) == {NO_BETTER}
    assert TOGETHER in set(found["predictor"])


def test_a_probe_that_knows_nothing_is_no_better_than_baseline():
    found = _study(np.random.default_rng(1), families=16, tasks=3, informative=False, noise=0.1)
    claims = (found["verdict"] == BETTER).groupby(found["family"]).any()
    assert claims.sum() <= 4  # 16 families at 5 %
    assert (found["verdict"] == NO_BETTER).mean() > 0.9


def test_two_tasks_are_not_enough_to_claim_anything():
    found = _study(np.random.default_rng(2), tasks=2)
    assert set(found["verdict"]) == {"not enough data"}
    assert found["reason"].str.startswith("not enough data because").all()


def test_a_mean_predictor_has_no_rank_correlation_of_minus_one():
    found = _study(np.random.default_rng(3), informative=False)
    flat = found[(found["predictor"] == "base score") & (found["learns_from"] == OTHERS)].iloc[0]
    assert flat["error"] == pytest.approx(flat["error_mean"])
    assert flat["rank_correlation"] > -0.99


def test_without_text_there_is_no_perplexity_baseline():
    found = _study(np.random.default_rng(4), text=False)
    assert found["error_perplexity"].isna().all()
    assert set(found["predictor"]) == {"base score", "gaussian init 0.1 loss_increase", TOGETHER}
    assert BETTER in set(found["verdict"])


def _flags(rows):
    found = run_analyses(Inputs(table=tabulate(rows), primary={}), ["soundness"])["soundness"].table
    return dict(zip(found["eval_task"], found["flag"], strict=True)), found


def test_constant_gold_is_seen_where_nothing_can_have_been_learnt():
    steps = [1000, 18000, 738000]
    rows = make_rows("gold", [1.0, 0.99, 0.98], steps=steps) + make_rows("learnt", [0.5, 0.9, 0.99], steps=steps)
    rows += make_rows("late", [0.99], steps=[738000])
    flags, found = _flags(rows)
    assert flags == {"gold": soundness.CONSTANT_GOLD}
    assert found["severity"].tolist() == ["unsound"]


def test_far_below_chance_needs_both_size_and_certainty():
    rows = []
    for task, value in (("inverted", 0.24), ("unlucky", 0.45), ("lucky", 0.52)):
        rows += make_rows(task, [value] * 3)
        rows.append(measurement(step=1000, eval_task=task, scorer="baseline", value=0.5))
    assert _flags(rows)[0] == {"inverted": soundness.BELOW_CHANCE}


def test_near_identical_checkpoints_that_disagree_and_constant_answers():
    steps = [1000, 2000, 738_000, 738_020]
    rows = make_rows("a", [0.5, 0.6, 0.73, 0.88], steps=steps, state="tuned")
    rows += make_rows("b", [0.5, 0.6, 0.73, 0.74], steps=steps, state="tuned")
    rows += make_rows("c", [0.558, 0.558, 0.5581, 0.49], steps=steps)
    rows.append(measurement(step=1000, eval_task="c", scorer="baseline", value=0.558))
    flags, found = _flags(rows)
    assert flags == {"a": soundness.TWINS, "c": soundness.ONE_CLASS}
    assert found.set_index("eval_task").loc["a", "checkpoints"] == "step738000, step738020"
