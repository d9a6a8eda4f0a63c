from __future__ import annotations

import re

import pytest

from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.data.readers import choose_reader
from pretune.data.rendering import choose_template, fill, render
from pretune.data.sources import SOURCES
from pretune.errors import DataError
from support.configs import FORMAT, NLI, option_names, read_option
from support.rows import ROWS

EXAMPLE = Example(
    id="0",
    fields={"premise": "a bird", "hypothesis": "a robin"},
    options=("entailment", "neutral"),
    gold=1,
    target="neutral",
)
SUMMARY = Format(name="f", separator="\n--\n", templates={"nli": Template(prompt="{premise} =>", stop=";")})


def examples_of(task: Task) -> list[Example]:
    rows = SOURCES["pico"](task, task.eval_split)[:20] if task.source == "pico" else ROWS[task.name]
    return [choose_reader(task)(row, task, str(index)) for index, row in enumerate(rows)]


@pytest.mark.parametrize("format_name", option_names("format"))
@pytest.mark.parametrize("task_name", option_names("task"))
def test_every_task_renders_in_every_format(task_name, format_name):
    task, format_ = read_option("task", task_name, Task), read_option("format", format_name, Format)
    template = choose_template(format_, task)
    examples = examples_of(task)
    assert examples
    for example in examples:
        prompt = render(example, format_, task)
        assert not prompt.text.endswith((" ", "\t"))
        assert prompt.completions
        assert all(completion.strip() for completion in prompt.completions)
        assert prompt.completions[prompt.gold].strip() == example.target
        assert len(prompt.completions) == max(1, len(example.options))
        assert prompt.stop == template.stop
        assert all(value in prompt.text for value in example.fields.values())
        if template.body is not None:
            assert prompt.text[slice(*prompt.body)] == example.fields[template.body]
        if task.answer != "language":
            # a word of the answer never melts into the prompt's last word
            assert prompt.text[-1].isspace() or prompt.completions[0][0].isspace()
            few_shot = render(example, format_, task, shots=examples[:2])
            assert few_shot.text.endswith(format_.separator + prompt.text)
            assert not few_shot.text.endswith((" ", "\t"))


@pytest.mark.parametrize("format_name", option_names("format"))
def test_formats_have_no_template_that_no_task_uses(format_name):
    families = {read_option("task", name, Task).family for name in option_names("task")}
    assert set(read_option("format", format_name, Format).templates) <= families


@pytest.mark.parametrize("task_name", option_names("task"))
def test_tasks_name_only_tasks_that_there_are(task_name):
    task = read_option("task", task_name, Task)
    assert task.name == task_name
    assert {*task.in_domain, *task.out_of_domain, *task.cross_task} <= set(option_names("task"))


def test_values_are_inserted_verbatim():
    value = "{hypothesis} {{x}} {0} %s \\n {"
    text, span = fill("<{premise}|{hypothesis}>", {"premise": value, "hypothesis": "h"}, "premise")
    assert text == f"<{value}|h>"
    assert text[slice(*span)] == value


def test_doubled_braces_in_a_template_are_braces():
    assert fill("{{{premise}}}", {"premise": "p"}) == ("{p}", None)


@pytest.mark.parametrize("pattern", ["{premiss}", "{}", "{0}", "{premise.upper}", "{premise[0]}"])
def test_unknown_field_is_an_error_with_the_fields_there_are(pattern):
    with pytest.raises(DataError, match=re.escape(f"template field {pattern} is unknown") + ".*premise"):
        fill(pattern, {"premise": "p", "hypothesis": "h"})


def test_unknown_family_is_an_error_with_the_families_there_are():
    task = Task(name="t", family="nil")
    with pytest.raises(DataError, match=r"format=default: no template for family 'nil' of .*; did you mean nli\?"):
        render(EXAMPLE, FORMAT, task)


def test_prompt_with_its_completions():
    prompt = render(EXAMPLE, FORMAT, NLI)
    assert prompt.text == "one : a bird two : a robin relation :"
    assert prompt.completions == (" entailment", " neutral")
    assert (prompt.gold, prompt.stop) == (1, "\n")
    assert prompt.text[slice(*prompt.body)] == "a bird"


def test_shots_come_first_with_their_answers():
    shot = Example(id="1", fields={"premise": "a fish", "hypothesis": "x"}, options=("a", "b"), gold=0, target="a")
    prompt = render(EXAMPLE, SUMMARY, NLI, shots=[shot, shot])
    assert prompt.text == "a fish => a\n--\na fish => a\n--\na bird =>"
    assert prompt.body is None
    assert prompt.stop == ";"


def test_body_is_that_of_the_example_and_not_of_a_shot():
    prompt = render(EXAMPLE, FORMAT, NLI, shots=[EXAMPLE])
    assert prompt.text[slice(*prompt.body)] == "a bird"
    assert prompt.body[0] > prompt.text.index("a bird")


def test_generation_has_one_completion_the_target():
    prompt = render(Example(id="0", fields={"premise": "p"}, target="all of it"), SUMMARY, NLI)
    assert (prompt.completions, prompt.gold) == ((" all of it",), 0)
