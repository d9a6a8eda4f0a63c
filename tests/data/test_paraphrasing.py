"""Paraphrases: the same every time, different from one another, with every field and no dangling space."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pretune.config.science import Template
from pretune.data.paraphrasing import paraphrase, reset

CONF = Path(__file__).parents[2] / "conf"
TEMPLATES = yaml.safe_load((CONF / "format" / "default.yaml").read_text())["templates"]
WORDINGS = yaml.safe_load((CONF / "probe" / "format.yaml").read_text())["wordings"]


def fields(prompt):
    return sorted(re.findall(r"\{\w+\}", prompt))


@pytest.mark.parametrize("family", WORDINGS)
def test_every_family_with_wordings_has_paraphrases_that_lose_nothing(family):
    template = Template(**TEMPLATES[family])
    found = paraphrase(template, WORDINGS[family], 5)
    prompts = [each.prompt for each in found]
    assert len(prompts) >= 2
    assert len({template.prompt, *prompts}) == len(prompts) + 1
    for prompt in prompts:
        assert fields(prompt) == fields(template.prompt)
        assert prompt == prompt.rstrip()
    assert found == paraphrase(template, WORDINGS[family], 5)
    assert found[:2] == paraphrase(template, WORDINGS[family], 2)
    assert {(each.completion, each.body, each.stop) for each in found} == {
        (template.completion, template.body, template.stop)
    }


def test_a_prompt_that_is_its_text_has_no_paraphrase():
    assert paraphrase(Template(prompt="{context}"), (), 5) == []


def test_the_miniatures_own_words_are_left_as_they_are():
    from random import Random

    from pretune.pico.tokenizer import vocabulary

    for family in ("pico_nli", "pico_paraphrase", "pico_chat"):
        for wording in WORDINGS[family]:
            assert reset(wording, Random(3)) == wording
            words = set(re.sub(r"\{\w+\}", "", wording).split())
            assert words <= set(vocabulary()), words
