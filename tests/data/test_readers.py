from __future__ import annotations

import re

import pytest

from pretune.config.science import Task
from pretune.data.readers import READERS, choose_reader
from pretune.data.sources import is_complete, prepare
from pretune.errors import DataError
from support.configs import NLI, change, option_names, read_option
from support.rows import HIDDEN, LLMBARS, NEEDED, ROWS

HUB_TASKS = [name for name in option_names("task") if not name.startswith("pico/") and name != "heldout"]
LABELS = {
    **dict.fromkeys(
        ("mnli", "mnli_mismatched", "gpt3nli", "snli", "anli", "anli_r1", "anli_r2", "anli_r3"),
        ("entailment", "neutral", "contradiction"),
    ),
    "rte": ("entailment", "neutral"),
    **dict.fromkeys(("paws", "stsb", "qqp", "mrpc", "boolq"), ("no", "yes")),
    "trec": ("abbreviation", "entity", "description", "human", "location", "number"),
    **dict.fromkeys(("mr", "sst2", "cr"), ("negative", "positive")),
    "subj": ("objective", "subjective"),
    **dict.fromkeys(
        LLMBARS,
        ("1", "2"),
    ),
}


def task_of(name: str) -> Task:
    return read_option("task", name, Task)


def read(name: str, row, **changes):
    task = task_of(name)
    return choose_reader(task)({**row, **changes}, task, "row7")


def test_every_task_of_the_hub_has_rows_here():
    assert set(ROWS) == set(HIDDEN) == set(NEEDED) == set(HUB_TASKS)


@pytest.mark.parametrize("name", HUB_TASKS)
def test_rows_of_the_hubs_schema_become_examples(name):
    task = task_of(name)
    for row in ROWS[name]:
        example = read(name, row)
        assert example.id == "row7"
        assert set(task.fields) <= set(example.fields)
        assert all(value == value.strip() for value in example.fields.values())
        assert example.target
        if task.answer in ("classification", "choice"):
            assert example.target == example.options[example.gold]
        else:
            assert (example.options, example.gold) == ((), None)


@pytest.mark.parametrize("name", HUB_TASKS)
def test_row_without_gold_answer_is_no_example(name):
    assert read(name, ROWS[name][0], **HIDDEN[name]) is None


@pytest.mark.parametrize("name", HUB_TASKS)
def test_every_missing_column_that_a_reader_needs_is_named_with_those_there_are(name):
    for column in NEEDED[name].split():
        row = {key: value for key, value in ROWS[name][0].items() if key != column}
        with pytest.raises(DataError, match=f"task={name}: the rows have no column '{column}'; ") as caught:
            read(name, row)
        assert all(other in str(caught.value) for other in row)


def test_every_classification_task_has_its_labels_here():
    assert {name for name in HUB_TASKS if task_of(name).answer == "classification"} == set(LABELS)


@pytest.mark.parametrize("name", sorted(LABELS))
def test_label_numbers_mean_what_the_hub_says(name):
    examples = [read(name, row) for row in ROWS[name]]
    assert tuple(example.target for example in examples) == LABELS[name]
    assert {example.options for example in examples} == {LABELS[name]}


@pytest.mark.parametrize("label", [7, "yes", 0.5, 3])
def test_unknown_label_is_refused_with_the_valid_ones(label):
    with pytest.raises(DataError, match=re.escape(f"unknown label {label!r} in row row7") + ".*valid: 0, 1, 2"):
        read("mnli", ROWS["mnli"][0], label=label)


@pytest.mark.parametrize(("value", "option"), [(True, "entailment"), (0.0, "neutral"), ("1", "entailment")])
def test_labels_may_be_booleans_numbers_or_texts(value, option):
    task = change(NLI, "labels", {"0": "neutral", "1": "entailment"})
    example = READERS["columns"]({"premise": "p", "hypothesis": "h", "label": value}, task, "0")
    assert example.target == option


def test_missing_text_is_empty_and_other_things_than_text_are_refused():
    row = ROWS["mnli"][0]
    assert read("mnli", row, premise=None).fields["premise"] == ""
    assert read("mnli", row, premise=7).fields["premise"] == "7"
    with pytest.raises(DataError, match="column 'premise' holds list, not text"):
        read("mnli", row, premise=["p"])


@pytest.mark.parametrize(
    ("score", "target"), [(3.5, "no"), (3.51, "yes"), (0, "no"), (5, "yes"), ("4.2", "yes"), (None, None), (-1, None)]
)
def test_similarity_above_three_and_a_half_is_a_paraphrase(score, target):
    example = read("stsb", ROWS["stsb"][0], label=score)
    assert (example.target if example else None) == target


