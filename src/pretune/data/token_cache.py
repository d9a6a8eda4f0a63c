"""Tokens kept in memory: the rows of a sweep are tokenised once, not once per checkpoint and learning rate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pretune.config.schema import to_plain
from pretune.config.science import Format, Task
from pretune.data.encoding import Encoded
from pretune.data.examples import Example
from pretune.data.sources import fingerprint
from pretune.results.identity import describe_format, digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenCache:
    """Encoded training rows by tokenizer, wording, length limit and content of the rows."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Encoded]] = {}

    def get(
        self,
        encode: Callable[[], list[Encoded]],
        *,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        format_: Format,
        max_length: int,
        examples: Sequence[Example],
    ) -> list[Encoded]:
        """The encoded rows, from memory or by ``encode()``."""
        key = digest(
            {
                "tokenizer": identify_tokenizer(tokenizer),
                "family": task.family,
                "format": to_plain(describe_format(format_, task, shots=0)),
                "max_length": max_length,
                "rows": fingerprint(tuple(examples)),
            }
        )
        if key not in self._rows:
            self._rows[key] = encode()
        return self._rows[key]


def identify_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of all that a fast tokenizer does to a text, and of the token that ends one."""
    serialised = tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(f"{serialised} {tokenizer.eos_token_id}".encode()).hexdigest()
