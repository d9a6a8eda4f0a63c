from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.data.rendering import render
from pretune.evaluation.prompting import render_fitting
from support.models import SENTENCES, make_encoder

TASK = Task(name="t", family="f", repo="r", label="l", labels={"0": "yes", "1": "no"})
FORMAT = Format(name="default", templates={"f": Template(prompt="{text} :", body="text")})
TEXTS = [*SENTENCES[:8], "☃ é 漢字 ", "x", " ".join(SENTENCES[8:11])]


def example(number: int, text: str, options=("yes", "no")) -> Example:
    return Example(id=str(number), fields={"text": text}, options=options, gold=0, target=options[0])


ROWS = [example(number, text) for number, text in enumerate(TEXTS)]


def length(encoder, prompt, reserve: int = 0) -> int:
    count = lambda text: len(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    longest = max(count(prompt.text + completion) for completion in prompt.completions)
    return len(encoder.bos) + max(longest, count(prompt.text) + reserve)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(range(len(ROWS))), min_size=1, max_size=4),
    st.lists(st.sampled_from(range(len(ROWS))), max_size=4),
    st.integers(20, 120),
    st.sampled_from([0, 5, 30]),
    st.booleans(),
    st.sampled_from(["bpe", "metaspace"]),
)
def test_as_many_shots_stay_as_fit_and_the_first_go_first(wanted, drawn, room, reserve, own, kind):
    encoder = make_encoder(kind, max_length=room)
    examples, common = [ROWS[i] for i in wanted], [ROWS[i] for i in drawn]
    before = [common[index % (len(common) + 1) :] for index in range(len(examples))] if own else common
    if own and not any(before):
        return
    prompts, dropped = render_fitting(encoder, examples, task=TASK, format_=FORMAT, shots=before, reserve=reserve)
    for index, (prompt, lost) in enumerate(zip(prompts, dropped, strict=True)):
        shots = before[index] if own else common
        assert prompt == render(examples[index], FORMAT, TASK, shots=shots[lost:])
        assert lost == len(shots) or length(encoder, prompt, reserve) <= room
        if lost:
            more = render(examples[index], FORMAT, TASK, shots=shots[lost - 1 :])
            assert length(encoder, more, reserve) > room


def test_the_option_with_most_tokens_decides_not_the_one_with_most_letters():
    encoder = make_encoder(max_length=60)
    many_tokens, many_letters = "☃☃☃☃☃☃", "entailment entailment"
    assert len(many_tokens) < len(many_letters)
    rows = [example(0, SENTENCES[0], (many_letters, many_tokens))]
    for room in range(20, 90):
        encoder.max_length = room
        (prompt,), (lost,) = render_fitting(encoder, rows, task=TASK, format_=FORMAT, shots=[ROWS[9], ROWS[9]])
        assert lost == 2 or length(encoder, prompt) <= room


def test_shots_for_another_number_of_rows_are_refused():
    with pytest.raises(ValueError, match="shots of 1 rows were given for 2 rows"):
        render_fitting(make_encoder(), ROWS[:2], task=TASK, format_=FORMAT, shots=[[ROWS[2]]])
