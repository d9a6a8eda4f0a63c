"""Evaluation of one model on the examples of one task in one format: metrics with intervals, and every item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.config.science import GENERATE, LIKELIHOOD, SCORERS, Format, Task
from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render_conversation
from pretune.errors import DataError, NonFiniteScores
from pretune.evaluation import metrics as measures
from pretune.evaluation.baselines import trivial_baseline
from pretune.evaluation.chat_loss import score_conversations
from pretune.evaluation.forward import Budget, Progress
from pretune.evaluation.generation import encode_prompts, generate_answers
from pretune.evaluation.intervals import Interval, bootstrap_ratio, bootstrap_share
from pretune.evaluation.likelihood import OptionScores, score_alone, score_options
from pretune.evaluation.measurements import count_rows, metric_row, text_item
from pretune.evaluation.prompting import Shots, render_fitting
from pretune.evaluation.text_loss import TextLoss, choose_windows, score_texts
from pretune.modeling import context_length
from pretune.results.schema import BASELINE_SCORER
from pretune.training.distributed import divide

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


FREE_LENGTH = 2
"""A freely decoded label may be this many times as long, in tokens, as the longest option."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What was measured.

    ``metrics``: rows with scorer, metric, value, ci_low, ci_high, n. ``items``: rows with scorer, item, choices,
    scores, prediction, gold, value (and prompt where asked for), as in ``items.parquet``. ``counts``: rows,
    truncated_rows and cut_tokens (bodies shortened to fit), dropped_shots, ambiguous_rows, empty_rows;
    unparsed_rows where labels were decoded freely.
    ``settings``: what else went into the numbers (window and stride of plain text, rule of the baseline, and the sizes
    of batches where memory ran out with larger ones).
    """

    metrics: list[dict[str, Any]]
    items: list[dict[str, Any]]
    counts: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Settings of the intervals."""

    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0

    def mean(self, values: Sequence[float]) -> Interval:
        """Mean of values between 0 and 1, with interval."""
        return bootstrap_share(values, resamples=self.resamples, confidence=self.confidence, seed=self.seed)

    def ratio(self, numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
        """Ratio of totals with interval."""
        return bootstrap_ratio(
            numerators, denominators, resamples=self.resamples, confidence=self.confidence, seed=self.seed
        )


def evaluate_examples(
    model: Any,
    encoder: Encoder | PreTrainedTokenizerBase,
    *,
    task: Task,
    format_: Format,
    examples: Sequence[Example],
    shots: Shots = (),
    train_targets: Sequence[str] = (),
    bootstrap: Bootstrap | None = None,
    batch_tokens: int | None = None,
    batch_rows: int = 64,
    window: int | None = None,
    stride: int | None = None,
    keep_prompts: bool = False,
    decode: bool = False,
    on_progress: Progress | None = None,
) -> EvaluationResult:
    """Evaluate ``model`` on ``examples`` (rows of one split of ``task``) in ``format_`` after ``shots`` (the
    same for all rows, or one sequence for each).

    The kind of answer says how: options are scored by their likelihood under all scorers at once (with ``decode``
    labels are decoded freely as well); generated answers are compared with their target, whose likelihood is measured
    too; plain text (as it is, without format and shots) is measured by its loss over windows of ``window`` tokens
    every ``stride`` tokens. ``train_targets`` are texts for the trivial baseline of generation. Instead of an encoder
    a fast tokenizer will do: then the longest sequence is the model's context. ``on_progress`` is told how many of how
    many rows are done, of the scoring and then of the decoding.

    Raises :class:`NonFiniteScores` naming task and row, and :class:`DataError` for rows that cannot be used.
    """
    if not examples:
        raise DataError(f"task={task.name}: there are no rows to evaluate")
    if not isinstance(encoder, Encoder):
        encoder = make_encoder(model, encoder)
    bootstrap = Bootstrap() if bootstrap is None else bootstrap
    budget = Budget.choose(model, batch_tokens)
    planned, shrunk = budget.tokens, dict[str, int]()
    if task.answer == "language":
        result = evaluate_text(model, encoder, task, examples, bootstrap, (window, stride), budget)
    elif task.answer == "chat":
        result = evaluate_chat(model, encoder, task, format_, examples, bootstrap, budget)
    else:
        reserve = task.max_new_tokens if task.answer == "generation" else 0
        prompts, dropped = render_fitting(encoder, examples, task=task, format_=format_, shots=shots, reserve=reserve)
        scores = divide(
            prompts,
            lambda part: score_options(model, encoder, part, batch_tokens=budget, on_progress=on_progress),
        )
        check_finite(task, examples, [score.sum for score in scores])
        if task.answer == "generation":
            encoded, answers = decode_prompts(
                model, encoder, prompts, task.max_new_tokens, batch_rows, shrunk, on_progress
            )
            result = assess_generation(task, examples, prompts, scores, answers, bootstrap)
            cut = [max(score.cut, row.cut) for score, row in zip(scores, encoded, strict=True)]
        else:
            alone = divide(prompts, lambda part: score_alone(model, encoder, part, batch_tokens=budget))
            scores = [replace(score, unconditional=value) for score, value in zip(scores, alone, strict=True)]
            check_finite(task, examples, alone)
            result = assess_choices(task, examples, prompts, scores, bootstrap)
            cut = [score.cut for score in scores]
            if decode and task.answer == "classification":
                room = min(task.max_new_tokens, FREE_LENGTH * max(max(score.tokens) for score in scores))
                encoded, answers = decode_prompts(model, encoder, prompts, room, batch_rows, shrunk, on_progress)
                add_answers(result, task, examples, prompts, answers, bootstrap)
                cut = [max(tokens, row.cut) for tokens, row in zip(cut, encoded, strict=True)]
        result.counts.update(
            truncated_rows=sum(tokens > 0 for tokens in cut), cut_tokens=sum(cut), dropped_shots=sum(dropped)
        )
        if keep_prompts:
            texts = {example.id: prompt.text for example, prompt in zip(examples, prompts, strict=True)}
            for item in result.items:
                item["prompt"] = texts[item["item"]]
    baseline = trivial_baseline(task, format_, examples, train_targets)
    if baseline is not None:
        interval = bootstrap.mean(baseline.values)
        result.metrics.append(metric_row(BASELINE_SCORER, baseline.metric, interval))
        result.settings["baseline"] = baseline.rule
    if budget.tokens < planned:
        shrunk["batch_tokens"] = budget.tokens
    if shrunk:
        result.settings["after_out_of_memory"] = shrunk
    return result


def decode_prompts(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    batch_rows: int,
    shrunk: dict[str, int],
    on_progress: Progress | None,
) -> tuple[list[Encoded], list[str]]:
    """Tokens of the prompts, and the answers to them; ``shrunk`` is told if memory ran out with ``batch_rows``."""
    encoded = encode_prompts(encoder, prompts, max_new_tokens)

    def generate(part: Sequence[tuple[Prompt, Encoded]]) -> list[str]:
        return generate_answers(
            model,
            encoder,
            [prompt for prompt, _ in part],
            max_new_tokens=max_new_tokens,
            batch_rows=batch_rows,
            encoded=[row for _, row in part],
            on_progress=on_progress,
            on_shrink=lambda rows: shrunk.update(batch_rows=rows),
        )

    return encoded, divide(list(zip(prompts, encoded, strict=True)), generate)


def make_encoder(model: Any, tokenizer: PreTrainedTokenizerBase) -> Encoder:
    """An encoder for sequences as long as the model's context."""
    length = context_length(model)
    if length is None:
        raise DataError(f"{type(model).__name__} does not say how long its context is: pass an Encoder")
    return Encoder(tokenizer, max_length=length)


def assess_choices(
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    scores: Sequence[OptionScores],
    bootstrap: Bootstrap,
) -> EvaluationResult:
    """Accuracy under each scorer; of options with equal scores the first is the prediction."""
    rows, items = [], []
    golds = [gold_of(task, example) for example in examples]
    for scorer in SCORERS:
        values = [measures.scores_of(score, scorer) for score in scores]
        predictions = [measures.choose(value) for value in values]
        right = measures.accuracies(predictions, golds)
        rows.append(metric_row(scorer, "accuracy", bootstrap.mean(right)))
        items += [
            {
                "scorer": scorer,
                "item": example.id,
                "choices": list(prompt.completions),
                "scores": list(value),
                "prediction": example.options[prediction],
                "gold": example.options[gold],
                "value": correct,
            }
            for example, prompt, value, prediction, gold, correct in zip(
                examples, prompts, values, predictions, golds, right, strict=True
            )
        ]
    ambiguous = sum(any(score.ambiguous) for score in scores)
    return EvaluationResult(metrics=rows, items=items, counts=count_rows(len(scores), ambiguous=ambiguous))


def add_answers(
    result: EvaluationResult,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    answers: Sequence[str],
    bootstrap: Bootstrap,
) -> None:
    """Add the accuracy of freely decoded labels (:func:`~pretune.evaluation.metrics.parse_option`) to ``result``.

    An answer that names no label is wrong; its ``prediction`` is empty. ``scores`` are 1 for the label that is named.
    """
    named = [measures.parse_option(answer, example.options) for answer, example in zip(answers, examples, strict=True)]
    values = []
    for example, prompt, option in zip(examples, prompts, named, strict=True):
        gold = gold_of(task, example)
        values.append(float(option == gold))
        result.items.append(
            text_item(
                GENERATE,
                example,
                values[-1],
                prediction="" if option is None else example.options[option],
                gold=example.options[gold],
                choices=prompt.completions,
                scores=[float(index == option) for index in range(len(example.options))],
            )
        )
    result.metrics.append(metric_row(GENERATE, "accuracy", bootstrap.mean(values)))
    result.counts["unparsed_rows"] = named.count(None)


def assess_generation(
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    scores: Sequence[OptionScores],
    answers: Sequence[str],
    bootstrap: Bootstrap,
) -> EvaluationResult:
    """Overlap of the answers with the targets, and the loss per token on the targets themselves."""
    rows, items = [], []
    for metric, measure in measures.TEXT_METRICS.items():
        values = [measure(answer, example.target) for answer, example in zip(answers, examples, strict=True)]
        rows.append(metric_row(GENERATE, metric, bootstrap.mean(values)))
        if metric == task.metric:
            items += [
                text_item(GENERATE, example, value, prediction=answer, gold=example.target)
                for example, value, answer in zip(examples, values, answers, strict=True)
            ]
    nats = [-score.sum[0] for score in scores]
    tokens = [score.tokens[0] for score in scores]
    if sum(tokens):
        kept = [index for index, count in enumerate(tokens) if count]
        loss = bootstrap.ratio([nats[index] for index in kept], [tokens[index] for index in kept])
        rows.append(metric_row(LIKELIHOOD, "target_loss", loss))
    items += [
        text_item(
            LIKELIHOOD, example, loss / max(count, 1), gold=example.target, choices=prompt.completions, scores=(-loss,)
        )
        for example, prompt, loss, count in zip(examples, prompts, nats, tokens, strict=True)
    ]
    return EvaluationResult(metrics=rows, items=items, counts=count_rows(len(scores)))


def evaluate_text(
    model: Any,
    encoder: Encoder,
    task: Task,
    examples: Sequence[Example],
    bootstrap: Bootstrap,
    windows: tuple[int | None, int | None],
    batch_tokens: int | Budget | None,
) -> EvaluationResult:
    """Loss per token (total nats over total tokens), per byte, and perplexity of the examples' texts."""
    window, stride = choose_windows(encoder, *windows)
    texts = [example.target for example in examples]
    scored = divide(
        texts,
        lambda part: score_texts(model, encoder, part, window=window, stride=stride, batch_tokens=batch_tokens),
    )
    result = assess_texts(task, examples, scored, bootstrap)
    result.settings.update(window=window, stride=stride)
    return result


def evaluate_chat(
    model: Any,
    encoder: Encoder,
    task: Task,
    format_: Format,
    examples: Sequence[Example],
    bootstrap: Bootstrap,
    batch_tokens: int | Budget | None,
) -> EvaluationResult:
    """Loss per token of the replies in conversations, each reply with its end-of-text token; per byte; perplexity.

    Conversations lose whole exchanges at their end to fit into the context (``truncated_rows``); those whose first
    exchange does not fit are left out (``empty_rows``).
    """
    conversations = [render_conversation(example, format_, task) for example in examples]
    scored = divide(
        conversations,
        lambda part: list(zip(*score_conversations(model, encoder, part, batch_tokens=batch_tokens), strict=True)),
    )
    result = assess_texts(task, examples, [loss for loss, _ in scored], bootstrap)
    cut = [row.cut for _, row in scored if row is not None]
    result.counts.update(truncated_rows=sum(tokens > 0 for tokens in cut), cut_tokens=sum(cut))
    return result


def assess_texts(
    task: Task, examples: Sequence[Example], scored: Sequence[TextLoss], bootstrap: Bootstrap
) -> EvaluationResult:
    """Loss per token (total nats over total tokens), per byte, and perplexity; texts without tokens are left out."""
    check_finite(task, examples, [(loss.nats,) for loss in scored])
    kept = [(example, loss) for example, loss in zip(examples, scored, strict=True) if loss.tokens]
    if not kept:
        what = "conversations are too long" if task.answer == "chat" else "texts are empty"
        raise DataError(f"task={task.name}: all {len(examples)} {what}")
    nats = [loss.nats for _, loss in kept]
    per_token = bootstrap.ratio(nats, [loss.tokens for _, loss in kept])
    per_byte = bootstrap.ratio(nats, [loss.bytes for _, loss in kept])
    perplexity = Interval(
        value=exponential(per_token.value),
        low=exponential(per_token.low),
        high=exponential(per_token.high),
        n=per_token.n,
    )
    return EvaluationResult(
        metrics=[
            metric_row(LIKELIHOOD, "loss", per_token),
            metric_row(LIKELIHOOD, "loss_per_byte", per_byte),
            metric_row(LIKELIHOOD, "perplexity", perplexity),
        ],
        items=[text_item(LIKELIHOOD, example, loss.nats / loss.tokens, scores=(-loss.nats,)) for example, loss in kept],
        counts=count_rows(len(kept), empty=len(examples) - len(kept)),
    )


def gold_of(task: Task, example: Example) -> int:
    """Index of the right option."""
    if example.gold is None or not 0 <= example.gold < len(example.options):
        raise DataError(
            f"task={task.name}, row {example.id}: gold={example.gold} is none of its {len(example.options)} options"
        )
    return example.gold


def check_finite(task: Task, examples: Sequence[Example], scores: Sequence[tuple[float, ...]]) -> None:
    """Raise :class:`NonFiniteScores` for the first row with a score that is NaN or infinite."""
    for example, values in zip(examples, scores, strict=True):
        if not all(map(math.isfinite, values)):
            raise NonFiniteScores(f"task={task.name}, row {example.id}: log-likelihoods {list(values)} are not finite")


def exponential(value: float) -> float:
    """``exp``, infinite where it overflows."""
    return float(np.exp(np.minimum(value, 709.0))) if value < 709 else math.inf
