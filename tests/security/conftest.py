"""What the hostile files of these tests try to do: make a folder. A test looks whether it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (self.mark,))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The folder that is there only if a payload ran."""
    return tmp_path / "mark"


@pytest.fixture
def payload(mark: Path) -> Payload:
    """The payload, as an object to pickle."""
    return Payload(mark)


@pytest.fixture
def code(mark: Path) -> str:
    """The payload as the text of a Python module."""
    return f"import os\nos.mkdir({str(mark)!r})\n"
