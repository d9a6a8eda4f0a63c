"""The measurement for a GPU runs on a CPU at a tiny size, without the code generator of torch.compile."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_training.py"


def measure(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, cwd=ROOT)


def test_all_sides_learn_the_same_and_are_measured():
    done = measure("--device", "cpu", "--small", "--steps", "4", "--sides", "padded", "padding-free")
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"CPU machine, 1 threads, Python .*torch [\d.]+", done.stdout)
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines()
            if line.startswith(("| padd", "| TRL"))]  # fmt: skip
    names = ["padded", "padding-free"]
    if importlib.util.find_spec("trl"):
        names += ["TRL, defaults", "TRL, without checkpointing"]
    assert [row[0] for row in rows] == 2 * names, "rows of either length"
    for start in (0, len(names)):
        losses = [float(row[5]) for row in rows[start : start + len(names)]]
        assert losses == pytest.approx([losses[0]] * len(names), abs=2e-3)  # bf16
    for row in rows:
        assert float(row[1].split()[0]) > 0
        assert row[3] == "peak unknown"


def test_too_few_steps_are_refused():
    done = measure("--device", "cpu", "--small", "--steps", "3")
    assert done.returncode == 2
    assert "--steps 3: the first 3 steps are not timed" in done.stderr
