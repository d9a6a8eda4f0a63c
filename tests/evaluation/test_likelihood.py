from __future__ import annotations

import dataclasses
import logging
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.data.encoding import Encoder
from pretune.data.examples import Prompt
from pretune.errors import DataError, TooLargeForMemory
from pretune.evaluation import forward
from pretune.evaluation.likelihood import encode_options, score_alone, score_options
from support.models import SENTENCES, close, make_encoder, make_model, make_tokenizer, reference_scores

PROMPTS = [
    Prompt(text="the bird sat in the garden . it is", completions=(" small", " not small at all", " n", " no"), gold=0),
    Prompt(text="a robin", completions=(" lay", " sat"), gold=1),
    Prompt(text="one option only:", completions=(" yes, the little bird sat on a tree",), gold=0),
    Prompt(text="unicode ✓ naïve", completions=(" 雪だるま", " ❄️☃", " plain"), gold=0),
    Prompt(text="empty option", completions=("", " x"), gold=0),
    Prompt(text="no space\n", completions=("entailment", "neutral"), gold=0),
    Prompt(text="joint bi", completions=("rd", "g"), gold=0),
    Prompt(text="", completions=("nothing before", "nothing"), gold=0),
]


def check(model, encoder, prompts, **options):
    scores = score_options(model, encoder, prompts, **options)
    for prompt, score in zip(prompts, scores, strict=True):
        for (total, first), found, found_first in zip(
            reference_scores(model, encoder, prompt), score.sum, score.first_token, strict=True
        ):
            assert close(found, total), (prompt, found, total)
            assert close(found_first, first), (prompt, found_first, first)
    return scores


@pytest.mark.parametrize("kind", ["bpe", "word"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["olmo", "llama", "neox", "gpt2"])
def test_tree_pass_equals_plain_sequences(name, attention, kind):
    model = make_model(name, attention=attention)
    check(model, make_encoder(kind), PROMPTS)
    found = forward.find_capabilities(model)
    assert found.tree
    assert found.split_head


@pytest.mark.parametrize("name", ["mistral", "gemma2", "granite", "cohere2"])
def test_unusual_models_are_scored_exactly(name):
    model = make_model(name, attention="eager")
    check(model, make_encoder(), PROMPTS)
    found = forward.find_capabilities(model)
    assert found.split_head == (name == "mistral")
    if name != "granite":
        assert not found.tree or found.longest == 8


def test_other_attention_implementation_falls_back(monkeypatch):
    monkeypatch.setattr(forward, "MASKABLE_ATTENTION", ())
    model = make_model()
    check(model, make_encoder(), PROMPTS)
    assert not forward.find_capabilities(model).tree


def test_a_model_that_ignores_the_mask_is_found_out():
    model = make_model()
    inner = model.model.forward
    model.model.forward = lambda attention_mask=None, **inputs: inner(**inputs)
    check(model, make_encoder(), PROMPTS)
    assert not forward.find_capabilities(model).tree


def test_a_model_that_refuses_positions_is_scored_exactly():
    model = make_model()
    inner = model.model.forward

    def refuse(position_ids=None, **inputs):
        if position_ids is not None:
            raise ValueError("positions are not supported")
        return inner(**inputs)

    model.model.forward = refuse
    scores = score_options(model, make_encoder(), PROMPTS)
    model.model.forward = inner
    for prompt, score in zip(PROMPTS, scores, strict=True):
        assert all(
            close(a, b) for a, (b, _) in zip(score.sum, reference_scores(model, make_encoder(), prompt), strict=True)
        )


def test_trees_are_really_used():
    model, seen = make_model(), []
    score_options(model, make_encoder(), PROMPTS[:1])  # finds out what the model can do
    model.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    encoder = make_encoder()
    score_options(model, encoder, PROMPTS[:1])
    context = encoder.encode(PROMPTS[0], " small").context
    lengths = [len(encoder.encode(PROMPTS[0], c).completion) for c in PROMPTS[0].completions]
    assert seen == [(1, context + sum(lengths) - len(lengths))]


def test_options_of_one_token_need_no_mask():
    model, seen = make_model(), []
    prompts = [Prompt(text="the bird is", completions=(" yes", " no"), gold=0)] * 3
    score_options(model, make_encoder("word"), prompts)
    model.model.register_forward_pre_hook(lambda _, __, inputs: seen.append(inputs), with_kwargs=True)
    scores = score_options(model, make_encoder("word"), prompts)
    assert "attention_mask" not in seen[0]
    assert seen[0]["input_ids"].shape == (3, 3)
    assert all(score.sum == score.first_token for score in scores)


def test_lengths_and_ambiguity():
    encoder = make_encoder("word")
    prompt = Prompt(text="the bird", completions=(" is small", " is little", " sat"), gold=0)
    (score,) = score_options(make_model(), encoder, [prompt])
    assert score.tokens == (2, 2, 1)
    assert score.bytes == (9, 10, 4)
    assert score.ambiguous == (True, True, False)
    assert score.first_token[0] == score.first_token[1]
    assert score.per_token == tuple(s / t for s, t in zip(score.sum, score.tokens, strict=True))
    assert score.per_byte == tuple(s / b for s, b in zip(score.sum, score.bytes, strict=True))


def test_empty_option_is_certain():
    (score,) = score_options(make_model(), make_encoder(), [PROMPTS[4]])
    assert score.sum[0] == score.first_token[0] == score.per_token[0] == 0.0
    assert score.tokens[0] == score.bytes[0] == 0
    assert not any(score.ambiguous)


def test_pmi_takes_off_what_an_option_is_worth_without_its_prompt():
    model, encoder = make_model(), make_encoder()
    alone = score_alone(model, encoder, PROMPTS)
    for prompt, values in zip(PROMPTS, alone, strict=True):
        bare = dataclasses.replace(prompt, text="")
        expected = [total for total, _ in reference_scores(model, encoder, bare)]
        assert all(close(a, b) for a, b in zip(values, expected, strict=True))
    (score,) = score_options(model, encoder, PROMPTS[:1])
    pmi = dataclasses.replace(score, unconditional=alone[0]).pmi
    assert pmi == tuple(a - b for a, b in zip(score.sum, alone[0], strict=True))


def test_options_without_their_prompts_are_scored_once_each():
    model, seen = make_model(), []
    prompts = [Prompt(text=text, completions=(" yes", " no"), gold=0) for text in SENTENCES]
    score_options(model, make_encoder(), prompts[:1])
    model.model.register_forward_pre_hook(lambda _, __, inputs: seen.append(len(inputs["input_ids"])), with_kwargs=True)
    score_alone(model, make_encoder(), prompts)
    assert seen == [2]


def decode_among(model, encoder, prompt: Prompt) -> int:
    """Constrained greedy decoding step by step, the model asked anew for each token."""
    encoded = [encoder.encode(prompt, completion) for completion in prompt.completions]
    ids, left, depth = list(encoded[0].ids[: encoded[0].context]), range(len(encoded)), 0
    while not any(len(encoded[k].completion) == depth for k in left):
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1]
        token = max({encoded[k].completion[depth] for k in left}, key=lambda token: logits[token].item())
        left = [k for k in left if encoded[k].completion[depth] == token]
        ids.append(token)
        depth += 1
    return next(k for k in left if len(encoded[k].completion) == depth)


