"""How well the analyses keep their nominal rates, and how long they take on 100,000 rows.

python benchmarks/analyses.py rates
python benchmarks/analyses.py speed
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pretune.analysis import CATALOGUE, Inputs, run_analyses
from pretune.analysis.peaks import decline_against_repeats, decline_against_scatter
from pretune.analysis.regression import fit_line
from pretune.analysis.segments import fit_break
from synthetic_tables import PRIMARY, measurement, realistic_study, tabulate

REPETITIONS = 1000


def share(draw: Callable[[np.random.Generator], bool]) -> float:
    """Share of repetitions in which ``draw`` is true."""
    rng = np.random.default_rng(0)
    return float(np.mean([draw(rng) for _ in range(REPETITIONS)]))


def print_rates() -> None:
    """Print coverage of 95 % intervals and alarms at 5 % for several numbers of checkpoints and sizes of noise."""
    print(f"{REPETITIONS} repetitions each; the noise is in the units of a score")
    for points in (12, 16, 24, 48):
        x = np.linspace(0, 10, points)
        for noise in (0.01, 0.03):

            def cover(rng: np.random.Generator, after: str, x: np.ndarray = x, noise: float = noise) -> bool:
                place = rng.uniform(3, 8)
                fall = 0.04 * np.maximum(x - place, 0) if after == "free" else 0.0
                y = 0.05 * np.minimum(x, place) - fall + rng.normal(0, noise, len(x))
                found = fit_break(x, y, after=after, resamples=499, seed=int(rng.integers(1 << 30)))
                return found.low <= place <= found.high

            def cover_slope(rng: np.random.Generator, x: np.ndarray = x, noise: float = noise) -> bool:
                line = fit_line(x, 0.02 * x + rng.normal(0, noise, len(x)))
                return line.low <= 0.02 <= line.high

            print(
                f"{points:3} checkpoints, noise {noise}: covered: onset {share(lambda rng: cover(rng, 'flat')):.3f}, "
                f"inflection {share(lambda rng: cover(rng, 'free')):.3f}, slope {share(cover_slope):.3f}"
            )
    for points in (5, 8, 12, 24):
        x = np.arange(points, dtype=float)
        scatter = share(lambda rng, x=x: decline_against_scatter(x, rng.normal(size=len(x))) <= 0.05)
        seeds = share(
            lambda rng, n=points: (
                decline_against_repeats(rng.normal(size=n), float(np.sqrt(rng.chisquare(2 * n) / (2 * n))), 2 * n)
                <= 0.05
            )
        )
        naive = share(lambda rng, n=points: np.ptp((y := rng.normal(size=n))[[int(np.argmax(y)), -1]]) > 1.645 * 2**0.5)
        print(
            f"{points:3} checkpoints, flat: alarms of a decline: noise from scatter {scatter:.3f}, from three seeds "
            f"{seeds:.3f}, forgetting the selection {naive:.3f}"
        )


def print_speed() -> None:
    """Print the time of every analysis on two tables of 100,000 rows: a deep ladder with seeds, and many families."""
    steps = (0, *sorted({round(1000 * 1.12**k) for k in range(88)}))
    deep = realistic_study(seeds=3, steps=steps)
    probes = [
        measurement(kind="probe", step=step, eval_task="pico/text", probe="gaussian", probe_variant="init_std",
                    magnitude=size, probe_seed=seed, metric="loss_increase", value=size * step**0.1)
        for step in steps for size in (0.01, 0.03, 0.1, 0.3) for seed in range(3)
    ]  # fmt: skip
    wide = pd.concat([realistic_study(seed=k, family=f"family {k}") for k in range(31)], ignore_index=True)
    for name, table in (("deep", pd.concat([deep, tabulate(probes)], ignore_index=True)), ("wide", wide)):
        start = time.perf_counter()
        inputs = Inputs(table=table, primary=PRIMARY)
        times = []
        for analysis in CATALOGUE:
            before = time.perf_counter()
            rows = len(run_analyses(inputs, [analysis.name])[analysis.name].table)
            times.append(f"  {analysis.name:14} {time.perf_counter() - before:6.2f} s  {rows:6} rows")
        print(f"{name}: {len(table):,} rows, all analyses {time.perf_counter() - start:.1f} s")
        print("\n".join(times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"peak memory {peak:.2f} GiB; {platform.machine()}, Python {platform.python_version()}, pandas {pd.__version__}"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "speed"))
    {"rates": print_rates, "speed": print_speed}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
