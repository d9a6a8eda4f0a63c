"""An example: one row of a data set, independent of prompt format and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ASSISTANT = "assistant"
ROLES = ("system", "user", ASSISTANT)
"""Who speaks in a conversation."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation; ``role`` is one of :data:`ROLES`."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row.

    ``fields`` are the named texts that templates refer to. ``options`` are the possible answers, in a fixed
    order (empty for generation and language modelling) and ``gold`` is the index of the right one. ``target``
    is the text that is trained on and compared with (the right option's text where there are options; the whole
    text for language modelling; the last reply of a conversation). ``turns`` is a conversation, ending in a reply.
    """

    id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    gold: int | None = None
    target: str
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One example put into words: ``text`` and the strings that may follow it, verbatim.

    ``body`` is the span (start, end; characters of ``text``) that may be shortened when the whole is too long;
    ``None`` when nothing may. For classification and choice ``completions`` has one entry per option, otherwise
    one, the target. ``gold`` indexes ``completions``. ``stop`` ends a generated answer. ``source`` names the row in
    messages.
    """

    text: str
    completions: tuple[str, ...]
    gold: int
    body: tuple[int, int] | None = None
    stop: str = "\n"
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A part of a conversation put into words: all that comes before a reply, and the reply, both verbatim."""

    text: str
    reply: str
