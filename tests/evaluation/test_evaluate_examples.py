from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer

from pretune.config.science import SCORERS, Format, Task, Template
from pretune.data.examples import Example
from pretune.data.rendering import render
from pretune.errors import DataError, NonFiniteScores, PretuneError
from pretune.evaluation.evaluate import Bootstrap, evaluate_examples
from support.models import SENTENCES, close, make_encoder, make_model, make_tokenizer, reference_scores

FORMAT = Format(
    name="default",
    templates={
        "nli": Template(prompt="### Input: {premise}\n### Inference:", body="premise"),
        "summary": Template(prompt="### Input: {document}\n### Summary:", body="document", stop="e"),
    },
)
LABELS = ("entailment", "neutral", "contradiction")
NLI = Task(name="mnli", family="nli")
SUMMARY = Task(
    name="xsum", family="summary", answer="generation", metric="rouge_l", scorer="generate", max_new_tokens=8
)
TEXT = Task(name="c4", family="text", answer="language", metric="loss", scorer="likelihood")


def nli_rows(count: int) -> list[Example]:
    return [
        Example(id=f"row{i}", fields={"premise": SENTENCES[i]}, options=LABELS, gold=i % 3, target=LABELS[i % 3])
        for i in range(count)
    ]


def metric(result, scorer, name):
    (row,) = [row for row in result.metrics if (row["scorer"], row["metric"]) == (scorer, name)]
    return row


def test_classification():
    model, encoder, examples = make_model(), make_encoder(), nli_rows(12)
    result = evaluate_examples(model, encoder, task=NLI, format_=FORMAT, examples=examples)
    assert [row["scorer"] for row in result.metrics] == [*SCORERS, "baseline"]
    assert all(row["metric"] == "accuracy" and row["n"] == 12 for row in result.metrics)
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in result.metrics)
    assert metric(result, "baseline", "accuracy")["value"] == pytest.approx(1 / 3)
    items = [item for item in result.items if item["scorer"] == "sum"]
    assert metric(result, "sum", "accuracy")["value"] == pytest.approx(sum(i["value"] for i in items) / 12)
    for example, item in zip(examples, items, strict=True):
        prompt = render(example, FORMAT, NLI)
        expected = [total for total, _ in reference_scores(model, encoder, prompt)]
        assert all(close(a, b) for a, b in zip(item["scores"], expected, strict=True))
        assert item["choices"] == [" entailment", " neutral", " contradiction"]
        assert item["prediction"] == LABELS[expected.index(max(expected))]
        assert item["gold"] == LABELS[example.gold]
        assert item["value"] == float(item["prediction"] == item["gold"])
        assert "prompt" not in item
    assert len(result.items) == 12 * len(SCORERS)
    assert result.counts["rows"] == 12


def test_labels_can_be_decoded_freely_as_well():
    model, encoder, examples = make_model(seed=2), make_encoder(), nli_rows(9)
    plain = evaluate_examples(model, encoder, task=NLI, format_=FORMAT, examples=examples)
    result = evaluate_examples(model, encoder, task=NLI, format_=FORMAT, examples=examples, decode=True)
    assert result.metrics[: len(SCORERS)] == plain.metrics[: len(SCORERS)]
    items = [item for item in result.items if item["scorer"] == "generate"]
    assert [item["item"] for item in items] == [example.id for example in examples]
    assert metric(result, "generate", "accuracy")["n"] == 9
    assert result.counts["unparsed_rows"] == sum(not item["prediction"] for item in items)
    assert "unparsed_rows" not in plain.counts


def test_a_decoded_label_counts_if_it_is_named(monkeypatch):
    answers = iter(["neutral, since", "Entailment", "something else"])
    monkeypatch.setattr(
        "pretune.evaluation.evaluate.generate_answers", lambda *_, **__: [next(answers) for _ in range(3)]
    )
    result = evaluate_examples(
        make_model(), make_encoder(), task=NLI, format_=FORMAT, examples=nli_rows(3), decode=True
    )
    items = [item for item in result.items if item["scorer"] == "generate"]
    assert [item["prediction"] for item in items] == ["neutral", "entailment", ""]
    assert [item["scores"] for item in items] == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert metric(result, "generate", "accuracy")["value"] == 0.0
    assert result.counts["unparsed_rows"] == 1


def test_shots_and_kept_prompts():
    examples = nli_rows(6)
    result = evaluate_examples(
        make_model(),
        make_encoder(),
        task=NLI,
        format_=FORMAT,
        examples=examples[:2],
        shots=examples[4:],
        keep_prompts=True,
    )
    assert result.items[0]["prompt"] == render(examples[0], FORMAT, NLI, shots=examples[4:]).text
    assert result.counts["dropped_shots"] == 0


def test_shots_that_do_not_fit_are_dropped_whole(caplog):
    examples = nli_rows(10)
    encoder = make_encoder(max_length=100)
    result = evaluate_examples(
        make_model(), encoder, task=NLI, format_=FORMAT, examples=examples[:2], shots=examples[4:], keep_prompts=True
    )
    lost = result.counts["dropped_shots"]
    assert 0 < lost <= 12
    assert result.counts["truncated_rows"] == 0
    prompt = result.items[0]["prompt"]
    assert any(prompt == render(examples[0], FORMAT, NLI, shots=examples[k:]).text for k in range(5, 11))
    assert "lost shots" in caplog.text


