from __future__ import annotations

import pytest

from support.configs import config_loader


@pytest.fixture(scope="package")
def loader():
    """The config loader of a Hydra that looks into ``conf``."""
    with config_loader() as found:
        yield found
