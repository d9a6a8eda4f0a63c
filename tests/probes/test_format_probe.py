"""The spread over wordings: known values, what chance gives, and real prompts."""

from __future__ import annotations

import numpy as np
import pytest

from pretune.config.probing import Probe
from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.errors import UsageError
from pretune.probes.format import measure_spread, probe_format, spread_by_chance
from pretune.probes.meters import make_meter
from pretune.probes.subject import Subject
from support.models import SENTENCES, make_model, make_tokenizer

TASK = Task(name="nli", family="nli", labels={"0": "yes", "1": "no"})
ROWS = [
    Example(id=str(number), fields={"text": text}, options=("cat", "dog"), gold=number % 2, target="cat")
    for number, text in enumerate(SENTENCES[:12])
]


def make_subject(**prompts):
    model, tokenizer = make_model(), make_tokenizer("word")
    formats = {name: Format(name=name, templates={"nli": Template(prompt=prompt)}) for name, prompt in prompts.items()}
    return Subject(
        model=model,
        tokenizer=tokenizer,
        probe=Probe(name="format", formats=("a", "b")),
        meters=[make_meter(model, tokenizer, TASK, each, ROWS) for each in formats.values()],
        wordings=list(formats),
    )


def test_spread_is_the_difference_of_the_best_and_the_worst_mean():
    table = np.array([[1.0] * 8 + [0.0] * 2, [1.0] * 5 + [0.0] * 5, [0.0] * 9 + [1.0]])
    value, low, high = measure_spread(table)
    assert value == pytest.approx(0.7)
    assert low <= value <= high


def test_wordings_that_do_not_matter_have_the_spread_of_chance():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        table = (rng.random((6, 200)) < 0.6).astype(float)
        value = float(np.ptp(table.mean(axis=1)))
        _, low, high = spread_by_chance(table)
        inside += low <= value <= high
    assert 34 <= inside <= 40, "95 % of 40"


def test_equal_answers_have_no_spread_by_chance():
    table = np.tile((np.arange(50) % 3 == 0).astype(float), (4, 1))
    assert measure_spread(table) == (0.0, 0.0, 0.0)
    assert spread_by_chance(table) == (0.0, 0.0, 0.0)


def test_scores_and_spreads_are_rows_by_kind_of_wording():
    subject = make_subject(**{"a": "{text} so", "b": "well {text}", "paraphrase-1": "{text}"})
    findings = probe_format(subject)
    scores = {row["eval_format"]: row for row in findings.rows if row["metric"] == "accuracy"}
    assert {name: row["probe_variant"] for name, row in scores.items()} == {
        "a": "format", "b": "format", "paraphrase-1": "paraphrase",
    }  # fmt: skip
    for name, meter in zip(subject.wordings, subject.meters, strict=True):
        assert scores[name]["value"] == meter.read(subject.model).value
    spreads = {row["probe_variant"]: row["value"] for row in findings.rows if row["metric"] == "accuracy_spread"}
    values = {name: row["value"] for name, row in scores.items()}
    assert spreads == {
        "all": pytest.approx(max(values.values()) - min(values.values())),
        "format": pytest.approx(abs(values["a"] - values["b"])),
    }
    assert findings.facts["wordings"] == {"nli": ["a", "b", "paraphrase-1"]}


def test_one_wording_has_no_spread():
    with pytest.raises(UsageError, match="one wording only"):
        probe_format(make_subject(a="{text}"))
