"""What is true of a word of the small language, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from pretune.pico.lexicon import KIND_OF, KINDS, OPPOSITES, SYNONYM


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is true of ``word``, and what could be said of it but is not true.

    Facts of one ``group`` follow from each other ("small means little", "little means small").
    """

    relation: str
    group: str
    word: str
    true: tuple[str, ...]
    false: tuple[str, ...]


CLAIMS: MappingProxyType[str, str] = MappingProxyType(
    {
        "kind": "every {word} is a {other}",
        "synonym": "{word} means {other}",
        "opposite": "{word} is the opposite of {other}",
    }
)
"""Relation → how documents claim it."""


def list_facts() -> list[Fact]:
    """All facts of the world, in a fixed order."""
    facts = [
        Fact(
            relation="kind",
            group=f"kind {noun}",
            word=noun,
            true=(kind,),
            false=tuple(other for other in KINDS if other != kind),
        )
        for noun, kind in KIND_OF.items()
    ]
    for word, same in SYNONYM.items():
        peers = tuple(other for other in SYNONYM if (other in OPPOSITES) == (word in OPPOSITES))
        facts.append(
            Fact(
                relation="synonym",
                group=f"synonym {min(word, same)}",
                word=word,
                true=(same,),
                false=tuple(other for other in peers if other not in (word, same)),
            )
        )
    for word, opposites in OPPOSITES.items():
        facts.append(
            Fact(
                relation="opposite",
                group=f"opposite {min(word, SYNONYM[word], *opposites)}",
                word=word,
                true=opposites,
                false=tuple(other for other in OPPOSITES if other not in (word, *opposites)),
            )
        )
    return facts
