from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretune.data.examples import Prompt
from pretune.evaluation import forward
from pretune.evaluation.likelihood import score_options
from pretune.evaluation.prefix import common_length, group_by_prefix, read_prefix
from support.models import SENTENCES, close, make_encoder, make_model, make_tokenizer, reference_scores

SHOTS = "\n\n".join(f"{sentence} : yes" for sentence in SENTENCES[:3]) + "\n\n"
OPTIONS = ((" yes", " no"), (" small", " not small at all", " n"), (" the bird sat on a tree",), ("", " x"))
PROMPTS = [
    Prompt(text=SHOTS + text[: 6 + 5 * i], completions=OPTIONS[i % 4], gold=0) for i, text in enumerate(SENTENCES[5:13])
]
APART = Prompt(text="nothing in common", completions=(" yes", " no no"), gold=0)
LOST_A_SHOT = Prompt(text=SHOTS.partition("\n\n")[2] + "a bird", completions=(" yes", " no"), gold=0)


def check(model, encoder, prompts, **options):
    scores = score_options(model, encoder, prompts, **options)
    for prompt, score in zip(prompts, scores, strict=True):
        for (total, first), found, found_first in zip(
            reference_scores(model, encoder, prompt), score.sum, score.first_token, strict=True
        ):
            assert close(found, total), (prompt, found, total)
            assert close(found_first, first), (prompt, found_first, first)
    return scores


def count_tokens(model, encoder, prompts) -> int:
    """Tokens, padding included, that go through the model."""
    seen = []
    handle = model.base_model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    score_options(model, encoder, prompts)
    handle.remove()
    return sum(seen)


