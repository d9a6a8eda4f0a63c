"""Other words for the same prompt, chosen by seed.

Nothing is invented by a model: a paraphrase is one of the *written* wordings of a family of tasks
(``conf/probe/format.yaml``, and the format's own), set with other separators and another case of its field names, as in
Sclar et al., *Quantifying Language Models' Sensitivity to Spurious Features in Prompt Design* (arXiv 2310.11324,
section 3.1). Fields of the example, answers and the space before them are left alone.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Sequence

from pretune.config.science import Template

JOINTS = ("\n", " ", "\n\n", " || ")
"""What may stand for a line break between fields."""
MARKS = (":", " -", ":\n", " ::")
"""What may stand for the colon after a field name; a line break only between name and field."""
CASES: tuple[Callable[[str], str], ...] = (str, str.upper, str.lower)

_PIECES = re.compile(r"(\{\w+\})")
_NAME_BEFORE_FIELD = re.compile(r"(\w(?:[\w ]*\w)?):(?= )")
_NAME_BEFORE_ANSWER = re.compile(r"(\w(?:[\w ]*\w)?):$")
_TRIES = 40


def paraphrase(template: Template, wordings: Sequence[str], count: int) -> list[Template]:
    """Return up to ``count`` different templates in other words than ``template``, the same ones every time.

    Fewer where the wordings do not allow for so many: a prompt without field names or line breaks has only its
    written alternatives.
    """
    written = [template.prompt, *wordings]
    found: list[str] = []
    for seed in range(count * _TRIES):
        if len(found) == count:
            break
        prompt = reset(written[(seed + 1) % len(written)], random.Random(f"paraphrase/{seed}"))
        if prompt != template.prompt and prompt not in found:
            found.append(prompt)
    return [dataclasses.replace(template, prompt=prompt) for prompt in found]


def reset(prompt: str, rng: random.Random) -> str:
    """Set ``prompt`` with one choice of joint, mark and case throughout, drawn from ``rng``."""
    joint, mark, case = rng.choice(JOINTS), rng.choice(MARKS), rng.choice(CASES)
    *pieces, last = _PIECES.split(prompt)
    for number in range(0, len(pieces), 2):  # those between are fields of the example
        text = pieces[number].replace("\n", joint)
        pieces[number] = _NAME_BEFORE_FIELD.sub(lambda found: case(found[1]) + mark, text)
    last = _NAME_BEFORE_ANSWER.sub(lambda found: case(found[1]) + mark.rstrip(), last.replace("\n", joint))
    return "".join([*pieces, last]).replace(":\n ", ":\n")
