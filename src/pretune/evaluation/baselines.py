"""Trivial baselines: what an answer costs nothing to reach on exactly the rows that were evaluated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pretune.config.science import Format, Task
from pretune.data.examples import Example
from pretune.data.rendering import choose_template
from pretune.errors import DataError
from pretune.evaluation.metrics import TEXT_METRICS

CANDIDATE_TARGETS = 50
"""Training targets among which the fixed answer is sought."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A trivial answer: the name of its rule, the metric, and the value of each item."""

    rule: str
    metric: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The baseline's value on the sample."""
        return sum(self.values) / len(self.values)


def trivial_baseline(
    task: Task, format_: Format, examples: Sequence[Example], train_targets: Sequence[str]
) -> Baseline | None:
    """The baseline of ``task``'s primary metric on ``examples``; ``None`` for plain text and conversations, which have
    none.

    Classification: the most frequent class. Choice: the most frequent position of the right option or guessing,
    whichever is better. Generation: the first sentence of the body or a fixed training target, whichever is better.
    """
    if task.answer in ("language", "chat") or not examples:
        return None
    if task.answer == "generation":
        bodies = tuple(body_of(example, format_, task) for example in examples)
        targets = tuple(example.target for example in examples)
        return generation_baseline(task.metric, bodies, targets, tuple(train_targets[:CANDIDATE_TARGETS]))
    position = most_frequent_answer(examples)
    if task.answer == "classification":
        return position
    guess = Baseline(rule="guessing", metric="accuracy", values=tuple(1 / len(example.options) for example in examples))
    return max((position, guess), key=lambda baseline: baseline.mean)


def most_frequent_answer(examples: Sequence[Example]) -> Baseline:
    """Always the option at the position that is right most often; of equally frequent ones the first."""
    counts = Counter(example.gold for example in examples)
    best = min(counts, key=lambda gold: (-counts[gold], -1 if gold is None else gold))
    values = tuple(float(example.gold == best) for example in examples)
    return Baseline(rule=f"option {best}", metric="accuracy", values=values)


def body_of(example: Example, format_: Format, task: Task) -> str:
    """The text that the answer is about: the field that the format's template names as its body."""
    body = choose_template(format_, task).body
    return example.fields.get(body, "") if body is not None else ""


@lru_cache(maxsize=64)
def generation_baseline(
    metric: str, bodies: tuple[str, ...], targets: tuple[str, ...], train_targets: tuple[str, ...]
) -> Baseline:
    """The better of copying the first sentence and of a fixed training target.

    Neither depends on a model, so a ladder of checkpoints computes it once.
    """
    if metric not in TEXT_METRICS:
        raise DataError(f"task.metric={metric}: generated answers are measured by {', '.join(TEXT_METRICS)}")
    measure = TEXT_METRICS[metric]
    candidates = [("first sentence", [first_sentence(body) for body in bodies])]
    if train_targets:
        candidates.append(("training target", [most_typical(metric, train_targets)] * len(targets)))
    baselines = [
        Baseline(
            rule=rule,
            metric=metric,
            values=tuple(measure(answer, target) for answer, target in zip(answers, targets, strict=True)),
        )
        for rule, answers in candidates
    ]
    return max(baselines, key=lambda baseline: baseline.mean)


@lru_cache(maxsize=64)
def most_typical(metric: str, texts: tuple[str, ...]) -> str:
    """The text with the largest mean value against the others; of equal ones the first."""
    measure = TEXT_METRICS[metric]
    totals = [sum(measure(text, other) for other in texts) for text in texts]
    return texts[max(range(len(texts)), key=totals.__getitem__)]


def first_sentence(text: str) -> str:
    """``text`` up to its first full stop, question or exclamation mark before a space, or its first line."""
    line = text.strip().partition("\n")[0]
    match = re.match(r".+?[.!?](?=\s|$)", line)
    return match.group() if match else line
