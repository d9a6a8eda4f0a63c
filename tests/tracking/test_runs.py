from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pretune.errors import UsageError
from pretune.tracking import RunInfo, flatten, open_tracker
from pretune.tracking.guarding import GIVE_UP_AFTER, Guard
from pretune.tracking.runs import finite, safe_id


@dataclass(frozen=True, kw_only=True)
class Nested:
    lr: float = 5e-4
    betas: tuple[float, ...] = (0.9, 0.95)


def test_flatten_gives_one_level() -> None:
    config = {
        "optimizer": Nested(),
        "checkpoint": {"step": 64, "repo": None, "empty": {}},
        "path": Path("a/b"),
        "on": True,
    }
    assert flatten(config) == {
        "optimizer/lr": 5e-4,
        "optimizer/betas": [0.9, 0.95],
        "checkpoint/step": 64,
        "checkpoint/repo": None,
        "path": "a/b",
        "on": True,
    }
    assert flatten(Nested(), "optimizer") == {"optimizer/lr": 5e-4, "optimizer/betas": [0.9, 0.95]}


def test_scalars_of_numpy_are_plain() -> None:
    flat = flatten({"a": np.float64(0.5), "b": np.int64(3), "c": [np.float32(1.0)], "d": [{"e": 1}]})
    assert flat == {"a": 0.5, "b": 3, "c": [1.0], "d": [{"e": 1}]}
    assert [type(value) for value in flat.values()] == [float, int, list, list]
    assert finite(float("nan")) == "nan"
    assert finite(None) is None


def test_ids_are_safe_stable_and_distinct() -> None:
    assert safe_id("train-pico-0123456789ab-1") == "train-pico-0123456789ab-1"
    awkward = ["a/b:c", "a/b c", "a-b-c", "../..", "x" * 100 + "-1", "x" * 100 + "-2", "é", ""]
    ids = [safe_id(text) for text in awkward]
    assert len(set(ids)) == len(ids)
    assert ids == [safe_id(text) for text in awkward]
    for id in ids:
        assert 0 < len(id) <= 64
        assert not set(id) & set(":;,#?/'\\% ")
        assert not id.startswith(".")


def test_importing_and_opening_is_light(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import pretune.tracking as tracking
from types import SimpleNamespace
for name in ("wandb", "csv", "none"):
    config = SimpleNamespace(name=name, project="p", entity=None, group=None, offline=None)
    tracking.open_tracker(config, Path({str(tmp_path)!r})).close()
heavy = [name for name in ("torch", "lightning", "wandb", "pandas", "transformers") if name in sys.modules]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean wandb"):
        open_tracker(SimpleNamespace(name="wandbb"), tmp_path)  # type: ignore[arg-type]


def test_none_does_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(SimpleNamespace(name="none"), tmp_path)  # type: ignore[arg-type]
    run = tracker.start(RunInfo(id="a", name="a", group="g", job_type="train"))
    assert list(run.loggers) == []
    run.summarize({"a": 1})
    run.add_table("t", None)  # type: ignore[arg-type]
    run.finish()
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_guard_warns_once(caplog: Any) -> None:
    guard = Guard("thing")
    for _ in range(3):
        with guard.protect("working") as attempt:
            raise ValueError("broken\nbadly")
        assert attempt.failed
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "working failed (broken badly)" in warnings[0].getMessage()
    with pytest.raises(KeyboardInterrupt), guard.protect("working"):
        raise KeyboardInterrupt
    assert not guard.given_up
    guard.failures = GIVE_UP_AFTER
    assert guard.given_up