def test_long_bodies_are_counted():
    examples = nli_rows(4)
    result = evaluate_examples(make_model(), make_encoder(max_length=36), task=NLI, format_=FORMAT, examples=examples)
    assert result.counts["truncated_rows"] > 0
    assert result.counts["cut_tokens"] > 0


def test_generation():
    model, encoder = make_model(), make_encoder()
    examples = [Example(id=str(i), fields={"document": SENTENCES[i]}, target=SENTENCES[i][:15]) for i in range(6)]
    result = evaluate_examples(
        model, encoder, task=SUMMARY, format_=FORMAT, examples=examples, train_targets=["a bird", "a tree"]
    )
    assert {(row["scorer"], row["metric"]) for row in result.metrics} == {
        ("generate", "rouge_l"), ("generate", "exact_match"), ("likelihood", "target_loss"), ("baseline", "rouge_l"),
    }  # fmt: skip
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    generated = [item for item in result.items if item["scorer"] == "generate"]
    assert len(generated) == 6
    for example, item in zip(examples, generated, strict=True):
        assert item["gold"] == example.target
        assert item["value"] == scorer.score(example.target, item["prediction"])["rougeL"].fmeasure
    nats = tokens = 0.0
    for example in examples:
        prompt = render(example, FORMAT, SUMMARY)
        nats -= reference_scores(model, encoder, prompt)[0][0]
        tokens += len(encoder.encode(prompt, prompt.completions[0]).completion)
    assert close(metric(result, "likelihood", "target_loss")["value"], nats / tokens)


def test_plain_text():
    texts = [Example(id=str(i), target=text) for i, text in enumerate([*SENTENCES[:5], ""])]
    result = evaluate_examples(make_model(), make_encoder(), task=TEXT, format_=FORMAT, examples=texts, window=16)
    loss = metric(result, "likelihood", "loss")
    items = result.items
    tokens = [-item["scores"][0] / item["value"] for item in items]
    assert loss["value"] == pytest.approx(-sum(item["scores"][0] for item in items) / sum(tokens))
    assert metric(result, "likelihood", "perplexity")["value"] == pytest.approx(math.exp(loss["value"]))
    assert metric(result, "likelihood", "perplexity")["ci_low"] == pytest.approx(math.exp(loss["ci_low"]))
    size = sum(len(text.target.encode()) for text in texts)
    assert metric(result, "likelihood", "loss_per_byte")["value"] == pytest.approx(loss["value"] * sum(tokens) / size)
    assert result.counts["empty_rows"] == 1
    assert result.settings == {"window": 16, "stride": 8}


@pytest.mark.parametrize("task", [NLI, SUMMARY, TEXT])
def test_broken_weights_are_an_error(task):
    model = make_model()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(float("nan"))
    examples = [Example(id="r1", fields={"premise": "a", "document": "a"}, options=LABELS, gold=0, target="entailment")]
    with pytest.raises(NonFiniteScores, match=rf"task={task.name}, row r1") as caught:
        evaluate_examples(model, make_encoder(), task=task, format_=FORMAT, examples=examples)
    assert isinstance(caught.value, PretuneError)


def test_unusable_rows():
    with pytest.raises(DataError, match="no rows"):
        evaluate_examples(make_model(), make_encoder(), task=NLI, format_=FORMAT, examples=[])
    hidden = Example(id="r7", fields={"premise": "a"}, options=LABELS, gold=-1, target="")
    with pytest.raises(DataError, match=r"row r7: gold=-1"):
        evaluate_examples(make_model(), make_encoder(), task=NLI, format_=FORMAT, examples=[hidden])
    with pytest.raises(DataError, match="empty"):
        evaluate_examples(
            make_model(), make_encoder(), task=TEXT, format_=FORMAT, examples=[Example(id="0", target="")]
        )


def test_the_same_twice_and_with_a_bare_tokenizer():
    model, examples = make_model(), nli_rows(5)
    bootstrap = Bootstrap(resamples=200)
    first = evaluate_examples(model, make_encoder(), task=NLI, format_=FORMAT, examples=examples, bootstrap=bootstrap)
    again = evaluate_examples(model, make_tokenizer(), task=NLI, format_=FORMAT, examples=examples, bootstrap=bootstrap)
    assert first == again


def test_light_modules_do_not_import_torch():
    code = (
        "import sys, pretune.evaluation, pretune.evaluation.metrics, pretune.evaluation.intervals, "
        "pretune.evaluation.baselines; "
        "assert not {'torch', 'transformers', 'nltk'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_batches_that_memory_made_smaller_are_recorded(monkeypatch):
    from pretune.evaluation import forward

    real = forward.token_log_probabilities

    def limited(model, batch, prefix, **options):
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, batch, prefix, **options)

    model, encoder, how = make_model(), make_encoder(), {"task": NLI, "format_": FORMAT, "examples": nli_rows(12)}
    plain = evaluate_examples(model, encoder, **how)
    monkeypatch.setattr(forward, "token_log_probabilities", limited)
    found = evaluate_examples(model, encoder, **how)
    assert "after_out_of_memory" not in plain.settings
    assert found.settings["after_out_of_memory"]["batch_tokens"] < 2048
    assert [item["prediction"] for item in found.items] == [item["prediction"] for item in plain.items]
