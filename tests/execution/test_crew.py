"""Processes for a cell that cannot be had are refused before any is started."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from pretune.config.running import Trainer
from pretune.errors import UsageError
from pretune.execution.crew import Crew


def test_trainings_by_an_engine_that_is_not_installed_name_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deepspeed" else found(name))
    trainer = Trainer(strategy="deepspeed_zero2", accelerator="cpu", devices=2)
    with pytest.raises(UsageError, match=r"deepspeed_zero2: needs DeepSpeed.*pip install 'pretune\[deepspeed\]'"):
        Crew(trainer, cache_dir=str(tmp_path), batch_sizes=[8])
    Crew(trainer, cache_dir=str(tmp_path))  # evaluations alone need nothing of it
