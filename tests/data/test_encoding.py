from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizer

from pretune.data.encoding import Encoder, boundary
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render
from pretune.data.training_rows import encode_training_rows
from pretune.errors import DataError, PromptTooLong
from pretune.evaluation import evaluate
from pretune.training.finetune import encode_rows
from support.configs import CONFIG, FORMAT, NLI, change
from support.models import SENTENCES, make_encoder, make_model, make_tokenizer

KINDS = ("bpe", "word", "metaspace")


def prompt_of(text: str, *completions: str, body: str | None = None) -> Prompt:
    span = None if body is None else (text.index(body), text.index(body) + len(body))
    return Prompt(text=text, completions=completions, gold=0, body=span)


def decode(encoder: Encoder, ids) -> str:
    return encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("text", "completion"), [
    ("the robin sat on a", " garden tree"),
    ("the robin sat on a:", " entailment"),
    ("the robin sat on\n", "entailment"),
    ("the rob", "in sat"),
    ("the robin sat ", "in a garden"),
    ("", "the robin"),
    ("a robin", ""),
])  # fmt: skip
def test_tokens_are_those_of_the_whole_text(kind, text, completion):
    encoder = make_encoder(kind)
    encoded = encoder.encode(prompt_of(text, completion), completion)
    assert encoded.ids == tuple(encoder.tokenizer(text + completion)["input_ids"])
    assert encoded.completion == encoded.ids[encoded.context :]
    assert encoded.cut == 0


@pytest.mark.parametrize("kind", KINDS)
def test_boundary_stands_before_the_completions_own_space(kind):
    encoder = make_encoder(kind)
    encoded = encoder.encode(prompt_of("the robin sat on", " a tree"), " a tree")
    assert decode(encoder, encoded.completion).strip() == "a tree"
    assert decode(encoder, encoded.ids[: encoded.context]).strip() == "the robin sat on"


def test_boundary_without_a_space_after_a_line_break():
    encoder = make_encoder("bpe")
    encoded = encoder.encode(prompt_of("the robin\n", "yes"), "yes")
    assert decode(encoder, encoded.completion) == "yes"
    assert decode(encoder, encoded.ids[: encoded.context]) == "the robin\n"


def test_token_that_straddles_the_boundary_belongs_to_the_completion():
    encoder = make_encoder("word")
    encoded = encoder.encode(prompt_of("the rob", "in sat"), "in sat")
    words = encoder.tokenizer.convert_ids_to_tokens(list(encoded.ids))
    assert words == ["the", "robin", "sat"]
    assert encoded.context == 1


def test_boundary_by_offsets():
    assert boundary([(0, 3), (3, 6), (6, 9)], 6) == 2
    assert boundary([(0, 3), (3, 7), (7, 9)], 6) == 1
    assert boundary([(0, 3)], 3) == 1
    assert boundary([], 0) == 0


def test_letters_of_several_tokens_stay_whole_at_the_boundary():
    encoder = make_encoder("bpe")
    encoded = encoder.encode(prompt_of("na", "ïve 鳥"), "ïve 鳥")
    assert decode(encoder, encoded.completion) == "ïve 鳥"


def test_beginning_of_text_is_what_the_post_processor_adds():
    encoder = make_encoder("metaspace")
    assert encoder.bos == (encoder.tokenizer.bos_token_id,)
    assert make_encoder("bpe").bos == make_encoder("word").bos == ()
    encoded = encoder.encode(prompt_of("the robin", " sat"), " sat")
    assert encoded.ids[0] == encoder.tokenizer.bos_token_id
    assert encoded.ids.count(encoder.tokenizer.bos_token_id) == 1
    assert decode(encoder, encoded.completion) == "sat"


@pytest.mark.parametrize("kind", KINDS)
def test_end_of_text_is_appended_when_asked_for(kind):
    encoder = make_encoder(kind)
    prompt = prompt_of("the robin", " sat")
    without, with_end = encoder.encode(prompt, " sat"), encoder.encode(prompt, " sat", end=True)
    assert with_end.ids == (*without.ids, encoder.tokenizer.eos_token_id)
    assert with_end.context == without.context


