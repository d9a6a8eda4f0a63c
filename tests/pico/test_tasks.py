"""Rows of the tasks, and how they go with task files and formats."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from pretune.config.science import Format, Task, Template
from pretune.data.examples import Example
from pretune.data.rendering import render
from pretune.errors import DataError
from pretune.pico.chat import TRAITS
from pretune.pico.corpus import documents
from pretune.pico.lexicon import KIND_OF, KINDS, MOVERS, related
from pretune.pico.relations import CLAIMS
from pretune.pico.sentences import name_kind
from pretune.pico.tasks import SOURCES, _build, rows
from pretune.pico.tokenizer import vocabulary

CONF = Path(__file__).parents[2] / "conf"
FORMATS = ("default", "io", "instruct")


def load_task(name: str) -> Task:
    values: dict[str, Any] = yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text())
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Task(**values)


def load_format(name: str) -> Format:
    values = yaml.safe_load((CONF / "format" / f"{name}.yaml").read_text())
    values["templates"] = {family: Template(**template) for family, template in values["templates"].items()}
    return Format(**values)


def read(task: Task, row: dict[str, Any]) -> Example:
    fields = {name: row[column] for name, column in task.fields.items()}
    assert task.label is not None
    value = row[task.label]
    if task.answer in ("classification", "choice"):
        options = tuple(task.labels.values()) or tuple(row["options"])
        gold = list(task.labels).index(str(value)) if task.labels else value
        return Example(id=row["id"], fields=fields, options=options, gold=gold, target=options[gold])
    return Example(id=row["id"], fields=fields, target=value)


def words_of(sentence: str) -> list[str]:
    return [word for word in sentence.split() if word not in ("the", ".")]


@pytest.mark.parametrize("name", SOURCES)
def test_rows_are_the_same_every_time(name: str) -> None:
    before = rows(name, "test")
    _build.cache_clear()
    assert rows(name, "test") == before


@pytest.mark.parametrize("name", SOURCES)
def test_no_item_is_in_two_splits(name: str) -> None:
    task = load_task(name)
    train, test = rows(name, "train"), rows(name, "test")
    inputs = SOURCES[name].inputs
    items = [tuple(row[column] for column in inputs) for row in train + test]
    assert len(items) == len(set(items))
    ids = [row["id"] for row in train + test]
    assert len(ids) == len(set(ids))
    assert len(train) >= task.train_rows + task.validation_rows
    assert len(test) >= 100


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", SOURCES)
def test_every_word_is_in_the_vocabulary(name: str, format_: str) -> None:
    task, wording, known = load_task(name), load_format(format_), vocabulary()
    for row in rows(name, "train") + rows(name, "test"):
        prompt = render(read(task, row), wording, task)
        assert not prompt.text.endswith(" ")
        for completion in prompt.completions:
            assert all(word in known for word in (prompt.text + completion).split())


@pytest.mark.parametrize("name", SOURCES)
def test_task_files_name_existing_tasks(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert {*task.in_domain, *task.out_of_domain, *task.cross_task} <= set(SOURCES)


@pytest.mark.parametrize("name", [name for name in SOURCES if "nli" in name or "para" in name or "ch" in name])
def test_labels_are_balanced(name: str) -> None:
    label = "answer" if "choice" in name else "label"
    for split in ("train", "test"):
        counts = Counter(row[label] for row in rows(name, split))
        assert max(counts.values()) - min(counts.values()) <= 0.02 * counts.total() + 1


def thing_of(text: str) -> str:
    return next(word for word in text.split() if word in KIND_OF or word in KINDS)


@pytest.mark.parametrize("name", ["pico/nli", "pico/nli_far"])
def test_inference_labels_agree_with_the_lexicon(name: str) -> None:
    for row in rows(name, "train") + rows(name, "test"):
        claim = row["hypothesis"].removesuffix(" .")
        assert name_kind(thing_of(row["premise"])) in CLAIMS[claim][row["label"]]


@pytest.mark.parametrize("name", ["pico/paraphrase", "pico/paraphrase_far"])
def test_paraphrase_labels_agree_with_the_lexicon(name: str) -> None:
    for row in rows(name, "train") + rows(name, "test"):
        pairs = list(zip(words_of(row["first"]), words_of(row["second"]), strict=True))
        assert [then for said, then in pairs if not related(said, then)] == ["mover"]
        assert (name_kind(thing_of(row["first"])) in MOVERS) == (row["label"] == 1)


@pytest.mark.parametrize("name", ["pico/chat", "pico/chat_far"])
def test_chat_labels_agree_with_the_lexicon(name: str) -> None:
    for row in rows(name, "train") + rows(name, "test"):
        [trait] = [word for word in row["instruction"].split() if word in TRAITS]
        assert (name_kind(thing_of(row["instruction"])) in TRAITS[trait]) == (row["label"] == 1)


def test_a_kind_alone_says_little_about_the_answer() -> None:
    data = rows("pico/chat", "train")
    for kind in KINDS:
        labels = [row["label"] for row in data if name_kind(thing_of(row["instruction"])) == kind]
        assert abs(sum(labels) / len(labels) - 0.5) < 0.2


@pytest.mark.parametrize("name", ["pico/nli", "pico/paraphrase", "pico/chat", "pico/summary", "pico/question"])
def test_evaluation_is_about_things_that_training_never_names(name: str) -> None:
    column = SOURCES[name].inputs[0]
    named = {
        split: {word for row in rows(name, split) for word in row[column].split() if word in KIND_OF}
        for split in ("train", "test")
    }
    assert named["train"]
    assert named["test"]
    assert not named["train"] & named["test"]


@pytest.mark.parametrize("name", ["pico/choice", "pico/choice_far"])
def test_only_the_right_choice_restates(name: str) -> None:
    for row in rows(name, "test"):
        said = words_of(row["context"].removesuffix(" that is ,"))
        follows = [all(related(a, b) for a, b in zip(said, words_of(option), strict=True)) for option in row["options"]]
        assert [index for index, right in enumerate(follows) if right] == [row["answer"]]


@pytest.mark.parametrize("name", ["pico/question", "pico/question_far"])
def test_questions_use_other_words_and_have_one_answer(name: str) -> None:
    for row in rows(name, "test"):
        assert words_of(row["context"]).count(row["subject"]) == 1
        told = words_of(row["context"])
        meant = [word for word in told for asked in row["question"].split()[1:-1] if related(word, asked)]
        assert len(row["question"].split()) == 5
        assert len(meant) >= 3


@pytest.mark.parametrize("name", ["pico/summary", "pico/summary_far"])
def test_summaries_list_the_kinds_in_order(name: str) -> None:
    for row in rows(name, "test"):
        assert row["summary"].split() == [KIND_OF[word] for word in row["document"].split() if word in KIND_OF]
        assert len(set(row["summary"].split())) == 3


def test_task_sentences_are_not_in_the_corpus() -> None:
    first = {text.split(" . ")[0] for text in islice(documents(seed=0), 3000)}
    assert not first & {row["premise"].removesuffix(" .") for row in rows("pico/nli", "train")}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="pico/nil.*pico/nli"):
        rows("pico/nil", "train")
    with pytest.raises(DataError, match="valid: test, train"):
        rows("pico/nli", "validation")
