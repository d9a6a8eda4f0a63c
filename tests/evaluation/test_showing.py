"""What ``mode=show`` prints: every task in every format against a file that was read line by line.

After a change that is meant, write the file anew and read what changed in it:

    PRETUNE_WRITE_GOLDEN=1 python -m pytest tests/evaluation/test_showing.py; git diff tests/evaluation/shown.txt
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoder
from pretune.data.examples import Example
from pretune.data.readers import choose_reader
from pretune.data.rendering import render, render_conversation
from pretune.data.sources import is_complete, prepare
from pretune.evaluation.showing import piece_of, show_example, visible
from support.configs import option_names, read_option
from support.models import make_encoder
from support.rows import ROWS

GOLDEN = Path(__file__).with_name("shown.txt")
FORMATS = {name: read_option("format", name, Format) for name in option_names("format")}


def examples_of(task: Task) -> tuple[Example, ...]:
    read = [choose_reader(task)(row, task, str(index)) for index, row in enumerate(ROWS[task.name])]
    return tuple(prepare(task, example) for example in read if is_complete(example))


@cache
def tasks() -> dict[str, Task]:
    return {name: read_option("task", name, Task) for name in sorted(ROWS)}


def texts() -> Iterator[str]:
    """All that is shown, for the tokenizer to be trained on."""
    for task in tasks().values():
        for format_ in FORMATS.values():
            if task.family in format_.templates:
                example = examples_of(task)[-1]
                if task.answer == "chat":
                    yield "".join(part.text + part.reply for part in render_conversation(example, format_, task))
                else:
                    prompt = render(example, format_, task)
                    yield from (prompt.text + completion for completion in prompt.completions)


@cache
def encoder() -> Encoder:
    """A byte-level tokenizer with a token for almost every word of the rows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, min_frequency=1, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(list(texts()), trainer)
    return Encoder(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"), max_length=400)


def shown(task: Task, format_: Format, **how) -> str:
    """What is shown of the task's last row, without the ids, which are the tokenizer's own affair."""
    lines = show_example(encoder(), examples_of(task)[-1], task=task, format_=format_, **how)
    return "\n".join(lines[: lines.index("ids")])


def everything() -> str:
    """All blocks; tasks that look the same in a format share one."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, task in tasks().items():
        for format_name, format_ in FORMATS.items():
            if task.answer == "language" and format_name != "default":
                continue  # plain text has no format
            if task.family in format_.templates:
                alike.setdefault((shown(task, format_), format_name), []).append(name)
    blocks = [f"=== {', '.join(names)} · {format_name}\n{text}\n" for (text, format_name), names in alike.items()]
    for name in ("mnli", "gsm8k", "openbookqa_mc"):
        shots = examples_of(tasks()[name])[:1] * 2
        blocks.append(f"=== {name} · default · 2 shots\n{shown(tasks()[name], FORMATS['default'], shots=shots)}\n")
    for name in ("mnli", "tulu", "starcoder_python"):
        blocks.append(f"=== training on {name} · default\n{shown(tasks()[name], FORMATS['default'], learnt=True)}\n")
    return "\n".join(blocks)


def test_every_task_in_every_format_looks_as_reviewed():
    found = everything()
    if os.environ.get("PRETUNE_WRITE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    wanted = GOLDEN.read_text(encoding="utf-8")
    for mine, reviewed in zip(found.split("=== ")[1:], wanted.split("=== ")[1:], strict=False):
        assert mine == reviewed
    assert found == wanted


def test_tokens_put_together_are_the_text():
    for task in tasks().values():
        if task.answer in ("chat", "language"):
            continue
        prompt = render(examples_of(task)[-1], FORMATS["default"], task)
        row = encoder().encode(prompt, prompt.completions[prompt.gold])
        pieces = "".join(piece_of(encoder(), token) for token in row.ids)
        assert pieces == visible(prompt.text + prompt.completions[prompt.gold], spaces=True)


@pytest.mark.parametrize(
    ("text", "seen", "inline"),
    [
        ("a b", "a b", "a·b"),
        ("a \nb  ", "a·⏎\nb··", "a·⏎b··"),
        ("\tx\r", "→x\\r", "→x\\r"),
        ("\x1b[31m\u2028\u200b", "\\x1b[31m\\u2028\\u200b", "\\x1b[31m\\u2028\\u200b"),
        ("é 鳥 🐦", "é 鳥 🐦", "é·鳥·🐦"),
    ],
)
def test_what_cannot_be_seen_is_marked(text, seen, inline):
    assert visible(text) == seen
    assert visible(text, spaces=True) == inline


@pytest.mark.parametrize("kind", ["bpe", "metaspace", "word"])
def test_half_characters_and_first_words_are_shown_for_every_kind_of_tokenizer(kind):
    some = make_encoder(kind)
    pieces = [piece_of(some, token) for token in some.tokenizer("the robin é鳥", add_special_tokens=False)["input_ids"]]
    assert all(pieces)
    assert "\ufffd" not in "".join(pieces)


def test_what_was_cut_is_said():
    example = Example(
        id="0", fields={"premise": "A robin sits . " * 300, "hypothesis": "h"}, options=("a", "b"), gold=1, target="b"
    )
    lines = show_example(encoder(), example, task=tasks()["mnli"], format_=FORMATS["default"])
    (heading,) = [line for line in lines if line.startswith("tokens: ")]
    assert heading.startswith("tokens: 400, ")
    assert "cut to fit into 400" in heading
    assert all(len(line) <= 120 for line in lines[lines.index(heading) :])
