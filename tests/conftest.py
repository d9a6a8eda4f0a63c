"""Makes ``tests/`` importable, so that every folder of tests can use ``support``, and divides the tests among workers.

With ``pytest -n 2`` each file runs in one worker, in its own order, so that its fixtures are made once. The files of
``tests/scripts`` share a finished grid and stay together; the whole miniature study, the longest of all, starts first
and has a worker to itself while the others go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ON_REQUEST = ("faults", "fuzzing")
"""Markers of tests that run only where ``-m`` names them: ``./run faults``."""
TOGETHER, ALONE, LONG = "tests/scripts/", "tests/scripts/test_miniature.py", "tests/test_documented_commands.py"


def group_of(nodeid: str) -> str:
    """What one worker runs in a row: a file, or the files of ``tests/scripts`` but for the miniature's."""
    path = nodeid.partition("::")[0]
    return TOGETHER if path.startswith(TOGETHER) and path != ALONE else path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest groups first; the order within a group stays. Leave out what was not asked for."""
    unwanted = [name for name in ON_REQUEST if name not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in unwanted)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    order = [ALONE, TOGETHER, LONG]
    items.sort(key=lambda item: order.index(group) if (group := group_of(item.nodeid)) in order else len(order))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole groups."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        """Divides by :func:`group_of`."""

        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.fixture
def hub(tmp_path):
    """A Hub that answers on the loopback, and clients that know no other and have cached nothing."""
    from support.hub import serve

    with serve(tmp_path / "cache") as loopback:
        yield loopback


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that all commands share, so that a ladder is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Any:
    """A place to run commands in, without a study."""
    from support.studies import make_place

    return make_place(tmp_path, cache)
