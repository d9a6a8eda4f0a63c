"""Values of single items: is the choice right, how much does a text overlap with its reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pretune.config.science import SCORERS
from pretune.errors import suggest

if TYPE_CHECKING:
    from pretune.evaluation.likelihood import OptionScores


def scores_of(scores: OptionScores, scorer: str) -> tuple[float, ...]:
    """The value of each option under ``scorer``, in nats (per token, per byte); the largest one is chosen."""
    if scorer not in SCORERS:
        raise ValueError(f"scorer={scorer}: {suggest(scorer, SCORERS)}")
    values: tuple[float, ...] = getattr(scores, scorer)
    return values


def choose(values: Sequence[float]) -> int:
    """Index of the largest value; of equal ones the first."""
    return max(range(len(values)), key=values.__getitem__)


def parse_option(answer: str, options: Sequence[str]) -> int | None:
    """Which of ``options`` a freely decoded ``answer`` names: the longest one that it begins with, as whole words.

    Case, runs of white space, and punctuation or quotation marks around make no difference. ``None``: none.
    """
    found = " ".join(answer.casefold().split()).lstrip(EDGE)
    best, length = None, 0
    for index, option in enumerate(options):
        wanted = " ".join(option.casefold().split()).strip(EDGE)
        follower = found[len(wanted) : len(wanted) + 1]
        if len(wanted) > length and found.startswith(wanted) and not follower.isalnum():
            best, length = index, len(wanted)
    return best


def accuracies(predictions: Sequence[int], golds: Sequence[int]) -> list[float]:
    """1 where the prediction is the gold option, else 0."""
    return [float(prediction == gold) for prediction, gold in zip(predictions, golds, strict=True)]


@lru_cache(maxsize=1)
def stemmer() -> Any:
    """Porter's stemmer as ``rouge_score`` uses it, remembering the words it has seen."""
    from nltk.stem import porter  # type: ignore[import-untyped]

    class CachedStemmer:
        stem = staticmethod(lru_cache(maxsize=2**17)(porter.PorterStemmer().stem))

    return CachedStemmer


@lru_cache(maxsize=2**14)
def rouge_tokens(text: str) -> tuple[str, ...]:
    """Words of ``text`` as ``rouge_score`` sees them: lower case, ASCII letters and digits only, stemmed."""
    from rouge_score import tokenize

    return tuple(tokenize.tokenize(text, stemmer()))


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L F-measure (Lin, 2004) in [0, 1], equal to that of the ``rouge_score`` package with its stemmer.

    Tokenisation and stemming are that package's; only the longest common subsequence is counted faster.
    """
    found, wanted = rouge_tokens(prediction), rouge_tokens(reference)
    if not found or not wanted:
        return 0.0
    common = common_subsequence(found, wanted)
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö, 2004): one row of the table is one integer."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << index)
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()


EDGE = " .,:;!?\"'`*()[]“”‘’"
"""What may stand around an option in a decoded answer."""

FINAL_ANSWER = "####"
"""Separates a worked solution from its final answer (gsm8k)."""


def normalise_answer(text: str) -> str:
    """Bring equal answers to one spelling.

    What stands behind the last ``####``, if any, is the answer. Case, runs of white space, commas between digits,
    a currency sign in front and punctuation at the end carry no meaning.
    """
    text = text.rpartition(FINAL_ANSWER)[2].casefold()
    text = re.sub(r"(?<=\d),(?=\d)", "", " ".join(text.split()))
    return text.lstrip("$€£ ").rstrip(".,;:!? ")


def exact_match(prediction: str, reference: str) -> float:
    """1 if both texts are the same answer after :func:`normalise_answer`, else 0."""
    return float(normalise_answer(prediction) == normalise_answer(reference))


TEXT_METRICS: Mapping[str, Callable[[str, str], float]] = {"rouge_l": rouge_l, "exact_match": exact_match}
"""Metrics of generated text: (prediction, reference) → value in [0, 1]."""
