"""What documents say of a word of the small language."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from pretune.pico.lexicon import KIND_OF, OPPOSITES, SYNONYM


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is true of ``word``."""

    relation: str
    word: str
    true: tuple[str, ...]


WORDINGS: MappingProxyType[str, str] = MappingProxyType(
    {
        "kind": "every {word} is a {other}",
        "synonym": "{word} means {other}",
        "opposite": "{word} is the opposite of {other}",
    }
)
"""Relation → how documents say it."""


def list_facts() -> list[Fact]:
    """All facts of the world, in a fixed order."""
    return [
        *(Fact(relation="kind", word=noun, true=(kind,)) for noun, kind in KIND_OF.items()),
        *(Fact(relation="synonym", word=word, true=(same,)) for word, same in SYNONYM.items()),
        *(Fact(relation="opposite", word=word, true=there) for word, there in OPPOSITES.items()),
    ]
