"""An example: one row of a data set, independent of prompt format and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row.

    ``fields`` are the named texts that templates refer to. ``options`` are the possible answers, in a fixed
    order (empty for generation and language modelling) and ``gold`` is the index of the right one. ``target``
    is the text that is trained on and compared with (the right option's text where there are options; the whole
    text for language modelling).
    """

    id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    gold: int | None = None
    target: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One example put into words: ``text`` and the strings that may follow it, verbatim.

    ``body`` is the span (start, end; characters of ``text``) that may be shortened when the whole is too long;
    ``None`` when nothing may. For classification and choice ``completions`` has one entry per option, otherwise
    one, the target. ``gold`` indexes ``completions``. ``stop`` ends a generated answer.
    """

    text: str
    completions: tuple[str, ...]
    gold: int
    body: tuple[int, int] | None = None
    stop: str = "\n"
