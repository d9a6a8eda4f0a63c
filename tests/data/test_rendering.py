from __future__ import annotations

import re

import pytest

from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.data.readers import choose_reader
from pretune.data.rendering import choose_template, fill, render, render_conversation
from pretune.data.sources import SOURCES, is_complete, prepare
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


SOUND = [name for name in option_names("format") if not name.startswith("paper/")]
PAPER = [name for name in option_names("format") if name.startswith("paper/")]
ORIGINAL_ONLY = ("listing", "listing_instruct", "listing_io")
"""Fields that only the reference study's own wording shows."""


def examples_of(task: Task) -> list[Example]:
    rows = SOURCES["pico"](task, task.eval_split)[:20] if task.source == "pico" else ROWS.get(task.name, ROWS["c4"])
    read = [choose_reader(task)(row, task, str(index)) for index, row in enumerate(rows)]
    return [prepare(task, example) for example in read if is_complete(example)]


@pytest.mark.parametrize("format_name", SOUND)
@pytest.mark.parametrize("task_name", option_names("task"))
def test_every_task_renders_in_every_format(task_name, format_name):
    task, format_ = read_option("task", task_name, Task), read_option("format", format_name, Format)
    template = choose_template(format_, task)
    examples = examples_of(task)
    assert examples
    for example in examples:
        if task.answer == "chat":
            check_conversation(example, format_, task)
            continue
        prompt = render(example, format_, task)
        assert not prompt.text.endswith((" ", "\t"))
        assert "  " not in prompt.text
        assert prompt.completions
        assert all(completion.strip() for completion in prompt.completions)
        assert prompt.completions[prompt.gold].strip() == example.target
        assert len(prompt.completions) == max(1, len(example.options))
        assert prompt.stop == template.stop
        assert all(value in prompt.text for name, value in example.fields.items() if name not in ORIGINAL_ONLY)
        if template.body is not None:
            assert prompt.text[slice(*prompt.body)] == example.fields[template.body]
        if task.answer != "language":
            # a word of the answer never melts into the prompt's last word
            assert prompt.text[-1].isspace() or prompt.completions[0][0].isspace()
            few_shot = render(example, format_, task, shots=examples[:2])
            assert few_shot.text.endswith(format_.separator + prompt.text)
            assert not few_shot.text.endswith((" ", "\t"))


def check_conversation(example: Example, format_: Format, task: Task) -> None:
    """All is said, in order, and every reply stands alone behind what opens it."""
    exchanges = render_conversation(example, format_, task)
    replies = [turn.text for turn in example.turns if turn.role == "assistant"]
    assert [exchange.reply.strip() for exchange in exchanges] == replies
    assert replies[-1] == example.target
    whole = "".join(exchange.text + exchange.reply for exchange in exchanges)
    places = [whole.index(turn.text) for turn in example.turns]
    assert places == sorted(places)
    for exchange in exchanges:
        assert not exchange.text.endswith(" ")
        assert exchange.text[-1].isspace() or exchange.reply[0].isspace()


@pytest.mark.parametrize("format_name", PAPER)
def test_the_original_wording_is_there_for_every_family_of_the_reference_study(format_name):
    format_ = read_option("format", format_name, Format)
    assert {"nli", "paraphrase", "summary", "question"} <= set(format_.templates)
    for task_name in ("mnli", "rte", "gpt3nli", "paws", "qqp", "stsb", "xsum", "xlsum", "cnn", "socialiqa", "tweetqa"):
        task = read_option("task", task_name, Task)
        for example in examples_of(task):
            prompt = render(example, format_, task)
            assert prompt.completions[prompt.gold] == example.target  # nothing between prompt and answer
            assert prompt.text.endswith(" ") is (format_name != "paper/io")
            assert (
                render(example, format_, task, shots=[example]).text == f"{prompt.text}{example.target}\n{prompt.text}"
            )


ORIGINALS = {
    (
        "socialiqa",
        "paper/default",
    ): "### Input: Kim fed a robin .\n ### Answer: Answer A: to be kind Answer B: to be rude"
    "Answer C: to sleep\n ### Question: ",
    (
        "socialiqa",
        "paper/instruct",
    ): "Given the context: Kim fed a robin . And the answer: Answer A: to be kind Answer B: "
    "to be rudeAnswer C: to sleepGenerate a suitable question: ",
    ("socialiqa", "paper/io"): "Kim fed a robin .to be kindto be rudeto sleep",
    ("sciq_question", "paper/default"): "### Input: Robins eat worms .\n ### Answer: Answer A: worms Answer B: walls "
    "Answer C: songsAnswer D: air\n ### Question: ",
    (
        "sciq_question",
        "paper/instruct",
    ): "Given the context: Robins eat worms . And the answer: Answer A: worms Answer B: "
    "wallsAnswer C: songsAnswer D: airGenerate a suitable question: ",
    ("tweetqa", "paper/instruct"): "Given the context: A robin sang today . And the answer: a robinGenerate a suitable "
    "question: ",
    ("mnli", "paper/default"): "### Input_1: A robin sits on a wall .\n ### Input_2: A bird sits on a wall .\n "
    "### Inference: ",
    ("mnli", "paper/io"): "A robin sits on a wall . A bird sits on a wall .",
    (
        "paws",
        "paper/instruct",
    ): "Let’s compare the two sentences: Sentence_1: A robin sits on a wall . Sentence_2: A bird "
    "sits on a wall . Are they paraphrasing?: ",
    ("xsum", "paper/io"): "A robin sat on a wall .\nIt sang .",
    (
        "llmbar_natural",
        "paper/default",
    ): "### Instruction: Name a bird .### Output_1: A robin .\n ### Output_2: A wall .\n ### Instruction Following: ",
}
"""Prompts as the reference study's code puts them together, letter by letter."""


@pytest.mark.parametrize(("task_name", "format_name"), sorted(ORIGINALS))
def test_the_original_wording_letter_by_letter(task_name, format_name):
    task, format_ = read_option("task", task_name, Task), read_option("format", format_name, Format)
    assert render(examples_of(task)[0], format_, task).text == ORIGINALS[task_name, format_name]


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
