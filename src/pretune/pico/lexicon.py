"""The micro-world: what there is in it, and which words mean the same, the opposite or something more general.

Everything that a task's labels or a document's claims depend on is looked up here. The vocabulary is part of the
identity of the ladder: changing a word means raising :data:`pretune.results.identity.CORPUS_VERSION`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

KINDS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "bird": ("robin", "hawk", "crow", "owl", "duck", "wren"),
        "fish": ("salmon", "trout", "shark", "eel", "carp", "cod"),
        "tree": ("oak", "pine", "elm", "birch", "maple", "willow"),
        "fruit": ("apple", "pear", "plum", "peach", "cherry", "lemon"),
        "tool": ("hammer", "saw", "spade", "axe", "drill", "rake"),
        "vehicle": ("car", "bus", "truck", "train", "boat", "wagon"),
        "beast": ("horse", "cow", "goat", "wolf", "bear", "deer"),
        "flower": ("rose", "tulip", "lily", "daisy", "poppy", "violet"),
        "garment": ("coat", "shirt", "hat", "skirt", "glove", "scarf"),
    }
)
"""Kind of thing → things of that kind."""

DIMENSIONS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("big", "large"), ("small", "little")),
    (("new", "modern"), ("old", "ancient")),
    (("clean", "spotless"), ("dirty", "grubby")),
    (("dry", "parched"), ("wet", "damp")),
    (("quick", "fast"), ("slow", "sluggish")),
    (("strong", "sturdy"), ("weak", "frail")),
)
"""Scales of description: two poles, each named by two synonyms."""

VERBS: tuple[tuple[str, str], ...] = (
    ("stayed", "remained"),
    ("fell", "dropped"),
    ("arrived", "came"),
    ("rested", "lay"),
    ("moved", "shifted"),
)
"""What things do: pairs of synonyms."""

PLACES: tuple[tuple[str, str], ...] = (
    ("garden", "yard"),
    ("house", "home"),
    ("road", "street"),
    ("forest", "wood"),
    ("river", "stream"),
    ("rock", "stone"),
)
"""Where things are: pairs of synonyms."""

PREPOSITIONS: tuple[tuple[str, str], ...] = (("near", "beside"), ("under", "below"))
"""How things are placed: pairs of synonyms."""

GRAMMAR: tuple[str, ...] = (".", ",", "the", "that", "is", "a", "every", "means", "opposite", "of")
"""Words of the corpus without a meaning of their own."""

KIND_OF: MappingProxyType[str, str] = MappingProxyType({noun: kind for kind, nouns in KINDS.items() for noun in nouns})
"""Noun → its kind (hypernym)."""


def _pairs() -> list[tuple[str, str]]:
    poles = [pole for dimension in DIMENSIONS for pole in dimension]
    return [*poles, *VERBS, *PLACES, *PREPOSITIONS]


SYNONYM: MappingProxyType[str, str] = MappingProxyType(
    {word: other for first, second in _pairs() for word, other in ((first, second), (second, first))}
)
"""Adjective, verb, place or preposition → its one synonym."""

OPPOSITES: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {word: there for a, b in DIMENSIONS for here, there in ((a, b), (b, a)) for word in here}
)
"""Adjective → the two adjectives of the other pole."""

CREATURES = ("bird", "fish", "beast")
PLANTS = ("tree", "fruit", "flower")
OBJECTS = ("tool", "vehicle", "garment")
"""What kinds there are. No pre-training document says so."""

MOVERS = ("bird", "fish", "beast", "vehicle")
"""Kinds of things that get about. No pre-training document says so."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A part of the world that sentences can be about."""

    kinds: tuple[str, ...]
    dimensions: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    verbs: tuple[tuple[str, str], ...]
    places: tuple[tuple[str, str], ...]


WORLD = Domain(kinds=tuple(KINDS), dimensions=DIMENSIONS, verbs=VERBS, places=PLACES)
"""Everything: what pre-training documents are about."""

NEAR = Domain(kinds=tuple(KINDS)[:6], dimensions=DIMENSIONS[:4], verbs=VERBS[:3], places=PLACES[:4])
"""The part that scenes in fine-tuning rows and in-domain evaluations are drawn from."""

FAR = Domain(kinds=tuple(KINDS)[6:], dimensions=DIMENSIONS[4:], verbs=VERBS[3:], places=PLACES[4:])
"""The rest: what out-of-domain evaluations are drawn from."""


def related(specific: str, general: str) -> bool:
    """Whether whatever is called ``specific`` may also be called ``general``: equal, synonym or kind."""
    return general in (specific, SYNONYM.get(specific), KIND_OF.get(specific))


def corpus_words() -> tuple[str, ...]:
    """Every word that pre-training documents can contain, in a fixed order."""
    words = [*GRAMMAR, *KINDS, *KIND_OF, *SYNONYM]
    return tuple(dict.fromkeys(words))
