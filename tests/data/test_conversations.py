"""Conversations: words, tokens, what of them is learnt, and what becomes of those that are too long."""

from __future__ import annotations

import pytest
import torch

from pretune.config.science import Format, Task
from pretune.data.examples import Example, Turn
from pretune.data.readers import READERS
from pretune.data.rendering import render_conversation
from pretune.data.training_rows import encode_training_rows
from pretune.errors import DataError
from pretune.evaluation.evaluate import evaluate_examples
from pretune.training.steps import make_step
from support.configs import read_option
from support.models import make_encoder, make_model

TASK = read_option("task", "tulu", Task)
FORMAT = read_option("format", "default", Format)
KINDS = ("bpe", "metaspace")


def talk(*texts: str, system: str = "") -> Example:
    """A conversation whose turns are by user and assistant in turn."""
    turns = [Turn(role=("user", "assistant")[index % 2], text=text) for index, text in enumerate(texts)]
    before = [Turn(role="system", text=system)] if system else []
    return Example(id="0", turns=(*before, *turns), target=texts[-1])


SHORT = talk("a bird ?", "a robin", "is it small ?", "it is", system="be little")
LONG = talk("a bird ?", "a robin", "is it small ?", "it is " * 60)


def learnt(encoder, row) -> list[str]:
    return [encoder.tokenizer.decode(row.ids[start:end]) for start, end in row.spans]


def test_the_template_of_tulu_in_words():
    first, second = render_conversation(SHORT, FORMAT, TASK)
    assert first.text == "<|system|>\nbe little\n<|user|>\na bird ?\n<|assistant|>\n"
    assert second.text == "\n<|user|>\nis it small ?\n<|assistant|>\n"
    assert (first.reply, second.reply) == ("a robin", "it is")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format_name", ["default", "io", "instruct"])
def test_replies_are_learnt_with_their_end_and_nothing_else(kind, format_name):
    encoder = make_encoder(kind, max_length=400)
    format_ = read_option("format", format_name, Format)
    (row,) = encode_training_rows(encoder, [SHORT], task=TASK, format_=format_)
    end = encoder.tokenizer.eos_token
    assert [text.strip() for text in learnt(encoder, row)] == [f"a robin{end}", f"it is{end}"]
    assert row.ids.count(encoder.tokenizer.eos_token_id) == 2
    assert row.ids[: len(encoder.bos)] == encoder.bos
    assert row.context == row.spans[0][0]
    assert row.supervised() == [position for start, stop in row.spans for position in range(start, stop)]


def test_tokens_are_those_of_the_whole_text():
    encoder = make_encoder("bpe", max_length=400)
    (row,) = encode_training_rows(encoder, [SHORT], task=TASK, format_=FORMAT)
    end = encoder.tokenizer.eos_token
    whole = "".join(exchange.text + exchange.reply + end for exchange in render_conversation(SHORT, FORMAT, TASK))
    assert list(row.ids) == encoder.tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_a_step_learns_the_replies_only():
    encoder = make_encoder("bpe", max_length=400)
    rows = encode_training_rows(encoder, [SHORT, talk("a", "b")], task=TASK, format_=FORMAT)
    step = make_step(rows, pad_id=0, micro_batch=1)
    assert step.tokens == sum(len(row.supervised()) for row in rows)
    for row, batch in zip(rows, step.micro_batches, strict=True):
        assert batch["targets"].tolist() == [row.ids[position] for position in row.supervised()]
        assert (batch["columns"] + 1).tolist() == row.supervised()


def test_what_is_too_long_loses_whole_exchanges_at_its_end_and_is_counted():
    encoder = make_encoder("bpe", max_length=120)
    (row,) = encode_training_rows(encoder, [LONG], task=TASK, format_=FORMAT)
    assert len(row.spans) == 1
    assert row.cut > 60
    assert learnt(encoder, row) == ["a robin<eos>"]
    assert row.ids[-1] == encoder.tokenizer.eos_token_id


def test_a_first_exchange_that_does_not_fit_leaves_the_conversation_out():
    encoder = make_encoder("bpe", max_length=60)
    rows = encode_training_rows(encoder, [talk("a bird " * 80, "a robin"), talk("a", "b")], task=TASK, format_=FORMAT)
    assert len(rows) == 1


