"""probe.py: cells that are skipped, fail and are read like all others."""

from __future__ import annotations

import json

import pytest

from pretune.results import load
from support.studies import LADDER, Place, lines_with

PROBED = (*LADDER, "trainer=fp32", "eval.limit=8")
FAST = ("probe.gammas=[0.1,0.5]", "probe.seeds=2", "probe.critical_increase=0.05")


def test_probes_of_a_ladder_are_rows_of_the_table_and_are_not_made_twice(place: Place) -> None:
    words = ("-m", *PROBED, *FAST, "checkpoint.step=all", "probe=gaussian", "tasks=[pico/nli]")
    result = place.probe(*words)
    assert result.status == 0, result.text
    assert result.probed == (3, 0)
    assert len(lines_with(result.out, "loss_increase", "probed")) == 3
    table = load(place.study)
    assert set(table["kind"]) == {"probe"}
    assert set(table["step"]) == {0, 4, 8}
    damage = table[(table["metric"] == "loss_increase")]
    assert len(damage) == 3 * 2 * 2
    assert set(damage["magnitude"]) == {0.1, 0.5}
    assert set(damage["probe_seed"]) == {0, 1}
    assert ((damage["ci_low"] <= damage["value"]) & (damage["value"] <= damage["ci_high"])).all()
    assert set(table["probe_variant"]) == {"init"}
    assert {"accuracy_drop", "solution_density", "critical_noise", "perplexity_increase"} < set(table["metric"])
    assert set(table[table["metric"] == "accuracy"]["eval_task"]) == {"pico/nli"}
    run = json.loads((place.runs("probe-*step8*")[0] / "run.json").read_text())
    assert run["facts"]["init_source"] == "empirical, step0"
    assert place.probe(*words).probed == (0, 3)
    more = place.probe("-m", *PROBED, *FAST, "checkpoint.step=4,8", "probe=gaussian", "probe.tensors=[mlp]")
    assert more.probed == (2, 0)


def test_base_and_tuned_weights_under_every_other_probe(copied: Place) -> None:
    base = copied.probe(
        "-m", *PROBED, "checkpoint.step=8", "probe=quantize,representation,sharpness,format", "tasks=[pico/nli]",
        "eval.limit=30", "probe.folds=2", "probe.samples=2", "probe.iterations=3", "probe.texts=4",
    )  # fmt: skip
    assert base.status == 0, base.text
    assert base.probed == (4, 0)
    assert lines_with(base.out, "accuracy_spread", "probed")
    (chosen,) = copied.runs("train-*step8*lr0.001*")
    line = copied.probe(f"run={chosen.name}", "trainer=fp32", "eval.limit=8", "probe=interpolate")
    assert line.status == 0, line.text
    table = load(copied.study)
    line_rows = table[(table["probe"] == "interpolate") & (table["metric"] == "loss")].set_index("magnitude")
    assert set(line_rows["state"]) == {"tuned"}
    assert set(line_rows["lr"]) == {1e-3}
    untouched = table[(table["probe"] == "interpolate") & (table["metric"] == "loss_increase")]
    assert float(untouched[untouched["magnitude"] == 0]["value"].iloc[0]) == 0.0
    assert set(table[table["probe"].notna()]["probe"]) == {
        "quantize",
        "representation",
        "sharpness",
        "interpolate",
        "format",
    }
    again = copied.probe("run=all", "trainer=fp32", "eval.limit=8", "probe=interpolate")
    assert again.probed == (5, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("probe.gammas=[-1]",), "probe.gammas=-1.0: must be greater than 0"),
        (("probe.tensors=[atention]",), "probe.tensors=atention: did you mean attention"),
        (("probe=interpolate",), "needs run=RUN_ID"),
        (("probe=gausian",), "gaussian"),
        (("run=train-nothing",), "train-nothing"),
        (("tasks=[pico/summary]",), "answer=generation is not measured by probes"),
        (("text=pico/nli",), "is no plain text"),
        (("probe=representation", "probe.reference_step=3"), "probe.reference_step=3: the family has no such step"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_error_and_nothing_is_started(place: Place, words: tuple[str, ...], message: str) -> None:
    weights = () if words[0].startswith("run=") else (*LADDER, "checkpoint.step=8")
    result = place.probe(*weights, "trainer=fp32", *words)
    assert result.status == 2, result.text
    assert message in result.err
    assert "Traceback" not in result.text
    assert not place.runs()


def test_runs_without_kept_weights_fail_with_advice(place: Place) -> None:
    trained = place.train(
        *LADDER, "checkpoint.step=8", "trainer=fp32", "logger=none", "task=pico/nli", "task.train_rows=32",
        "task.validation_rows=8", "eval.limit=8", "eval.relations=[]", "keep_model=none",
    )  # fmt: skip
    assert trained.status == 0, trained.text
    result = place.probe("run=all", "trainer=fp32", "eval.limit=8", "probe=interpolate")
    assert result.status == 1
    assert "its weights were not kept" in result.text
    assert len(place.failures()) == 1
