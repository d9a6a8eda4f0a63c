from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from pretune.config.science import SCORERS
from pretune.evaluation.likelihood import OptionScores
from pretune.evaluation.metrics import accuracies, choose, exact_match, parse_option, rouge_l, scores_of

VOCABULARY = ["the", "running", "Birds", "birds'", "sat,", "relational", "café", "3.5", "on-line", "☃", "a"]
words = st.lists(st.sampled_from(VOCABULARY), max_size=30)
SCORER = RougeScorer(["rougeL"], use_stemmer=True)


@settings(max_examples=150, deadline=None)
@given(words, words)
def test_rouge_l_equals_the_package(first, second):
    prediction, reference = " ".join(first), " ".join(second)
    assert rouge_l(prediction, reference) == SCORER.score(reference, prediction)["rougeL"].fmeasure


def test_rouge_l_of_long_texts():
    prediction, reference = "the cats sat on mats " * 60, "a cat sits on the mat quietly " * 50
    assert rouge_l(prediction, reference) == SCORER.score(reference, prediction)["rougeL"].fmeasure


@pytest.mark.parametrize(
    ("prediction", "reference", "same"),
    [
        ("1,234", "1234", True),
        ("so 7 * 6 = 42\n#### 42", "#### 42", True),
        ("$18.00", "18.00", True),
        (" The  Bird.", "the bird", True),
        ("-5", "5", False),
        ("1.5", "15", False),
        ("a, b", "a b", False),
        ("", "", True),
    ],
)
def test_exact_match(prediction, reference, same):
    assert exact_match(prediction, reference) == float(same)


def test_scorers_choose_differently():
    scores = OptionScores(
        sum=(-4.0, -6.0, -5.0),
        tokens=(1, 3, 1),
        bytes=(1, 2, 10),
        first_token=(-4.0, -1.0, -5.0),
        ambiguous=(False,) * 3,
        constrained=(-1.0, 0.0, -1.0),
        unconditional=(-3.0, -5.0, -6.0),
    )
    chosen = {scorer: choose(scores_of(scores, scorer)) for scorer in SCORERS}
    assert chosen == {"sum": 0, "per_token": 1, "per_byte": 2, "first_token": 1, "pmi": 2, "constrained": 1}
    with pytest.raises(ValueError, match="scorer=tokens"):
        scores_of(scores, "tokens")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("entailment", 0),
        (" Entailment.", 0),
        ('"neutral" because', 1),
        ("not  entailment", 2),
        ("not", None),
        ("entailments", None),
        ("the answer is neutral", None),
        ("", None),
        ("...", None),
    ],
)
def test_a_decoded_answer_names_the_longest_option_it_begins_with(answer, found):
    assert parse_option(answer, ("entailment", "neutral", "not entailment")) == found


def test_ties_go_to_the_first_option():
    assert choose((-2.0, -1.0, -1.0)) == 1
    assert accuracies([1, 0], [1, 1]) == [1.0, 0.0]
