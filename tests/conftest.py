"""Makes ``tests/`` importable, so that every folder of tests can use ``support``, and divides the tests among workers.

With ``pytest -n 2`` each file runs in one worker, in its own order, so that its fixtures are made once. The files of
``tests/scripts`` share a finished grid and stay together; the whole miniature study, the longest of all, starts first
and has a worker to itself while the others go on.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOGETHER = "scripts"


def group_of(path: Path, *, slow: bool) -> str:
    """The tests that one worker runs in a row: the files of ``tests/scripts``, or a single file."""
    parts = path.relative_to(HERE).parts
    return TOGETHER if parts[0] == TOGETHER and not slow else "/".join(parts)


def is_slow(item: pytest.Item) -> bool:
    """Whether a test takes minutes."""
    return item.get_closest_marker("slow") is not None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Name the test's group, before the workers' plugin looks for it."""
    item.add_marker(pytest.mark.xdist_group(group_of(item.path, slow=is_slow(item))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first; the order within a group stays."""
    items.sort(key=lambda item: (not is_slow(item), TOGETHER not in item.path.parts))
