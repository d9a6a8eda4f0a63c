"""Hydra's config loader over the shipped ``conf``, as a script has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from pretune.config.schema import register

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="package")
def loader() -> Iterator[Any]:
    """The config loader of a Hydra that looks into ``conf``."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    GlobalHydra.instance().clear()


@pytest.fixture(scope="package")
def master(loader: Any) -> Any:
    """The configuration from which a sweep of ``train.py`` starts."""
    return loader.load_configuration(config_name="train", overrides=[], run_mode=RunMode.MULTIRUN)