@pytest.mark.parametrize("kind", ["bpe", "metaspace"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["olmo", "olmo2", "llama", "neox", "gpt2"])
def test_rows_after_a_prefix_equal_plain_sequences(name, attention, kind):
    model, encoder = make_model(name, attention=attention, context=320), make_encoder(kind, max_length=320)
    check(model, encoder, [*PROMPTS, APART, LOST_A_SHOT])
    assert forward.find_capabilities(model).prefix
    whole = sum(len(encoder.encode(prompt, "").ids) for prompt in PROMPTS)
    assert count_tokens(model, encoder, PROMPTS) < 0.5 * whole


@pytest.mark.parametrize("name", ["mistral", "mistral_40", "gemma3_40", "gemma2", "cohere2", "granite"])
def test_models_with_windows_are_scored_exactly(name):
    model = make_model(name, attention="eager", context=320)
    encoder = make_encoder("word", max_length=320)
    short = [Prompt(text=f"{SENTENCES[0]} {SENTENCES[1]} bird" + end, completions=(" a", " b c"), gold=0)
             for end in ("", " sat", " sat on")]  # fmt: skip
    check(model, encoder, [*PROMPTS, *short])
    found = forward.find_capabilities(model)
    assert found.prefix or not name.endswith(("_40", "granite"))
    assert found.longest == (320 if name == "granite" else 40 if name.endswith("_40") else 8)
    if name.endswith("_40"):  # what fits into the window is a tree after a prefix, the rest one sequence per option
        assert count_tokens(model, encoder, short) < 0.6 * sum(len(encoder.encode(p, "").ids) for p in short)


def test_attention_without_masks_still_reads_the_prefix_once(monkeypatch):
    monkeypatch.setattr(forward, "MASKABLE_ATTENTION", ())  # as flash attention: causal, no mask of one's own
    model, encoder = make_model(context=320), make_encoder(max_length=320)
    check(model, encoder, PROMPTS)
    found = forward.find_capabilities(model)
    assert found.prefix
    assert not found.tree


def test_a_model_that_ignores_the_cache_is_found_out():
    model, encoder = make_model(context=320), make_encoder(max_length=320)
    inner = model.model.forward
    model.model.forward = lambda past_key_values=None, **inputs: inner(**inputs)
    check(model, encoder, PROMPTS)
    assert not forward.find_capabilities(model).prefix


def test_a_model_that_keeps_no_keys_is_refused():
    model = make_model()
    inner = model.model.forward
    model.model.forward = lambda past_key_values=None, **inputs: inner(**inputs)
    with torch.inference_mode(), pytest.raises(ValueError, match="keeps no keys"):
        read_prefix(model, (1, 2, 3))


def test_nothing_is_kept_for_other_weights():
    model, encoder = make_model(context=320), make_encoder(max_length=320)
    before = check(model, encoder, PROMPTS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)
    after = check(model, encoder, PROMPTS)
    assert before[0].sum != after[0].sum


def test_bf16_is_as_near_with_a_prefix_as_without(monkeypatch):
    model, encoder = make_model(context=320, std=0.05), make_encoder(max_length=320)
    exact = score_options(model, encoder, PROMPTS)
    rough = score_options(model.to(torch.bfloat16), encoder, PROMPTS)
    for a, b in zip(exact, rough, strict=True):
        assert a.sum == pytest.approx(b.sum, rel=0.03, abs=0.1)


FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
tails = st.text(alphabet="abrid the.☃é\n", max_size=10)


@FEW
@given(
    st.lists(st.tuples(st.booleans(), tails, st.lists(tails, min_size=1, max_size=4)), min_size=1, max_size=7),
    st.sampled_from([1, 60, 10_000]),
    st.randoms(use_true_random=False),
)
def test_scores_do_not_depend_on_neighbours_batch_or_order(drawn, batch_tokens, rng):
    """Rows with and without the shots, duplicates, one-row sets, empty options and texts, any script."""
    model, encoder = make_model("llama", context=320), make_encoder(max_length=320)
    prompts = [Prompt(text=SHOTS * with_shots + text, completions=tuple(o), gold=0) for with_shots, text, o in drawn]
    alone = [check(model, encoder, [prompt])[0] for prompt in prompts]
    order = list(range(len(prompts)))
    rng.shuffle(order)
    together = score_options(model, encoder, [prompts[i] for i in order + order[:1]], batch_tokens=batch_tokens)
    for place, index in enumerate(order + order[:1]):
        assert all(close(a, b) for a, b in zip(together[place].sum, alone[index].sum, strict=True))
        assert together[place].ambiguous == alone[index].ambiguous


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), max_size=12), st.integers(1, 4))
def test_groups_share_what_they_say(sequences, shortest):
    groups = group_by_prefix(sequences, shortest)
    assert sorted(number for _, numbers in groups for number in numbers) == list(range(len(sequences)))
    for length, numbers in groups:
        assert len({tuple(sequences[number][:length]) for number in numbers}) <= 1
        assert length == 0 or (length >= shortest and len(numbers) > 1)
        assert all(length < len(sequences[number]) for number in numbers)
    assert [length for length, _ in groups].count(0) <= 1


def test_rows_that_lost_shots_do_not_spoil_the_prefix():
    header, shots = list(range(30)), list(range(100, 200))
    kept = [[*header, *shots, number, number] for number in range(8)]
    lost = [[*header, *shots[50:], number, number] for number in range(3)]
    assert group_by_prefix([*kept, *lost]) == [(130, list(range(8))), (80, [8, 9, 10])]
    assert common_length([*kept, *lost]) == 30


def test_begin_token_and_boundary_belong_to_the_prefix_only_where_all_rows_agree():
    """The last token before the rows' own text may join with it; then it is part of the row."""
    encoder = make_encoder("metaspace", max_length=320)
    model = make_model(context=320)
    prompts = [
        Prompt(text=SHOTS.rstrip("\n") + tail, completions=(" x", "y"), gold=0) for tail in ("s", ".", " no", "")
    ]
    check(model, encoder, prompts)
    assert make_tokenizer("metaspace")("a")["input_ids"][0] == encoder.bos[0]


def test_progress_is_told_over_all_groups():
    model, encoder, told = make_model(context=320), make_encoder(max_length=320), []
    score_options(
        model, encoder, [*PROMPTS, APART, LOST_A_SHOT], batch_tokens=60, on_progress=lambda *n: told.append(n)
    )
    assert told == sorted(told)
    assert told[-1] == (10, 10)
    assert len(told) > 3
