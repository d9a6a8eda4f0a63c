"""Where published tables are: the folder that ``PRETUNE_PUBLISHED`` names, else the tests that need it skip."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published() -> Path:
    folder = os.environ.get("PRETUNE_PUBLISHED")
    if not folder:
        pytest.skip("PRETUNE_PUBLISHED does not name a folder with published tables")
    return Path(folder)
