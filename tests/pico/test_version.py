"""The miniature's language is part of the identity of every ladder and cell that uses it."""

from __future__ import annotations

import hashlib
import json
from itertools import islice

from pretune.pico.corpus import documents, held_out_documents
from pretune.pico.tasks import rows
from pretune.pico.tokenizer import build_tokenizer
from pretune.results.identity import CORPUS_VERSION

DIGESTS = {1: "2ebb359049f7f569"}
"""What the miniature was in each version. Another digest needs another ``CORPUS_VERSION``, never a new value here."""

TASKS = ("nli", "paraphrase", "summary", "question", "choice", "chat")


def digest() -> str:
    content = {
        "vocabulary": build_tokenizer().get_vocab(),
        "corpus": list(islice(documents(seed=0), 300)),
        "held out": list(held_out_documents(50)),
        "rows": [rows(f"pico/{task}{twin}", "test")[:30] for task in TASKS for twin in ("", "_far")],
        "training rows": [rows(f"pico/{task}", "train")[:30] for task in TASKS],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def test_a_change_of_the_language_raises_its_version():
    assert DIGESTS.get(CORPUS_VERSION) == digest(), (
        f"the miniature changed: raise CORPUS_VERSION to {max(DIGESTS) + 1} and enter {digest()!r} for it"
    )
