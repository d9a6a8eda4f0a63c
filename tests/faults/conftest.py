"""The long form of the faults: ``pytest --faults``, or ``./run faults``."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.studies import Place, make_place


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that commands share unless they are to fill one."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    """A place without a study."""
    return make_place(tmp_path, cache)
