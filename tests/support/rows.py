"""Rows in the exact schema that the Hub serves for each data set, invented here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NLI = {"premise": "A robin sits on a wall .", "hypothesis": "A bird sits on a wall ."}
PAIR = {"sentence1": "A robin sits on a wall .", "sentence2": "A bird sits on a wall ."}
CHOICES = {"text": ["on a wall", "in the sea", "in a shoe", "nowhere"], "label": ["A", "B", "C", "D"]}
DIGITS = {"text": ["seeds", "bricks", "songs"], "label": ["1", "2", "3"]}
PREMISES = [{**NLI, "label": label} for label in (0, 1, 2)]
TALK = [
    {"role": "system", "content": "You know birds ."},
    {"role": "user", "content": "What is a robin ?"},
    {"role": "assistant", "content": "A small bird ."},
    {"role": "user", "content": "Does it sing ?"},
    {"role": "assistant", "content": "It does ."},
]
LLMBAR = [
    {"input": "Name a bird .", "output_1": "A robin .", "output_2": "A wall .", "label": label} for label in (1, 2)
]
LLMBARS = ("llmbar_natural", *(f"llmbar_adversarial_{kind}" for kind in ("neighbor", "gptinst", "gptout", "manual")))

ROWS: dict[str, list[dict[str, Any]]] = {
    "mnli": [{**row, "idx": row["label"]} for row in PREMISES],
    "mnli_mismatched": [{**row, "idx": row["label"]} for row in PREMISES],
    "rte": [{**PAIR, "label": label, "idx": label} for label in (0, 1)],
    "gpt3nli": [
        {"text_a": NLI["premise"], "text_b": NLI["hypothesis"], "label": label, "guid": label}
        for label in (0, 1, 2)
    ],
    "snli": PREMISES,
    **{
        name: [{"uid": f"u{row['label']}", **row, "reason": ""} for row in PREMISES]
        for name in ("anli", "anli_r1", "anli_r2", "anli_r3")
    },
    "paws": [{"id": label, **PAIR, "label": label} for label in (0, 1)],
    "qqp": [
        {"question1": "What is a robin ?", "question2": "Which bird is a robin ?", "label": label, "idx": label}
        for label in (0, 1)
    ],
    "mrpc": [{**PAIR, "label": label, "idx": label} for label in (0, 1)],
    "stsb": [{**PAIR, "label": label, "idx": 0} for label in (3.5, 3.6)],
    "xsum": [{"document": "A robin sat on a wall .\nIt sang .", "summary": "A bird sang on a wall .", "id": "1"}],
    "xlsum": [
        {"id": "1", "url": "u", "title": "Robin", "summary": "A bird sang on a wall .",
         "text": "A robin sat on a wall . It sang ."}
    ],
    "cnn": [{"article": "A robin sat on a wall . It sang .", "highlights": "A robin sat .\nIt sang .", "id": "1"}],
    "socialiqa": [
        {"context": "Kim fed a robin .", "question": "Why did Kim do this ?", "answerA": "to be kind",
         "answerB": "to be rude", "answerC": "to sleep", "label": label}
        for label in ("1", "2", "3")
    ],
    "sciq": [
        {"question": "What do robins eat ?", "distractor3": "air", "distractor1": "walls", "distractor2": "songs",
         "correct_answer": "worms", "support": support}
        for support in ("Robins eat worms .", "")
    ],
    "tweetqa": [
        {"Question": "what sang ?", "Answer": ["a robin", "the robin"], "Tweet": "A robin sang today .", "qid": "q1"}
    ],
    "hellaswag": [
        {"ind": 4, "activity_label": "Feeding birds", "ctx_a": "A man holds seeds .", "ctx_b": "the robin",
         "ctx": "A man holds seeds . the robin", "endings": ["eats them .", "drives off .", "reads .", "melts ."],
         "source_id": "s", "split": "val", "split_type": "indomain", "label": "0"}
    ],
    "arc_easy": [
        {"id": "M1", "question": "Where does a robin sit ?", "choices": CHOICES, "answerKey": "B"},
        {"id": "M2", "question": "What does a robin eat ?", "choices": DIGITS, "answerKey": "1"},
    ],
    "arc_challenge": [{"id": "M1", "question": "Where does a robin sit ?", "choices": CHOICES, "answerKey": "A"}],
    "openbookqa": [{"id": "7-1", "question_stem": "A robin may sit", "choices": CHOICES, "answerKey": "A"}],
    "commonsenseqa": [
        {"id": "c1", "question": "Where would a robin sit ?", "question_concept": "robin",
         "choices": {"label": CHOICES["label"], "text": CHOICES["text"]}, "answerKey": "A"}
    ],
    "boolq": [
        {"question": "can a robin sing", "answer": answer, "passage": "The robin sings at dawn ."}
        for answer in (False, True)
    ],
    "piqa": [
        {"goal": "To feed a robin,", "sol1": "scatter seeds .", "sol2": "scatter bricks .", "label": label}
        for label in (0, 1)
    ],
    "winogrande": [
        {"sentence": "The robin left the shoe because the _ was small.", "option1": "robin", "option2": "shoe",
         "answer": answer}
        for answer in ("1", "2")
    ],
    "truthfulqa": [
        {"type": "Adversarial", "category": "Birds", "question": "Can robins talk ?", "best_answer": "No, they sing",
         "correct_answers": ["No, they sing"], "incorrect_answers": ["Yes, they talk", "Only at night"], "source": "u"}
    ],
    "gsm8k": [
        {"question": "A robin eats 2 worms a day . How many in 3 days ?",
         "answer": "It eats 2 * 3 = <<2*3=6>>6 worms .\n#### 6"}
    ],
    "trec": [
        {"text": "What is a robin ?", "coarse_label": label, "fine_label": label} for label in range(6)
    ],
    "mr": [{"text": "a warm little film .", "label": label} for label in (0, 1)],
    "subj": [
        {"text": "the robin sings .", "label": label, "label_text": text}
        for label, text in enumerate(("objective", "subjective"))
    ],
    "cr": [
        {"text": "the bird house fell apart .", "label": label, "label_text": text}
        for label, text in enumerate(("negative", "positive"))
    ],
    "sst2": [{"sentence": "a warm little film ", "label": label, "idx": label} for label in (0, 1)],
    **dict.fromkeys(LLMBARS, LLMBAR),
    "tulu": [{"dataset": "flan_v2", "id": "flan_v2_1", "messages": TALK}],
    "tulu3": [{"id": "t1", "messages": TALK[1:], "source": "ai2"}],
    "hh": [
        {"chosen": "\n\nHuman: What is a robin ?\n\nAssistant: A small bird .\n\nHuman: Does it sing ?"
                   "\n\nAssistant: It does .",
         "rejected": "\n\nHuman: What is a robin ?\n\nAssistant: No idea ."}
    ],
    "alpaca": [
        {"instruction": "Name the bird .", "input": given, "output": "A robin .", "text": "…"}
        for given in ("It has a red breast .", "")
    ],
    "alpaca_eval": [
        {"instruction": "Name the bird .", "output": "A robin .", "generator": "g", "dataset": "koala"}
    ],
    "starcoder_python": [
        {"max_stars_repo_path": "robin.py", "max_stars_repo_name": "birds", "max_stars_count": 1, "id": "1",
         "content": "def sing():\n    return 'tweet'\n"}
    ],
    "c4": [{"text": "A robin sat on a wall .", "timestamp": "2019-01-01T00:00:00Z", "url": "u"}],
    "wikitext": [{"text": " A robin sat on a wall . \n"}],
    "wikitext103": [{"text": " A robin sat on a wall . \n"}],
    "text": [{"text": "A robin sat on a wall ."}],
}  # fmt: skip
ROWS["socialiqa_choice"] = ROWS["socialiqa"]
ROWS["sciq_question"] = ROWS["sciq"]
ROWS["truthfulqa_generation"] = ROWS["truthfulqa"]

HIDDEN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(ROWS, {"label": -1}),
    "paws": {"label": None},
    "stsb": {"label": -1.0},
    "xsum": {"summary": ""},
    "xlsum": {"summary": ""},
    "cnn": {"highlights": ""},
    "socialiqa": {"label": ""},
    "socialiqa_choice": {"label": ""},
    "sciq": {"correct_answer": ""},
    "sciq_question": {"correct_answer": ""},
    "tweetqa": {"Answer": []},
    "hellaswag": {"label": ""},
    **dict.fromkeys(("arc_easy", "arc_challenge", "openbookqa", "commonsenseqa"), {"answerKey": ""}),
    "boolq": {"answer": None},
    "winogrande": {"answer": ""},
    "truthfulqa": {"best_answer": ""},
    "truthfulqa_generation": {"best_answer": ""},
    "gsm8k": {"answer": ""},
    "trec": {"coarse_label": -1},
    "subj": {"label_text": ""},
    "cr": {"label_text": ""},
    "tulu": {"messages": TALK[:2]},
    "tulu3": {"messages": []},
    "hh": {"chosen": ""},
    "alpaca": {"output": ""},
    "alpaca_eval": {"output": ""},
    "starcoder_python": {"content": ""},
    "c4": {"text": ""},
    "wikitext": {"text": " \n"},
    "wikitext103": {"text": " \n"},
    "text": {"text": ""},
}
"""What a row without gold answer holds instead."""

NEEDED = {
    "mnli": "premise hypothesis label",
    "mnli_mismatched": "premise hypothesis label",
    **dict.fromkeys(("snli", "anli", "anli_r1", "anli_r2", "anli_r3"), "premise hypothesis label"),
    "gpt3nli": "text_a text_b label",
    **dict.fromkeys(("rte", "paws", "mrpc", "stsb"), "sentence1 sentence2 label"),
    "qqp": "question1 question2 label",
    "xsum": "document summary",
    "xlsum": "text summary",
    "cnn": "article highlights",
    "socialiqa": "context question answerA answerB answerC label",
    "socialiqa_choice": "context question answerA answerB answerC label",
    "sciq": "question support correct_answer distractor1 distractor2 distractor3",
    "sciq_question": "question support correct_answer distractor1 distractor2 distractor3",
    "tweetqa": "Question Answer Tweet",
    "hellaswag": "activity_label ctx endings label",
    "openbookqa": "question_stem choices answerKey",
    **dict.fromkeys(("arc_easy", "arc_challenge", "commonsenseqa"), "question choices answerKey"),
    "boolq": "question answer passage",
    "piqa": "goal sol1 sol2 label",
    "winogrande": "sentence option1 option2 answer",
    "truthfulqa": "question best_answer incorrect_answers",
    "truthfulqa_generation": "question best_answer",
    "gsm8k": "question answer",
    "trec": "text coarse_label",
    "mr": "text label",
    "subj": "text label_text",
    "cr": "text label_text",
    "sst2": "sentence label",
    **dict.fromkeys(
        (
            "llmbar_natural",
            "llmbar_adversarial_neighbor",
            "llmbar_adversarial_gptinst",
            "llmbar_adversarial_gptout",
            "llmbar_adversarial_manual",
        ),
        "input output_1 output_2 label",
    ),
    "tulu": "messages",
    "tulu3": "messages",
    "hh": "chosen",
    "alpaca": "instruction input output",
    "alpaca_eval": "instruction output",
    "starcoder_python": "content",
    **dict.fromkeys(("c4", "wikitext", "wikitext103", "text"), "text"),
}
"""Columns that a reader cannot do without."""

FORMS = [name for name in ROWS if name in (
    "arc_easy", "arc_challenge", "openbookqa", "hellaswag", "piqa", "winogrande", "commonsenseqa", "sciq",
    "socialiqa_choice", "truthfulqa",
)]  # fmt: skip
"""Tasks that have a multiple-choice form, with the same rows."""
for _name in FORMS:
    for _table in (ROWS, HIDDEN, NEEDED):
        _table[f"{_name}_mc"] = _table[_name]  # type: ignore[index]


def write_split(path: Path, rows: list[dict[str, Any]], names: dict[str, list[str]] | None = None) -> None:
    """Write rows as the Hub's Parquet; ``names``: columns that are class labels, with the names of their values."""
    table = pa.Table.from_pylist(rows)
    if names:
        features = {column: {"names": values, "_type": "ClassLabel"} for column, values in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
