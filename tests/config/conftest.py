"""Hydra's config loader over the shipped ``conf``, as a script has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra.types import RunMode

from support.configs import config_loader


@pytest.fixture(scope="package")
def loader() -> Iterator[Any]:
    """The config loader of a Hydra that looks into ``conf``."""
    with config_loader() as found:
        yield found


@pytest.fixture(scope="package")
def master(loader: Any) -> Any:
    """The configuration from which a sweep of ``train.py`` starts."""
    return loader.load_configuration(config_name="train", overrides=[], run_mode=RunMode.MULTIRUN)
