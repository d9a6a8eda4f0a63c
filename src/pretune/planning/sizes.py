"""How many rows a task has, and how long they are: recorded, or assumed by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pretune.config.science import Task

CHARACTERS_PER_TOKEN = 4.3
"""English under the large vocabularies of the families in the catalogue."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Mean tokens of a prompt without shots and of an answer; options of a row; rows that are evaluated."""

    rows: int
    prompt: float
    answer: float
    options: int = 1
    known: bool = True


def _size(rows: int, prompt: int, answer: int, options: int = 1) -> Size:
    """From characters of the fields, with some for the words of a format."""
    return Size(
        rows=rows,
        prompt=(prompt + 40) / CHARACTERS_PER_TOKEN,
        answer=max(answer / CHARACTERS_PER_TOKEN, 1.0),
        options=options,
    )


SIZES: Mapping[str, Size] = {
    # evaluated rows, characters of the inputs, of an answer, options. Characters of mnli, paws, xsum, socialiqa, rte,
    # stsb, tweetqa, hellaswag, openbookqa and alpaca were counted on samples of their rows; the others are rough.
    "mnli": _size(9815, 170, 8, 3),
    "mnli_mismatched": _size(9832, 185, 8, 3),
    "rte": _size(277, 312, 8, 2),
    "gpt3nli": _size(4000, 139, 8, 3),
    "anli": _size(3200, 400, 8, 3),
    "snli": _size(9842, 110, 8, 3),
    "paws": _size(8000, 230, 3, 2),
    "qqp": _size(40430, 120, 3, 2),
    "stsb": _size(1500, 78, 3, 2),
    "mrpc": _size(408, 240, 3, 2),
    "xsum": _size(11334, 2160, 125),
    "xlsum": _size(11535, 2300, 130),
    "cnn": _size(11490, 3900, 300),
    "socialiqa": _size(1954, 100, 32),
    "sciq_question": _size(900, 450, 65),
    "tweetqa": _size(1086, 190, 36),
    "hellaswag": _size(10042, 225, 141, 4),
    "openbookqa": _size(500, 56, 20, 4),
    "arc_easy": _size(2376, 100, 20, 4),
    "arc_challenge": _size(1172, 110, 25, 4),
    "boolq": _size(3270, 620, 3, 2),
    "sciq": _size(1000, 520, 12, 4),
    "piqa": _size(1838, 45, 95, 2),
    "winogrande": _size(1267, 60, 45, 2),
    "alpaca": _size(200, 80, 275),
    "tulu": _size(200, 900, 1500),
    "hh": _size(8552, 700, 300),
    "c4": _size(330, 0, 2395),
}
SMALL_WORLD: Mapping[str, Size] = {
    # the embedded miniature, whose words are tokens: counted, with the words of the default format
    "pico/nli": Size(rows=300, prompt=19, answer=1, options=3),
    "pico/paraphrase": Size(rows=300, prompt=23, answer=1, options=2),
    "pico/chat": Size(rows=300, prompt=12, answer=1, options=2),
    "pico/chat_far": Size(rows=200, prompt=14, answer=1, options=2),
    "pico/choice": Size(rows=300, prompt=11, answer=8, options=4),
    "pico/choice_far": Size(rows=300, prompt=19, answer=16, options=4),
    "pico/question": Size(rows=300, prompt=23, answer=5),
    "pico/summary": Size(rows=300, prompt=28, answer=3),
    "pico/text": Size(rows=200, prompt=0, answer=71),
}
ASSUMED: Mapping[str, Size] = {
    "classification": Size(rows=2000, prompt=80, answer=2, options=3, known=False),
    "choice": Size(rows=2000, prompt=60, answer=15, options=4, known=False),
    "generation": Size(rows=2000, prompt=200, answer=40, known=False),
    "language": Size(rows=500, prompt=0, answer=500, known=False),
    "chat": Size(rows=500, prompt=200, answer=200, known=False),
}
"""By kind of answer, for tasks that nothing is recorded of; the plan says so."""


def size_of(task: Task) -> Size:
    """Size of a task's rows."""
    name = task.name
    if task.source == "pico":
        return SMALL_WORLD.get(name) or SMALL_WORLD.get(name.removesuffix("_far")) or ASSUMED[task.answer]
    return SIZES.get(name) or ASSUMED[task.answer]
