"""Time and memory of the report on a large synthetic table.

    python benchmarks/report_scale.py [rows] [folder]

The table has five trained tasks with twins, three formats, two learning rates and as many checkpoints and seeds as the
number of rows needs: simulated curves, no results. Prints the seconds of ``write_report``, the peak memory of the
process and the size of the page; docs/performance.md has what was measured.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def make_table(rows: int) -> tuple[pd.DataFrame, dict[str, tuple[str, str]]]:
    """Simulate studies of 24 checkpoints, of several models and seeds, until there are ``rows`` rows."""
    from synthetic_tables import PRIMARY, realistic_study

    steps = (0, *(2**k for k in range(4, 27)))
    parts: list[pd.DataFrame] = []
    while sum(map(len, parts)) < rows:
        part = realistic_study(seed=len(parts), seeds=3, family=f"model{len(parts)}", steps=steps)
        parts.append(part)
    return pd.concat(parts, ignore_index=True).head(rows), PRIMARY


def main() -> None:
    """Make the table, write its report, print what it took."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    table, primary = make_table(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    from pretune.report import write_report

    with tempfile.TemporaryDirectory() as folder:
        out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "report"
        start = time.perf_counter()
        files = write_report(table, out, title=f"{rows:,} rows", primary=primary)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = files.page.stat().st_size / 1e6
        print(
            f"{len(table):,} rows, {table['run_id'].nunique():,} runs: {seconds:.1f} s, peak {peak:,.0f} MiB "
            f"(before: {before:,.0f} MiB), page {size:.2f} MB, {len(files.figures)} figures"
        )


if __name__ == "__main__":
    main()
