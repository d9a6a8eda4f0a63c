"""Checks of texts in a configuration that have a form of their own: names of repositories, patterns of prompts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import Formatter

from pretune.config.science import Format
from pretune.errors import Problem

REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""What the Hub calls a repository: ``owner/name``, or a name alone; no address and no path."""


def check_repository(key: str, name: str | None) -> Iterable[Problem]:
    """Refuse what cannot be the name of a repository of the Hub: its client would do so much later."""
    if name and (not REPOSITORY.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", "-", "."))):
        yield Problem(key=key, value=name, message="is not the name of a repository on the Hub (owner/name)")


def check_patterns(format_: Format) -> Iterable[Problem]:
    """Refuse templates whose braces do not match: ``{name}`` stands for a field, ``{{`` for a brace."""
    for family, template in format_.templates.items():
        patterns = {"prompt": template.prompt, "completion": template.completion}
        patterns |= {f"turns.{role}": text for role, text in template.turns.items()}
        for name, pattern in patterns.items():
            try:
                list(Formatter().parse(pattern))
            except ValueError as error:
                key = f"format.templates.{family}.{name}"
                yield Problem(key=key, value=repr(pattern), message=f"{error} ({{{{ is a brace that stands for itself)")
