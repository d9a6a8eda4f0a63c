from __future__ import annotations

import dataclasses
import logging
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.data.examples import Prompt
from pretune.errors import DataError, TooLargeForMemory
from pretune.evaluation import generation
from pretune.evaluation.generation import cut_answer, generate_answers
from support.models import SENTENCES, make_encoder, make_model, make_tokenizer

PROMPTS = [Prompt(text=text[: 5 + 7 * i], completions=("",), gold=0, stop="") for i, text in enumerate(SENTENCES[:8])]


def reference_answer(model, encoder, prompt: Prompt, max_new_tokens: int) -> str:
    """transformers.generate on the row alone, cut at the stop string afterwards."""
    ids = torch.tensor([encoder.encode(prompt, "").ids or (encoder.tokenizer.eos_token_id,)])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=0
    )
    text = encoder.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    return (text.lstrip().partition(prompt.stop)[0] if prompt.stop else text).strip()


@pytest.mark.parametrize("kind", ["bpe", "word"])
@pytest.mark.parametrize("name", ["olmo", "llama", "neox", "gpt2", "mistral"])
def test_equals_transformers_generate_row_by_row(name, kind):
    encoder = make_encoder(kind)
    model = make_model(name, seed=1, vocabulary=len(encoder.tokenizer))
    expected = [reference_answer(model, encoder, prompt, 24) for prompt in PROMPTS]
    assert len(set(expected)) > 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generate_answers(model, encoder, PROMPTS, max_new_tokens=24, batch_rows=3) == expected
        assert generate_answers(model, encoder, PROMPTS, max_new_tokens=24) == expected


def spread_lengths(model) -> None:
    """Make the end-of-text token likely, so that rows of one batch end at different steps."""
    with torch.no_grad():
        model.lm_head.weight[0] = model.lm_head.weight[1:].mean(0) * 0 + 0.35


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1000), st.integers(1, 8))
def test_rows_that_end_leave_the_batch(seed, batch_rows):
    model, encoder = make_model("llama", seed=seed), make_encoder()
    spread_lengths(model)
    expected = [reference_answer(model, encoder, prompt, 20) for prompt in PROMPTS]
    assert generate_answers(model, encoder, PROMPTS, max_new_tokens=20, batch_rows=batch_rows) == expected


def test_finished_rows_are_not_computed():
    model, encoder = make_model("olmo", seed=3), make_encoder()
    spread_lengths(model)
    generate_answers(model, encoder, PROMPTS[:1], max_new_tokens=1)  # finds out what the model can do
    sizes = []
    model.register_forward_pre_hook(lambda _, __, inputs: sizes.append(len(inputs["input_ids"])), with_kwargs=True)
    generate_answers(model, encoder, PROMPTS, max_new_tokens=30)
    assert sizes[0] == len(PROMPTS)
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("stop", ["e", "ir", "the", " ", "☃"])
def test_stops_at_the_stop_string(stop):
    model, encoder = make_model("llama", seed=2), make_encoder()
    prompts = [Prompt(text=p.text, completions=("",), gold=0, stop=stop) for p in PROMPTS]
    expected = [reference_answer(model, encoder, prompt, 24) for prompt in prompts]
    found = generate_answers(model, encoder, prompts, max_new_tokens=24)
    assert found == expected
    assert not any(stop in answer for answer in found)


@pytest.mark.parametrize(
    ("text", "stop", "answer"),
    [
        (" yes\nno", "\n", "yes"),
        ("\n\n yes\nno", "\n", "yes"),
        ("\n", "\n", ""),
        ("", "\n", ""),
        ("a b", "", "a b"),
        ("Q: a Q: b", "Q:", ""),
    ],
)
def test_white_space_before_an_answer_does_not_end_it(text, stop, answer):
    assert cut_answer(text, stop) == answer


def test_a_first_line_break_does_not_end_the_work():
    model, encoder = make_model("olmo", seed=1), make_encoder()
    line_break = encoder.tokenizer("\n")["input_ids"]
    scripted, script = encoder.tokenizer("\nred\nblue")["input_ids"], []

    def say(_module, _arguments, output):
        logits = output.logits.clone().fill_(-1e4)
        logits[:, -1, scripted[len(script)]] = 0.0
        script.append(1)
        output.logits = logits
        return output

    prompt = Prompt(text=PROMPTS[0].text, completions=("",), gold=0, stop="\n")
    generate_answers(model, encoder, [prompt], max_new_tokens=1)  # finds out what the model can do
    model.register_forward_hook(say)
    assert generate_answers(model, encoder, [prompt], max_new_tokens=len(scripted)) == ["red"]
    assert len(line_break) == 1
    assert len(script) == len(encoder.tokenizer("\nred\n")["input_ids"])


def test_stopping_ends_the_work():
    model, encoder, steps = make_model("llama", seed=2), make_encoder(), []
    whole = generate_answers(model, encoder, PROMPTS[:1], max_new_tokens=24)[0]
    stopped = Prompt(text=PROMPTS[0].text, completions=("",), gold=0, stop=whole[3:5])
    model.register_forward_pre_hook(lambda *_: steps.append(1))
    assert generate_answers(model, encoder, [stopped], max_new_tokens=24) == [whole.partition(whole[3:5])[0].strip()]
    assert len(steps) < 24


