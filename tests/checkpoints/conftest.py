from __future__ import annotations

import pytest

from support.configs import config_loader
from support.hub import serve


@pytest.fixture
def hub(tmp_path):
    """A Hub that answers on the loopback, and clients that know no other and have cached nothing."""
    with serve(tmp_path / "cache") as loopback:
        yield loopback


@pytest.fixture(scope="package")
def loader():
    """The config loader of a Hydra that looks into ``conf``."""
    with config_loader() as found:
        yield found
