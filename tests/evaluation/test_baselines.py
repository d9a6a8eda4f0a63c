from __future__ import annotations

import pytest

from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.errors import DataError
from pretune.evaluation.baselines import first_sentence, most_typical, trivial_baseline
from pretune.evaluation.metrics import rouge_l

FORMAT = Format(name="default", templates={"x": Template(prompt="{document}\nSummary:", body="document")})


def task(answer: str, metric: str = "accuracy") -> Task:
    return Task(name="t", family="x", answer=answer, metric=metric)


def options(golds, count=3):
    names = tuple("abcdef"[:count])
    return [Example(id=str(i), options=names, gold=gold, target=names[gold]) for i, gold in enumerate(golds)]


def test_majority_class():
    baseline = trivial_baseline(task("classification"), FORMAT, options([0, 1, 1, 2]), [])
    assert baseline.values == (0.0, 1.0, 1.0, 0.0)
    assert baseline.metric == "accuracy"


def test_choice_takes_the_better_of_position_and_guessing():
    assert trivial_baseline(task("choice"), FORMAT, options([0, 1, 1, 1], 2), []).mean == 0.75
    even = trivial_baseline(task("choice"), FORMAT, options([0, 1, 2], 3), [])
    assert even.mean == pytest.approx(1 / 3)


def test_generation_copies_the_first_sentence():
    examples = [Example(id="0", fields={"document": "A bird sat. It flew away."}, target="a bird sat")]
    baseline = trivial_baseline(task("generation", "rouge_l"), FORMAT, examples, ["nothing alike"] * 3)
    assert baseline.rule == "first sentence"
    assert baseline.values == (1.0,)


def test_generation_answers_with_a_typical_training_target():
    examples = [Example(id="0", fields={"document": "Foo bar."}, target="what will she do next ?")]
    targets = ["how old", "what will he do next ?", "what will they do next ?", "why"]
    baseline = trivial_baseline(task("generation", "rouge_l"), FORMAT, examples, targets)
    assert baseline.rule == "training target"
    assert baseline.values == (rouge_l(targets[1], examples[0].target),)
    assert most_typical("rouge_l", tuple(targets)) == targets[1]


def test_generation_without_training_targets_or_body():
    bare = Format(name="bare", templates={"x": Template(prompt="{document}")})
    examples = [Example(id="0", fields={"document": "Foo bar."}, target="foo")]
    assert trivial_baseline(task("generation", "rouge_l"), bare, examples, []).values == (0.0,)
    with pytest.raises(DataError, match="accuracy"):
        trivial_baseline(task("generation"), bare, examples, [])


def test_plain_text_has_none():
    assert trivial_baseline(task("language", "loss"), FORMAT, [Example(id="0", target="text")], []) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A b. C d.", "A b."),
        ("one . two .", "one ."),
        ("v1.5 is out! ok", "v1.5 is out!"),
        ("line\nnext", "line"),
        ("", ""),
    ],
)
def test_first_sentence(text, sentence):
    assert first_sentence(text) == sentence
