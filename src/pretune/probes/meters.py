"""Measuring one model again and again: everything that does not depend on the weights is done once.

A reading holds one value per item, so that two readings of the same items can be compared as pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoder
from pretune.data.examples import Example
from pretune.errors import NonFiniteScores, UsageError
from pretune.evaluation.evaluate import gold_of, make_encoder
from pretune.evaluation.forward import evaluating, find_capabilities, score_layout
from pretune.evaluation.intervals import Interval, bootstrap_mean, bootstrap_ratio
from pretune.evaluation.layout import Branching, Layout
from pretune.evaluation.likelihood import branch_out, divide, encode_options, separator_id
from pretune.evaluation.prompting import render_fitting
from pretune.evaluation.text_loss import choose_windows, slide

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One measurement: each item's value is ``totals`` over ``weights`` (nats over tokens; right or not over 1)."""

    totals: Reals
    weights: Reals

    @property
    def value(self) -> float:
        """Value over all items."""
        return math.fsum(self.totals) / math.fsum(self.weights)

    def interval(self) -> Interval:
        """Value with its bootstrap interval over items."""
        return bootstrap(self.totals, self.weights)


def bootstrap(totals: Reals, weights: Reals) -> Interval:
    """Ratio of totals with its interval; a plain mean where the weights are equal."""
    if (weights == 1).all():
        return bootstrap_mean(totals)
    return bootstrap_ratio(totals, weights)


class Meter(Protocol):
    """Measures a model on the rows of one task."""

    task: Task
    metric: str
    scorer: str
    less_is_better: bool

    def read(self, model: Any) -> Reading:
        """Measure."""
        ...


class TextMeter:
    """Loss per token on plain text, by the windows of :mod:`pretune.evaluation.text_loss`."""

    metric, scorer, less_is_better = "loss", "likelihood", True

    def __init__(self, model: Any, tokenizer: Any, task: Task, examples: Sequence[Example]) -> None:
        self.task = task
        encoder = make_encoder(model, tokenizer)
        window, stride = choose_windows(encoder, None, None)
        lead = (separator_id(encoder),)
        self.texts = [tuple(ids) for ids in encode_texts(encoder, examples) if ids]
        branchings: list[Branching] = []
        owners: list[int] = []
        for index, ids in enumerate(self.texts):
            parts = slide(lead + ids, window, stride)
            branchings += parts
            owners += [index] * len(parts)
        self.layout = Layout(branchings)
        self.owners = np.array(owners, dtype=np.int64)[self.layout.branch_of]
        self.tokens = np.array([len(ids) for ids in self.texts], dtype=np.float64)

    def read(self, model: Any) -> Reading:
        """Nats of each text over its tokens."""
        with evaluating(model):
            split_head = find_capabilities(model).split_head
            scores = score_layout(model, self.layout, batch_tokens=None, split_head=split_head)
        nats = np.bincount(self.owners, weights=-scores, minlength=len(self.texts)).astype(np.float64)
        return Reading(totals=check_finite(self.task, nats), weights=self.tokens)


class ChoiceMeter:
    """Accuracy by the summed log-likelihood of the options."""

    metric, scorer, less_is_better = "accuracy", "sum", False

    def __init__(self, model: Any, tokenizer: Any, task: Task, format_: Format, examples: Sequence[Example]) -> None:
        self.task = task
        encoder = make_encoder(model, tokenizer)
        prompts, _ = render_fitting(encoder, examples, task=task, format_=format_, shots=(), reserve=0)
        with evaluating(model):
            able = find_capabilities(model)
        rows = encode_options(encoder, prompts)
        branchings = [part for row in rows for joined in branch_out(row, encoder) for part in divide(joined, able)]
        self.layout = Layout(branchings)
        self.options = [len(row) for row in rows]
        self.golds = np.array([gold_of(task, example) for example in examples])

    def read(self, model: Any) -> Reading:
        """Whether the right option is the likeliest, for each item; of equal ones the first counts."""
        with evaluating(model):
            split_head = find_capabilities(model).split_head
            scores = score_layout(model, self.layout, batch_tokens=None, split_head=split_head)
        sums = np.bincount(self.layout.branch_of, weights=scores, minlength=len(self.layout.counts)).astype(np.float64)
        check_finite(self.task, sums)
        parts = np.split(sums, np.cumsum(self.options)[:-1])
        right = np.array([float(part.argmax() == gold) for part, gold in zip(parts, self.golds, strict=True)])
        return Reading(totals=right, weights=np.ones(len(right)))


def make_meter(model: Any, tokenizer: Any, task: Task, format_: Format, examples: Sequence[Example]) -> Meter:
    """The meter of a task. Generated answers and conversations are not measured by probes."""
    if task.answer == "language":
        return TextMeter(model, tokenizer, task, examples)
    if task.answer in ("classification", "choice"):
        return ChoiceMeter(model, tokenizer, task, format_, examples)
    raise UsageError(f"task={task.name}: answer={task.answer} is not measured by probes; valid: classification, choice")


def encode_texts(encoder: Encoder, examples: Sequence[Example]) -> list[list[int]]:
    """Tokens of the examples' texts."""
    texts = [example.target for example in examples]
    ids: list[list[int]] = encoder.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def check_finite(task: Task, values: Reals) -> Reals:
    """Refuse scores that are not numbers."""
    if not np.isfinite(values).all():
        raise NonFiniteScores(f"task={task.name}, item {int(np.argmin(np.isfinite(values)))}: scores are not finite")
    return values