def test_similarity_that_is_no_number_is_refused():
    assert read("stsb", ROWS["stsb"][0], label=float("nan")) is None
    with pytest.raises(DataError, match="similarity 'high' of row row7"):
        read("stsb", ROWS["stsb"][0], label="high")
    with pytest.raises(DataError, match="similarity 7 of row row7 is above 5"):
        read("stsb", ROWS["stsb"][0], label=7)


def test_socialiqa_asks_for_the_question_of_the_right_answer():
    subjects = [read("socialiqa", row).fields["subject"] for row in ROWS["socialiqa"]]
    assert subjects == ["to be kind", "to be rude", "to sleep"]
    assert read("socialiqa", ROWS["socialiqa"][0]).target == "Why did Kim do this ?"
    with pytest.raises(DataError, match="unknown label '4' in row row7"):
        read("socialiqa", ROWS["socialiqa"][0], label="4")


def test_tweetqa_gives_the_first_answer():
    example = read("tweetqa", ROWS["tweetqa"][0])
    assert (example.fields["subject"], example.target) == ("a robin", "what sang ?")
    assert read("tweetqa", ROWS["tweetqa"][0], Answer=None) is None
    with pytest.raises(DataError, match="column 'Answer' holds str, not a list"):
        read("tweetqa", ROWS["tweetqa"][0], Answer="a robin")


def test_hellaswag_text_is_cleaned_of_wikihow_marks():
    row = {**ROWS["hellaswag"][0], "ctx": "[header] How to sit [title] Find a wall .  Then"}
    example = read("hellaswag", row, endings=["[step] sit .", "fly .", "sing [substeps] .", "melt ."], label="2")
    assert example.fields == {"context": "Feeding birds: How to sit. Find a wall . Then"}
    assert example.options == ("sit .", "fly .", "sing .", "melt .")
    assert example.gold == 2


@pytest.mark.parametrize("label", ["4", "-2", "x"])
def test_hellaswag_label_out_of_range_is_refused(label):
    with pytest.raises(DataError, match=f"answer '?{label}'? of row row7"):
        read("hellaswag", ROWS["hellaswag"][0], label=label)


def test_lettered_choices_take_letters_or_digits():
    row = ROWS["openbookqa"][0]
    assert read("openbookqa", row, answerKey="C").target == "in a shoe"
    digits = {"text": ["x", "y"], "label": ["1", "2"]}
    assert read("openbookqa", row, choices=digits, answerKey="2").gold == 1
    with pytest.raises(DataError, match=r"answer 'E' of row row7 is none of \['A', 'B', 'C', 'D'\]"):
        read("openbookqa", row, answerKey="E")


@pytest.mark.parametrize(
    "choices", [None, ["a", "b"], {"text": ["a"]}, {"label": ["A"]}, {"text": ["a"], "label": "A"}]
)
def test_drifted_choices_are_a_clear_error(choices):
    with pytest.raises(DataError, match="task=openbookqa"):
        read("openbookqa", ROWS["openbookqa"][0], choices=choices)


def test_fewer_texts_than_letters_is_refused():
    for key in "AB":
        with pytest.raises(DataError, match="row row7 has 2 letters for 1 options"):
            read("openbookqa", ROWS["openbookqa"][0], choices={"text": ["a"], "label": ["A", "B"]}, answerKey=key)


def test_what_is_no_text_inside_a_list_is_refused_and_nothing_is_empty():
    row = ROWS["openbookqa"][0]
    with pytest.raises(DataError, match=r"column 'choices\.text' holds dict, not text"):
        read("openbookqa", row, choices={"text": ["a", {}], "label": ["A", "B"]})
    with pytest.raises(DataError, match="column 'Answer' holds list, not text"):
        read("tweetqa", ROWS["tweetqa"][0], Answer=[["a robin"]])
    assert not is_complete(read("openbookqa", row, choices={"text": ["a", None], "label": ["A", "B"]}))
    assert not is_complete(read("hellaswag", ROWS["hellaswag"][0], endings=["eats .", "[step]", "c", "d"]))
    assert read("tweetqa", ROWS["tweetqa"][0], Answer=[None]) is None
    assert read("truthfulqa", ROWS["truthfulqa"][0], incorrect_answers=[None, ""]) is None
    with pytest.raises(DataError, match="column 'premise' holds bool, not text"):
        read("mnli", ROWS["mnli"][0], premise=True)


def test_a_whole_number_is_the_same_label_with_and_without_a_point():
    assert read("hellaswag", ROWS["hellaswag"][0], label=2.0).gold == 2
    assert read("winogrande", ROWS["winogrande"][0], answer=2.0).gold == 1