def test_sampling_settings_of_the_weights_play_no_part():
    model, encoder = make_model("llama", seed=4), make_encoder()
    expected = generate_answers(model, encoder, PROMPTS, max_new_tokens=12)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=10.0)
    assert generate_answers(model, encoder, PROMPTS, max_new_tokens=12) == expected


def test_all_end_tokens_of_the_model_end_an_answer():
    model, encoder = make_model("llama", seed=4), make_encoder()
    prompt = PROMPTS[3]
    ids = torch.tensor([encoder.encode(prompt, "").ids])
    first = int(model(ids).logits[0, -1].argmax())
    model.generation_config.eos_token_id = [0, first]
    assert generate_answers(model, encoder, [prompt], max_new_tokens=12) == [""]


def test_long_prompts_leave_room_for_the_answer():
    model, encoder = make_model("gpt2", context=32), make_encoder("word", max_length=32)
    body = "the bird sat on the tree . " * 8
    prompt = Prompt(text=body + "so", completions=("",), gold=0, body=(0, len(body.rstrip())))
    generate_answers(model, encoder, [prompt], max_new_tokens=1)
    seen = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["attention_mask"].shape[1]), with_kwargs=True
    )
    generate_answers(model, encoder, [prompt], max_new_tokens=12)
    assert max(seen) <= 32
    assert seen[0] == 20
    with pytest.raises(DataError, match="max_new_tokens=32"):
        generate_answers(model, encoder, [prompt], max_new_tokens=32)


def test_an_empty_prompt_starts_as_a_document():
    model, encoder = make_model("olmo"), make_encoder()
    prompt = Prompt(text="", completions=("",), gold=0, stop="")
    assert generate_answers(model, encoder, [prompt], max_new_tokens=8) == [reference_answer(model, encoder, prompt, 8)]
    assert generate_answers(model, encoder, [], max_new_tokens=8) == []


def test_out_of_memory_halves_the_batch(monkeypatch, caplog):
    model, encoder = make_model(), make_encoder()
    expected = generate_answers(model, encoder, PROMPTS, max_new_tokens=8)
    real = generation.Decoding.run

    def limited(self, prompts, *args, **options):
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, prompts, *args, **options)

    monkeypatch.setattr(generation.Decoding, "run", limited)
    told = []
    with caplog.at_level(logging.WARNING):
        assert generate_answers(model, encoder, PROMPTS, max_new_tokens=8, on_shrink=told.append) == expected
    assert "out of memory" in caplog.text
    assert told[-1] in (1, 2)


def test_out_of_memory_for_a_single_answer_is_said_plainly(monkeypatch):
    def never(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(generation.Decoding, "run", never)
    with pytest.raises(TooLargeForMemory, match=r"single row of \d+ tokens: use fewer shots"):
        generate_answers(make_model(), make_encoder(), PROMPTS, max_new_tokens=8)


def test_special_tokens_are_not_part_of_an_answer():
    assert make_tokenizer().eos_token not in " ".join(
        generate_answers(make_model(seed=5), make_encoder(), PROMPTS, max_new_tokens=30)
    )


SHOTS = "\n\n".join(SENTENCES[20:23]) + "\n\n"
FEW_SHOT = [dataclasses.replace(prompt, text=SHOTS + prompt.text) for prompt in PROMPTS]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["olmo", "olmo2", "llama", "neox", "gpt2", "mistral_40", "gemma3_40", "mistral"])
def test_answers_after_shared_shots_equal_those_row_by_row(name, attention):
    encoder = make_encoder(max_length=320)
    model = make_model(name, seed=1, attention=attention, context=320, vocabulary=len(encoder.tokenizer))
    prompts = [*FEW_SHOT, *PROMPTS[:2]]
    expected = [reference_answer(model, encoder, prompt, 16) for prompt in prompts]
    assert len(set(expected)) > 2
    assert generate_answers(model, encoder, prompts, max_new_tokens=16, batch_rows=3) == expected


def test_shared_shots_are_read_once():
    model, encoder = make_model(context=320), make_encoder(max_length=320)
    generate_answers(model, encoder, FEW_SHOT[:1], max_new_tokens=1)
    sizes = []
    model.model.register_forward_pre_hook(lambda _, __, i: sizes.append(tuple(i["input_ids"].shape)), with_kwargs=True)
    generate_answers(model, encoder, FEW_SHOT, max_new_tokens=4, batch_rows=4)
    shared = len(encoder.encode(FEW_SHOT[0], "").ids) - 5
    assert sizes[0][0] == 1
    assert sizes[0][1] > shared
    assert all(length < 60 for _, length in sizes[1:])
    assert [rows for rows, length in sizes[1:] if length > 1] == [4, 4]


def test_progress_is_told():
    model, encoder, told = make_model(context=320), make_encoder(max_length=320), []
    generate_answers(
        model, encoder, [*FEW_SHOT, *PROMPTS], max_new_tokens=2, batch_rows=4,
        on_progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert [total for _, total in told] == [16] * len(told)
    assert told[-1][0] == 16
    assert told == sorted(told)