@pytest.mark.parametrize("seed", range(4))
def test_constrained_decoding_needs_no_other_pass(seed):
    model, encoder = make_model(seed=seed), make_encoder("word")
    options = (" a small bird", " a small tree", " a bird", " the garden that is", " the bird", " yes", " a")
    sets = [options[:6], options[1:5], options[:2], options[2:6], options]
    prompts = [Prompt(text=text, completions=sets[i % 5], gold=0) for i, text in enumerate(SENTENCES[:10])]
    scores = score_options(model, encoder, prompts)
    chosen = [max(range(len(s.constrained)), key=s.constrained.__getitem__) for s in scores]
    assert chosen == [decode_among(model, encoder, prompt) for prompt in prompts]
    assert len(set(chosen)) > 1
    sums = [max(range(len(s.sum)), key=s.sum.__getitem__) for s in scores]
    assert chosen != sums
    assert all(max(s.constrained) == 0.0 and min(s.constrained) < 0 for s in scores)


def test_nothing_to_score():
    assert score_options(make_model(), make_encoder(), []) == []


texts = st.text(alphabet="abrid the.☃é\n", max_size=12)
rows = st.lists(
    st.tuples(st.sampled_from(SENTENCES), st.integers(0, 40), st.lists(texts, min_size=1, max_size=4)),
    min_size=1,
    max_size=6,
)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(rows, st.sampled_from([1, 30, 100, 10_000]), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_batch_or_order(drawn, batch_tokens, rng):
    model, encoder = make_model("llama"), make_encoder()
    prompts = [Prompt(text=text[:cut], completions=tuple(options), gold=0) for text, cut, options in drawn]
    together = check(model, encoder, prompts)
    order = list(range(len(prompts)))
    rng.shuffle(order)
    again = score_options(model, encoder, [prompts[i] for i in order] + prompts[:1], batch_tokens=batch_tokens)
    for place, index in enumerate(order):
        assert all(close(a, b) for a, b in zip(again[place].sum, together[index].sum, strict=True))
        assert again[place].tokens == together[index].tokens


def test_a_long_body_is_cut_for_all_options_alike():
    encoder = make_encoder("word", max_length=24)
    body = "the bird sat on the tree . " * 6
    prompt = Prompt(
        text=f"{body}that is", completions=(" yes", " no no no no no"), gold=0, body=(0, len(body.rstrip()))
    )
    (score,) = score_options(make_model(), encoder, [prompt])
    assert score.cut > 0
    # both options continue the text that leaves room for the longer one: 24 tokens in all
    kept = encoder.encode(prompt, prompt.completions[1])
    ids = list(kept.ids[: kept.context])
    assert len(ids) == 19
    with torch.inference_mode():
        logs = make_model()(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert close(score.sum[0], logs[make_tokenizer("word")(" yes")["input_ids"][0]].item())


def test_what_cannot_be_cut_is_an_error():
    with pytest.raises(DataError, match="does not fit"):
        score_options(make_model(), make_encoder("word", max_length=5), PROMPTS[:1])


def test_out_of_memory_halves_the_batch(monkeypatch, caplog):
    model, encoder = make_model(), make_encoder()
    prompts = [Prompt(text=SENTENCES[i], completions=(" yes it is", " no"), gold=0) for i in range(20)]
    expected = score_options(model, encoder, prompts)
    real, rows_seen = forward.token_log_probabilities, []

    def limited(model, batch, prefix, **options):
        rows_seen.append(len(batch.ids))
        if len(batch.ids) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, batch, prefix, **options)

    monkeypatch.setattr(forward, "token_log_probabilities", limited)
    with caplog.at_level(logging.WARNING):
        found = score_options(model, encoder, prompts)
    assert max(rows_seen[-5:]) <= 3
    assert all(later <= earlier for earlier, later in pairwise(rows_seen))
    assert "out of memory" in caplog.text
    for a, b in zip(found, expected, strict=True):
        assert all(close(x, y) for x, y in zip(a.sum, b.sum, strict=True))


def test_out_of_memory_for_a_single_row_is_said_plainly(monkeypatch):
    def never(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(forward, "token_log_probabilities", never)
    with pytest.raises(TooLargeForMemory, match=r"single row of \d+ tokens: use fewer shots"):
        score_options(make_model(), make_encoder(), PROMPTS[:1])


def test_other_errors_are_not_swallowed(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(forward, "token_log_probabilities", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        score_options(make_model(), make_encoder(), PROMPTS)


def test_training_mode_is_restored():
    model = make_model().train()
    score_options(model, make_encoder(), PROMPTS[:2])
    assert model.training


def test_training_goes_on_after_an_evaluation():
    model, encoder = make_model().train(), make_encoder()
    score_options(model, encoder, PROMPTS)
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_weights_that_were_broken_once_do_not_slow_down_the_next_ones():
    model = make_model()
    healthy = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    (score,) = score_options(model, make_encoder(), PROMPTS[:1])
    assert all(total != total for total in score.sum)
    model.load_state_dict(healthy)
    check(model, make_encoder(), PROMPTS)
    assert forward.find_capabilities(model).split_head


def test_head_in_small_pieces(monkeypatch):
    monkeypatch.setattr(forward, "HEAD_FLOATS", 3 * 400)
    check(make_model(), make_encoder(), PROMPTS)


def test_bf16_is_close_to_fp32():
    model = make_model(std=0.05)
    exact = score_options(model, make_encoder(), PROMPTS)
    rough = score_options(model.to(torch.bfloat16), make_encoder(), PROMPTS)
    for a, b in zip(exact, rough, strict=True):
        assert a.sum == pytest.approx(b.sum, rel=0.03, abs=0.1)


def test_a_begin_token_is_kept():
    tokenizer = make_tokenizer("word")
    encoder = Encoder(tokenizer, max_length=64)
    encoder.bos = (5,)
    check(make_model(), encoder, [PROMPTS[0], PROMPTS[7]])


@pytest.mark.parametrize("kind", ["bpe", "metaspace"])
@pytest.mark.parametrize("completion", [" small", "small", "\nsmall", " not small at all", "."])
def test_what_is_scored_are_the_tokens_that_training_learns(kind, completion):
    encoder = make_encoder(kind)
    prompt = Prompt(text="the bird sat in the garden . it is", completions=(completion, " x"), gold=0)
    learnt = encoder.encode(prompt, completion, end=True)
    ((scored, _),) = encode_options(encoder, [prompt])
    assert scored.ids == learnt.ids[:-1]
    assert scored.context == learnt.context
    assert scored.completion


def test_the_tokenizers_side_of_padding_plays_no_part(monkeypatch):
    model, encoder, found = make_model(), make_encoder(), []
    for side in ("left", "right"):
        monkeypatch.setattr(encoder.tokenizer, "padding_side", side)
        found.append(score_options(model, encoder, PROMPTS))
    assert found[0] == found[1]


def test_an_option_longer_than_the_context_is_an_error():
    prompt = Prompt(text="a bird", completions=(" yes", " no" * 40), gold=0, body=(0, 6))
    with pytest.raises(DataError, match="does not fit into 32 tokens"):
        score_options(make_model(), make_encoder("word", max_length=32), [prompt])
