"""A sweep of 2 checkpoints × 4 learning rates in one process against eight separate runs of the same cells.

    python benchmarks/sweep_in_one_process.py

On the embedded miniature, whose ladder is built before anything is timed. Both sides start with an empty study.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time

from common import ROOT, describe_place, spread

CHECKPOINTS = ("pico/step64", "pico/step256")
RATES = ("1e-4", "2e-4", "4e-4", "8e-4")


def run(*words: str) -> float:
    """Seconds that ``python train.py <words>`` takes; its output is shown only when it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "train.py", *words],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"train.py {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="training rows: about 5 s a cell")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    common = (
        "experiment=miniature",
        "task=pico/nli",
        f"task.train_rows={arguments.rows}",
        "logger=none",
        "eval.relations=[validation,in_domain]",
    )
    run("stage=pretrain", "checkpoint=pico")
    together, apart = [], []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            sweep = [f"checkpoint={','.join(CHECKPOINTS)}", f"optimizer.lr={','.join(RATES)}"]
            together.append(run("-m", *common, *sweep, f"study_dir={folder}"))
        with tempfile.TemporaryDirectory() as folder:
            cells = itertools.product(CHECKPOINTS, RATES)
            apart.append(
                sum(run(*common, f"checkpoint={c}", f"optimizer.lr={r}", f"study_dir={folder}") for c, r in cells)
            )
    ratios = [one / eight for one, eight in zip(together, apart, strict=True)]
    print(describe_place(1))
    print(f"one process {spread(together, 1)} s, eight processes {spread(apart, 1)} s: {spread(ratios)} of the time")


if __name__ == "__main__":
    main()