def test_the_evaluated_loss_is_that_of_the_learnt_tokens():
    encoder, model = make_encoder("bpe"), make_model(context=128)
    examples = [SHORT, LONG, talk("a bird " * 80, "a robin"), talk("is it ?", "it is")]
    result = evaluate_examples(model, encoder, task=TASK, format_=FORMAT, examples=examples)
    rows = encode_training_rows(encoder, examples, task=TASK, format_=FORMAT)
    total = count = 0.0
    with torch.inference_mode():
        for row in rows:
            logs = model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
            total -= sum(logs[position - 1, row.ids[position]].item() for position in row.supervised())
            count += len(row.supervised())
    values = {metric["metric"]: metric for metric in result.metrics}
    assert values["loss"]["value"] == pytest.approx(total / count, rel=1e-5)
    assert values["loss"]["n"] == 3
    assert (result.counts["rows"], result.counts["empty_rows"], result.counts["truncated_rows"]) == (3, 1, 1)
    assert result.counts["cut_tokens"] > 0
    assert len(result.items) == 3


def test_conversations_none_of_which_fits_are_an_error():
    encoder, model = make_encoder("bpe"), make_model(context=128)
    with pytest.raises(DataError, match="all 1 conversations are too long"):
        evaluate_examples(model, encoder, task=TASK, format_=FORMAT, examples=[talk("a bird " * 80, "a robin")])


def test_a_role_without_words_in_the_format_is_an_error():
    format_ = Format(
        name="f", templates={"chat": FORMAT.templates["chat"].__class__(prompt="A:", turns={"user": "{content}"})}
    )
    with pytest.raises(DataError, match="no words for a turn of role 'system'.*valid: user"):
        render_conversation(SHORT, format_, TASK)


def messages(*pairs: tuple[str, str]):
    return {"messages": [{"role": role, "content": text} for role, text in pairs]}


def read(row):
    return READERS["messages"](row, TASK, "r1")


def test_what_follows_the_last_reply_is_dropped_and_an_empty_reply_ends_the_conversation():
    example = read(messages(("user", "a"), ("assistant", "b"), ("user", "c")))
    assert [turn.text for turn in example.turns] == ["a", "b"]
    example = read(messages(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", " "), ("user", "d"),
                            ("assistant", "e")))  # fmt: skip
    assert [turn.text for turn in example.turns] == ["a", "b"]
    assert read(messages(("user", "a"), ("assistant", ""))) is None
    assert read(messages()) is None


def test_braces_and_marks_inside_a_turn_mean_nothing():
    example = read(messages(("user", "{content} <|assistant|>"), ("assistant", "{answer} é 鳥")))
    (exchange,) = render_conversation(example, FORMAT, TASK)
    assert exchange.text == "<|user|>\n{content} <|assistant|>\n<|assistant|>\n"
    assert exchange.reply == "{answer} é 鳥"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": "text"}, "column 'messages' holds str, not a list"),
        ({"messages": ["text"]}, "a message of row r1 is str"),
        (messages(("robot", "x")), "unknown role 'robot' in row r1; valid: system, user, assistant"),
        ({"messages": [{"role": "user"}]}, "no column 'content'"),
    ],
)
def test_drifted_messages_are_a_clear_error(row, message):
    with pytest.raises(DataError, match=message):
        read(row)


def test_a_dialogue_is_split_at_its_marks_and_only_there():
    text = "\n\nHuman: Is it\n\nHumane: ?\n\nAssistant: Assistant: yes\n\nline two\n\nHuman: so ?\n\nAssistant: so ."
    example = READERS["hh"]({"chosen": text}, TASK, "0")
    assert [(turn.role, turn.text) for turn in example.turns] == [
        ("user", "Is it\n\nHumane: ?"), ("assistant", "Assistant: yes\n\nline two"), ("user", "so ?"),
        ("assistant", "so ."),
    ]  # fmt: skip
    with pytest.raises(DataError, match="does not begin with 'Human:'"):
        READERS["hh"]({"chosen": "Hello"}, TASK, "0")


def test_an_instruction_without_input_stands_alone():
    row = {"instruction": "Name it .", "input": "", "output": "A robin ."}
    assert READERS["alpaca"](row, TASK, "0").turns[0].text == "Name it ."
    assert READERS["alpaca"]({**row, "input": "red"}, TASK, "0").turns[0].text == "Name it .\n\nred"
