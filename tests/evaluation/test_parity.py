"""The same numbers as the packages that the field measures with: lm-evaluation-harness and rouge_score."""

from __future__ import annotations

import json

import pytest
from rouge_score.rouge_scorer import RougeScorer

from pretune.config.science import Format, Task, Template
from pretune.data.encoding import Encoder
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render
from pretune.evaluation.evaluate import evaluate_examples
from pretune.evaluation.generation import generate_answers
from pretune.evaluation.likelihood import score_alone, score_options
from support.models import SENTENCES, make_encoder, make_model, make_tokenizer

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra test)")

SHOTS = "\n\n".join(f"{sentence} : yes" for sentence in SENTENCES[:3]) + "\n\n"
OPTIONS = ((" yes", " no"), (" small", " not small at all", " n"), (" the bird sat on a tree",), ("no space", "\nline"))
# no prompt ends in a space: templates may not, and the harness would count such a space to the option
PROMPTS = [
    Prompt(text=SHOTS * (i % 2) + text[: 6 + 5 * i].rstrip(), completions=OPTIONS[i % 4], gold=0)
    for i, text in enumerate(SENTENCES[5:15])
]


def near(found: float, wanted: float) -> bool:
    return abs(found - wanted) <= 1e-4 * max(1.0, abs(wanted) / 10)


def harness_of(model, tokenizer):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, device="cpu")


def log_likelihoods(harness, pairs: list[tuple[str, str]]) -> list[float]:
    from lm_eval.api.instance import Instance

    requests = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    return [total for total, _ in harness.loglikelihood(requests, disable_tqdm=True)]


@pytest.mark.parametrize("name", ["olmo", "llama", "neox", "gpt2", "mistral"])
def test_log_likelihoods_equal_those_of_the_harness(name):
    model, encoder = make_model(name, context=320), make_encoder(max_length=320)
    harness = harness_of(model, encoder.tokenizer)
    wanted = iter(log_likelihoods(harness, [(p.text, option) for p in PROMPTS for option in p.completions]))
    for prompt, score in zip(PROMPTS, score_options(model, encoder, PROMPTS), strict=True):
        assert all(near(total, next(wanted)) for total in score.sum), prompt
    alone = score_alone(model, encoder, PROMPTS)
    wanted = iter(log_likelihoods(harness, [("", option) for p in PROMPTS for option in p.completions]))
    assert all(near(total, next(wanted)) for totals in alone for total in totals)


def test_log_likelihoods_equal_those_of_the_harness_with_a_sentencepiece_tokenizer():
    model, tokenizer = make_model("llama", context=320), make_tokenizer("metaspace")
    prompts = [prompt for prompt in PROMPTS if prompt.completions[0].startswith(" ")]
    harness = harness_of(model, tokenizer)
    wanted = iter(log_likelihoods(harness, [(p.text, option) for p in prompts for option in p.completions]))
    for score in score_options(model, Encoder(tokenizer, max_length=320), prompts):
        assert all(near(total, next(wanted)) for total in score.sum)


FORMAT = Format(name="default", templates={"nli": Template(prompt="### Input: {premise}\n### Inference:")})
LABELS = ("yes", "no", "small bird")
NLI = Task(name="nli", family="nli")
HARNESS_TASK = """
task: parity
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
metric_list: [{{metric: acc}}, {{metric: acc_bytes}}, {{metric: acc_mutual_info}}]
metadata: {{version: 1}}
"""


def test_accuracies_of_a_whole_task_equal_those_of_the_harness(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    model, encoder = make_model(seed=2, std=0.4, context=320), make_encoder(max_length=320)
    examples = [
        Example(id=str(i), fields={"premise": SENTENCES[i]}, options=LABELS, gold=i * i % 3, target=LABELS[i * i % 3])
        for i in range(40)
    ]
    shots = examples[36:]
    prompts = [render(example, FORMAT, NLI, shots=shots) for example in examples[:36]]
    rows = [{"prompt": p.text, "choices": list(p.completions), "gold": p.gold} for p in prompts]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "parity.yaml").write_text(HARNESS_TASK.format(rows=tmp_path / "rows.jsonl"))
    theirs = simple_evaluate(
        model=harness_of(model, encoder.tokenizer),
        tasks=["parity"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )["results"]["parity"]
    result = evaluate_examples(model, encoder, task=NLI, format_=FORMAT, examples=examples[:36], shots=shots)
    ours = {row["scorer"]: row["value"] for row in result.metrics}
    assert ours["sum"] == pytest.approx(theirs["acc,none"])
    assert ours["per_byte"] == pytest.approx(theirs["acc_bytes,none"])
    assert ours["pmi"] == pytest.approx(theirs["acc_mutual_info,none"])
    assert len({ours["sum"], ours["per_byte"], ours["pmi"]}) == 3


def test_generated_answers_equal_those_of_the_harness():
    from lm_eval.api.instance import Instance

    model, encoder = make_model("llama", seed=1, context=320, vocabulary=331), make_encoder(max_length=320)
    prompts = [Prompt(text=p.text, completions=("",), gold=0, stop="e") for p in PROMPTS]
    settings = {"until": ["e"], "do_sample": False, "max_gen_toks": 12}
    requests = [
        Instance(request_type="generate_until", doc={}, arguments=(p.text, dict(settings)), idx=0) for p in prompts
    ]
    theirs = harness_of(model, encoder.tokenizer).generate_until(requests, disable_tqdm=True)
    assert generate_answers(model, encoder, prompts, max_new_tokens=12) == [text.strip() for text in theirs]


def test_rouge_of_a_whole_task_equals_rouge_score():
    task = Task(name="xsum", family="nli", answer="generation", metric="rouge_l", scorer="generate", max_new_tokens=12)
    model, encoder = make_model("llama", seed=1), make_encoder()
    examples = [Example(id=str(i), fields={"premise": SENTENCES[i]}, target=SENTENCES[i][:40]) for i in range(12)]
    result = evaluate_examples(model, encoder, task=task, format_=FORMAT, examples=examples)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    items = [item for item in result.items if item["scorer"] == "generate"]
    wanted = [scorer.score(item["gold"], item["prediction"])["rougeL"].fmeasure for item in items]
    assert [item["value"] for item in items] == pytest.approx(wanted)
    assert max(wanted) > 0
    (mean,) = [row["value"] for row in result.metrics if (row["scorer"], row["metric"]) == ("generate", "rouge_l")]
    assert mean == pytest.approx(sum(wanted) / len(wanted))
