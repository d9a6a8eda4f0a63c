"""The commands that README and docs tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WHOLE_PAGE = re.compile(r"which need\s+the Hub and a GPU")
"""A sentence that says of all commands of a page what a comment says of those below it in a block."""


@dataclass(frozen=True)
class Command:
    """A line to type; ``needs``: what the page says it takes, where that is more than the project itself."""

    page: str
    text: str
    needs: str | None

    @property
    def words(self) -> Sequence[str]:
        """Its words as the shell gives them, without variables that are set before."""
        words = shlex.split(self.text, comments=True)
        return words[1:] if "=" in words[0] else words

    @property
    def script(self) -> str | None:
        """Which of the scripts it calls."""
        found = re.fullmatch(r"(train|evaluate|probe|report)\.py", self.words[1]) if len(self.words) > 1 else None
        return found[1] if found and self.words[0] == "python" else None

    @property
    def overrides(self) -> list[str]:
        """What it overrides of a script's configuration."""
        return [word for word in self.words[2:] if word != "-m"]


def read_commands() -> list[Command]:
    """Every line of every shell block; lines that end in a backslash are joined."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", text, re.DOTALL):
            needs = "the Hub and a GPU" if WHOLE_PAGE.search(text) else None
            for line in block.replace("\\\n", " ").splitlines():
                if comment := re.match(r"# needs? (.*?):?$", line.strip()):
                    needs = comment[1]
                elif line.strip():
                    found.append(Command(str(page.relative_to(ROOT)), line.strip(), needs))
    return found