def test_end_of_text_that_the_tokenizer_lacks_is_an_error():
    tokenizer = make_tokenizer("word").__class__(tokenizer_object=make_tokenizer("word")._tokenizer)
    with pytest.raises(DataError, match="no end-of-text token"):
        Encoder(tokenizer, max_length=8).encode(prompt_of("the", " robin"), " robin", end=True)


def test_tokenizer_without_offsets_is_refused():
    class Slow(PreTrainedTokenizer):
        vocab_size = 1

        def get_vocab(self):
            return {"a": 0}

        def _tokenize(self, text, **_):
            return list(text)

    with pytest.raises(DataError, match="Slow gives no character offsets"):
        Encoder(Slow(), max_length=8)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_end_of_the_body_is_cut(kind):
    body = " ".join(SENTENCES[:4])
    head, tail, completion = "the bird , ", " , small tree is", " contradiction"
    prompt = prompt_of(head + body + tail, completion, body=body)
    whole = make_encoder(kind, 10_000).encode(prompt, completion, end=True)
    for room in (20, 33, 50, len(whole.ids) - 1):
        encoder = make_encoder(kind, room)
        encoded = encoder.encode(prompt, completion, end=True)
        assert len(encoded.ids) <= room
        assert encoded.cut > 0
        text = decode(encoder, encoded.ids)
        assert text.startswith(head)
        assert text.endswith(tail + completion)
        kept = text[len(head) : len(text) - len(tail + completion)]
        assert kept
        assert body.startswith(kept)
        assert decode(encoder, encoded.completion).strip() == completion.strip()


def test_as_little_is_cut_as_need_be():
    encoder = make_encoder("word", 12)
    body = " ".join(["robin"] * 20)
    encoded = encoder.encode(prompt_of(f"the {body} sat", " yes", body=body), " yes")
    assert len(encoded.ids) == 12
    assert encoded.cut == 11


def test_prompt_that_just_fits_is_not_cut():
    body = "robin sat on a tree"
    prompt = prompt_of(f"the {body} :", " yes", body=body)
    assert make_encoder("word", 8).encode(prompt, " yes").cut == 0
    assert make_encoder("word", 8).encode(prompt, " yes", end=True).cut == 1


@pytest.mark.parametrize("body", [None, "robin"])
def test_what_cannot_fit_without_cutting_the_instruction_is_an_error(body):
    prompt = prompt_of("the bird in the garden sat on a robin", " contradiction yes no", body=body)
    with pytest.raises(DataError, match=r"does not fit into 6 tokens even without its body .*'the bird in the garden"):
        make_encoder("word", 6).encode(prompt, " contradiction yes no")


def test_many_are_encoded_as_one_by_one():
    encoder = make_encoder("bpe", 24)
    prompts = [prompt_of(f"the {sentence} :", " yes", body=sentence) for sentence in SENTENCES[:8]]
    pairs = [(prompt, " yes") for prompt in prompts]
    assert encoder.encode_many(pairs, end=True) == [encoder.encode(*pair, end=True) for pair in pairs]
    assert encoder.encode_many([]) == []


TEXTS = st.text(alphabet=st.sampled_from("abir thens.\n:é鳥 "), max_size=40)


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(KINDS), text=TEXTS, completion=TEXTS, end=st.booleans())
def test_any_text_is_split_between_prompt_and_completion_without_loss(kind, text, completion, end):
    encoder = make_encoder(kind)
    encoded = encoder.encode(prompt_of(text, completion), completion, end=end)
    expected = encoder.tokenizer(text + completion)["input_ids"] + ([encoder.tokenizer.eos_token_id] if end else [])
    assert list(encoded.ids) == expected
    assert len(encoder.bos) <= encoded.context <= len(encoded.ids)
    whole = encoder.tokenizer(text + completion, add_special_tokens=False, return_offsets_mapping=True)
    inside = [end_ <= len(text) for _, end_ in whole["offset_mapping"]]
    assert all(inside[: encoded.context - len(encoder.bos)])
    assert not any(later > earlier for earlier, later in pairwise(inside))


