"""Secrets stay out of everything that is written: they are refused in overrides, and struck out of texts.

A secret belongs into the environment (``HF_TOKEN``, ``WANDB_API_KEY``). Overrides are kept: in records and commands to
retry, in the files of a launcher's jobs, in W&B. So one that carries a secret is refused before anything is written,
without quoting it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from pretune.errors import UsageError

SECRET_NAME = re.compile(
    r"(?:^|[^a-z0-9])(?:key|apikey|token|secret|password|passwd|credentials?|authorization)$", re.IGNORECASE
)
NO_SECRETS = ("eos_token", "pad_token", "first_token", "bos_token", "unk_token")
"""Names that end so and are words of the field."""

IN_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<secret>[^\s/@'\"]+)@", re.IGNORECASE)
"""``https://user:password@host``."""

IN_QUERY = re.compile(
    r"(?P<name>[?&](?:[\w.-]*[_.-])?(?:key|apikey|token|secret|password|signature|sig))=[^&\s'\"]+", re.I
)
KNOWN_FORM = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b")
"""What a token of the Hub looks like, wherever it stands."""

SHORTEST = 8
"""Characters from which the value of an environment variable is taken for a secret: ``1`` occurs everywhere."""
STRUCK_OUT = "‹secret›"


def is_secret_name(name: str) -> bool:
    """Whether a key or an environment variable is named as secrets are: ``…_KEY``, ``…_TOKEN``, ``password``."""
    return bool(SECRET_NAME.search(re.sub(r"[-.\s]", "_", name))) and not name.lower().endswith(NO_SECRETS)


def find_secrets(environment: Mapping[str, str]) -> list[str]:
    """Values of environment variables that are named as secrets are, and passwords in addresses; the longest first."""
    found = {value for name, value in environment.items() if is_secret_name(name) and len(value) >= SHORTEST}
    for value in environment.values():
        for match in IN_ADDRESS.finditer(value):
            _, _, password = match["secret"].partition(":")
            found |= {part for part in (match["secret"], password) if len(part) >= SHORTEST}
    return sorted(found, key=len, reverse=True)


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` without the secrets of the environment, passwords in addresses, and tokens of a known form."""
    for secret in find_secrets(os.environ if environment is None else environment):
        text = text.replace(secret, STRUCK_OUT)
    text = IN_ADDRESS.sub(rf"\g<scheme>{STRUCK_OUT}@", text)
    text = IN_QUERY.sub(rf"\g<name>={STRUCK_OUT}", text)
    return KNOWN_FORM.sub(STRUCK_OUT, text)


def check_overrides(overrides: Iterable[str], environment: Mapping[str, str] | None = None) -> None:
    """Raise :class:`UsageError`, which does not quote it, for an override that carries a secret."""
    for text in overrides:
        key, equals, value = text.partition("=")
        name = key.lstrip("+~").split("@")[0]
        if equals and is_secret_name(name) and value:
            raise UsageError(f"{redact(key)}=…: is a secret, which would be recorded; {WAY}")
        if redact(text, environment) != text:
            raise UsageError(f"{redact(key)}=…: its value holds a secret, which would be recorded; {WAY}")
        for inner in re.findall(r"[\w.-]+(?=\s*:)", value) if "{" in value else ():
            if is_secret_name(inner):
                raise UsageError(f"{redact(key)}=…: {inner} is a secret, which would be recorded; {WAY}")


WAY = "give it in the environment (HF_TOKEN, WANDB_API_KEY), by `hf auth login` or `wandb login`"


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """The words of a command line that are overrides."""
    return [text for text in arguments if "=" in text and not text.startswith("-")]
