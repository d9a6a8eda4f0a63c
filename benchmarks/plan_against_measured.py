"""How near a plan's times come: ten trainings of the embedded miniature, estimated from others, then run.

    python benchmarks/plan_against_measured.py

First a few cells of two tasks are run in an empty study, so that the plan has something to go by; then ten trainings of
five tasks at two other checkpoints are planned, and run. Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, describe_place

KNOWN = ("checkpoint=pico/step64,pico/step256", "task=pico/nli,pico/paraphrase", "task.train_rows=400,1000")
PLANNED = (
    "checkpoint=pico/step512,pico/step1024",
    "task=pico/nli,pico/paraphrase,pico/summary,pico/question,pico/chat",
)
COMMON = ("experiment=miniature", "logger=none", "eval.relations=[validation,in_domain]")


def run(*words: str) -> str:
    """Output of ``python train.py -m <words>``."""
    done = subprocess.run(
        [sys.executable, "train.py", "-m", *COMMON, *words],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"train.py {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def read_estimates(plan: str) -> dict[str, float]:
    """Seconds by cell, of the trainings in a listed plan."""
    found = re.findall(r"^train +│ (\S+) +│ +([\d.e+]+) (s|min) ", plan, re.MULTILINE)
    return {name: float(value) * (60 if unit == "min" else 1) for name, value, unit in found}


def read_seconds(study: Path, name: str) -> float:
    """What a training took."""
    (record,) = (study / "runs").glob(f"train-{name}-*/run.json")
    return float(json.loads(record.read_text())["provenance"]["seconds"])


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"study_dir={folder}"
        run(*KNOWN, place)
        plan = run(*PLANNED, place, "mode=plan", "plan.cells=true")
        run(*PLANNED, place)
        estimates = read_estimates(plan)
        print(describe_place(1))
        print("\n".join(line for line in plan.splitlines() if "predicted by" in line))
        print("| training | estimated, s | measured, s | ratio |\n|---|---|---|---|")
        ratios = []
        for name, estimate in estimates.items():
            measured = read_seconds(Path(folder), name)
            ratios.append(estimate / measured)
            print(f"| {name} | {estimate:.2g} | {measured:.2f} | {ratios[-1]:.2f} |")
        within = sum(abs(math.log(ratio)) <= math.log(1.3) for ratio in ratios)
        print(f"{within} of {len(ratios)} within 30 %; all together {sum(estimates.values()):.1f} s estimated")


if __name__ == "__main__":
    main()