@settings(deadline=None, max_examples=60)
@given(body=st.text(alphabet=st.sampled_from("abir thens.\n:é鳥 "), min_size=1, max_size=60), room=st.integers(14, 40))
def test_any_body_is_cut_to_a_beginning_of_itself_or_refused(body, room):
    encoder = make_encoder("bpe", room)
    prompt = Prompt(text=f"the :{body}; a :", completions=(" yes",), gold=0, body=(5, 5 + len(body)))
    try:
        encoded = encoder.encode(prompt, " yes")
    except DataError:
        return
    text = decode(encoder, encoded.ids)
    assert text.startswith("the :")
    assert text.endswith("; a : yes")
    assert body.startswith(text[5 : len(text) - len("; a : yes")])
    assert len(encoded.ids) <= room


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_evaluation_read_the_same_tokens(kind, monkeypatch):
    """What is trained is, but for the end of text, what the evaluation runs through the model for the right answer."""
    task = change(NLI, "labels", {"0": "yes", "1": "no"})
    examples = [
        Example(id=str(i), fields={"premise": SENTENCES[i], "hypothesis": "a bird sat"}, options=("yes", "no"),
                gold=i % 2, target=("yes", "no")[i % 2])
        for i in range(6)
    ]  # fmt: skip
    tokenizer, model = make_tokenizer(kind), make_model(context=256)
    trained = encode_rows(examples, change(CONFIG, "task", task), tokenizer, longest=256)
    seen: list[tuple[int, ...]] = []
    real = Encoder.encode_many

    def record(self, pairs, **how):
        encoded = real(self, pairs, **how)
        seen.extend((pair[1], item) for pair, item in zip(pairs, encoded, strict=True))
        return encoded

    monkeypatch.setattr(Encoder, "encode_many", record)
    evaluate.evaluate_examples(model, tokenizer, task=task, format_=FORMAT, examples=examples)
    evaluated = {(completion, item.ids, item.context) for completion, item in seen}
    for example, row in zip(examples, trained, strict=True):
        prompt = render(example, FORMAT, task)
        assert row.ids[-1] == tokenizer.eos_token_id
        assert (prompt.completions[prompt.gold], row.ids[:-1], row.context) in evaluated


def test_training_rows_that_do_not_fit_without_their_body_are_left_out_and_evaluated_ones_are_named(caplog):
    encoder = make_encoder("bpe", max_length=60)
    rows = [
        Example(id=str(i), fields={"premise": "a bird", "hypothesis": text}, options=("a", "b"), gold=0, target="a")
        for i, text in enumerate(("a robin", "a robin " * 60, "a tree"))
    ]
    encoded = encode_training_rows(encoder, rows, task=NLI, format_=FORMAT)
    assert encoded == encode_training_rows(encoder, [rows[0], rows[2]], task=NLI, format_=FORMAT)
    assert "task=nli, row 1: a prompt does not fit into 60 tokens" in caplog.text
    with pytest.raises(PromptTooLong, match="task=nli, row 1: "):
        encoder.encode(render(rows[1], FORMAT, NLI), " a")


def test_plain_texts_are_learnt_whole_between_the_tokens_that_divide_documents():
    task = change(change(NLI, "answer", "language"), "family", "text")
    for kind in ("bpe", "metaspace"):
        encoder = make_encoder(kind, max_length=40)
        end = encoder.tokenizer.eos_token_id
        examples = [Example(id="0", target="a robin sat"), Example(id="1", target="a robin sat " * 30)]
        short, long = encode_training_rows(encoder, examples, task=task, format_=FORMAT)
        tokens = encoder.tokenizer("a robin sat", add_special_tokens=False)["input_ids"]
        assert short.ids == (*(encoder.bos or (end,)), *tokens, end)
        assert short.supervised() == list(range(1, len(short.ids)))
        assert len(long.ids) == 40
        assert long.cut > 0
        assert long.ids[-1] != end