def test_a_solution_without_its_final_answer_is_no_example():
    assert read("gsm8k", ROWS["gsm8k"][0], answer="It is 6 .") is None


def test_a_conversation_that_begins_with_a_reply_has_no_input():
    assert not is_complete(read("alpaca", ROWS["alpaca"][0], instruction="", input=" "))
    assert not is_complete(read("hh", ROWS["hh"][0], chosen="\n\nAssistant: Hello ."))


@pytest.mark.parametrize("name", [name for name in HUB_TASKS if name.endswith("_mc")])
def test_multiple_choice_shows_the_options_and_scores_their_letters(name):
    task = task_of(name)
    plain, shown = read(name, ROWS[name][0]), prepare(task, read(name, ROWS[name][0]))
    assert task.family == "multiple_choice"
    assert task.scorer == "sum"
    assert shown.options == tuple("ABCD"[: len(plain.options)])
    assert shown.gold == plain.gold
    assert shown.target == "ABCD"[plain.gold]
    lines = shown.fields["choices"].split("\n")
    assert lines == [f"{letter}. {text}" for letter, text in zip("ABCD", plain.options, strict=False)]
    assert shown.fields["context"] == plain.fields["context"]


def test_the_place_of_an_option_named_first_is_drawn_by_the_row():
    rows = [{**ROWS["sciq"][0], "question": f"What do robins eat at {hour} ?"} for hour in range(60)]
    examples = [read("sciq", row) for row in rows]
    assert {example.target for example in examples} == {"worms"}
    places = [example.gold for example in examples]
    assert all(8 <= places.count(place) <= 23 for place in range(4))
    assert read("sciq", rows[0]) == read("sciq", dict(reversed(rows[0].items())))


def test_sciq_without_supporting_text_is_the_question_alone():
    assert read("sciq", ROWS["sciq"][1]).fields == {"context": "What do robins eat ?"}
    assert read("sciq", ROWS["sciq"][0]).fields == {"context": "Robins eat worms . What do robins eat ?"}
    assert not is_complete(read("sciq_question", ROWS["sciq"][1]))


def test_winogrande_scores_the_option_with_the_rest_of_the_sentence():
    one, two = (read("winogrande", row) for row in ROWS["winogrande"])
    assert one.fields["context"] == "The robin left the shoe because the"
    assert one.options == two.options == ("robin was small.", "shoe was small.")
    assert (one.gold, two.gold) == (0, 1)
    end = read("winogrande", ROWS["winogrande"][0], sentence="It fits the _.")
    assert end.options == ("robin.", "shoe.")
    with pytest.raises(DataError, match="has no gap"):
        read("winogrande", ROWS["winogrande"][0], sentence="no gap")


@pytest.mark.parametrize("name", ["socialiqa_choice", "piqa", "winogrande"])
def test_labels_outside_the_options_are_refused(name):
    key = {"winogrande": "answer"}.get(name, "label")
    with pytest.raises(DataError, match=r"unknown label '9' in row row7; valid: "):
        read(name, ROWS[name][0], **{key: "9"})


def test_truthfulqa_leaves_empty_incorrect_answers_out():
    example = read("truthfulqa", ROWS["truthfulqa"][0], incorrect_answers=["Yes", "", " "])
    assert sorted(example.options) == ["No, they sing", "Yes"]


def test_highlights_become_one_line():
    assert read("cnn", ROWS["cnn"][0]).target == "A robin sat . It sang ."


OPTIONS = Task(name="choice", family="choice", answer="choice", reader="options", fields={"context": "context"})


def test_options_reader_takes_the_index_of_the_right_option():
    row = {"context": "c", "options": [" a ", "b"], "answer": 1}
    example = READERS["options"](row, OPTIONS, "0")
    assert (example.options, example.gold, example.target) == (("a", "b"), 1, "b")
    for hidden in (None, -1, "", "-1"):
        assert READERS["options"]({**row, "answer": hidden}, OPTIONS, "0") is None
    for wrong in (2, "b"):
        with pytest.raises(DataError, match="answer"):
            READERS["options"]({**row, "answer": wrong}, OPTIONS, "0")
    with pytest.raises(DataError, match="column 'options' holds str, not a list"):
        READERS["options"]({**row, "options": "ab"}, OPTIONS, "0")


def test_unknown_reader_and_missing_label_column_are_named():
    with pytest.raises(DataError, match=r"unknown reader 'stsbb'; did you mean stsb\?"):
        choose_reader(change(NLI, "reader", "stsbb"))
    with pytest.raises(DataError, match=r"task\.label must name the column"):
        READERS["columns"]({}, change(NLI, "label", None), "0")
