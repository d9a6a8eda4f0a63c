"""Rows in the exact schema that the Hub serves for each data set, invented here."""

from __future__ import annotations

from typing import Any

NLI = {"premise": "A robin sits on a wall .", "hypothesis": "A bird sits on a wall ."}
PAIR = {"sentence1": "A robin sits on a wall .", "sentence2": "A bird sits on a wall ."}
CHOICES = {"text": ["on a wall", "in the sea", "in a shoe", "nowhere"], "label": ["A", "B", "C", "D"]}

ROWS: dict[str, list[dict[str, Any]]] = {
    "mnli": [{**NLI, "label": label, "idx": label} for label in (0, 1, 2)],
    "mnli_mismatched": [{**NLI, "label": label, "idx": label} for label in (0, 1, 2)],
    "rte": [{**PAIR, "label": label, "idx": label} for label in (0, 1)],
    "gpt3nli": [
        {"text_a": NLI["premise"], "text_b": NLI["hypothesis"], "label": label, "guid": f"g{label}"}
        for label in (0, 1, 2)
    ],
    "paws": [{"id": label, **PAIR, "label": label} for label in (0, 1)],
    "stsb": [{**PAIR, "label": label, "idx": 0} for label in (3.5, 3.6)],
    "xsum": [{"document": "A robin sat on a wall .\nIt sang .", "summary": "A bird sang on a wall .", "id": "1"}],
    "socialiqa": [
        {"context": "Kim fed a robin .", "question": "Why did Kim do this ?", "answerA": "to be kind",
         "answerB": "to be rude", "answerC": "to sleep", "label": label}
        for label in ("1", "2", "3")
    ],
    "tweetqa": [
        {"Question": "what sang ?", "Answer": ["a robin", "the robin"], "Tweet": "A robin sang today .", "qid": "q1"}
    ],
    "hellaswag": [
        {"ind": 4, "activity_label": "Feeding birds", "ctx_a": "A man holds seeds .", "ctx_b": "the robin",
         "ctx": "A man holds seeds . the robin", "endings": ["eats them .", "drives off .", "reads .", "melts ."],
         "source_id": "s", "split": "val", "split_type": "indomain", "label": "0"}
    ],
    "openbookqa": [{"id": "7-1", "question_stem": "A robin may sit", "choices": CHOICES, "answerKey": "A"}],
    "c4": [{"text": "A robin sat on a wall .", "timestamp": "2019-01-01T00:00:00Z", "url": "u"}],
    "wikitext": [{"text": " A robin sat on a wall . \n"}],
}  # fmt: skip

HIDDEN: dict[str, dict[str, Any]] = {
    "mnli": {"label": -1},
    "mnli_mismatched": {"label": -1},
    "rte": {"label": -1},
    "gpt3nli": {"label": -1},
    "paws": {"label": None},
    "stsb": {"label": -1.0},
    "xsum": {"summary": ""},
    "socialiqa": {"label": ""},
    "tweetqa": {"Answer": []},
    "hellaswag": {"label": ""},
    "openbookqa": {"answerKey": ""},
    "c4": {"text": ""},
    "wikitext": {"text": " \n"},
}
"""What a row without gold answer holds instead."""
