"""``report.py compare=[RUN,OTHER,…]``: the first run against each other one, on the items that both answered."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError, UsageError
from pretune.results.naming import say_runs
from pretune.results.store import Study, read_checked
from pretune.terminal import TextTable, print_table, say_count

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"
"""Stands for the checkpoint that the first run was trained from."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The evaluations of one set of weights: name, run folders with their ``run.json``."""

    name: str
    runs: Mapping[Path, Mapping[str, Any]]


def compare_runs(study_dir: str | Path, first: str, *others: str) -> pd.DataFrame:
    """Compare the run ``first`` with each of ``others`` on their common items, by each task's primary scorer.

    A run is named by a ``run_id`` or its beginning. A training stands for all evaluations of the weights it made,
    ``"base"`` for those of the checkpoint that ``first`` was trained from; several evaluations may be named at once by
    a common beginning if they are of the same weights. Where both sides are one single evaluation, format and shots may
    differ: then formats are compared. Otherwise evaluations of the same split, format and number of shots are.

    Columns: ``first_run, second_run, metric``, those of :func:`pretune.evaluation.pairing.compare_items`; ``p_holm``
    is adjusted for all rows. Raises :class:`UsageError` for names that are not clear and runs that have nothing in
    common, :class:`DataError` when they did not see the same data.
    """
    import pandas as pd

    from pretune.evaluation.significance import holm

    if not others:
        raise UsageError(f"compare={first}: give the runs to compare it with, e.g. compare=[{first},{BASE}]")
    study = Study(study_dir)
    records = {path: study.read_run(path.name) for path in study.finished_runs()}
    if first == BASE:
        raise UsageError(
            f"compare=[{BASE},…]: '{BASE}' stands for the checkpoint of the training named first; "
            + say_runs([path.name for path in records if path.name.startswith("train-")], study.runs)
        )
    left = find_side(study, records, first)
    tables = []
    for name in others:
        right = _base_side(records, left) if name == BASE else find_side(study, records, name)
        table = _compare_sides(left, right)
        if not len(table):
            raise UsageError(f"{left.name} and {right.name} have no evaluation in common")
        tables.append(table.assign(first_run=left.name, second_run=right.name))
    table = pd.concat(tables, ignore_index=True)
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=float))
    named = ["first_run", "second_run", "metric"]
    return table[[*named, *(name for name in table.columns if name not in named)]]


def find_side(study: Study, records: Mapping[Path, Mapping[str, Any]], name: str) -> Side:
    """The evaluations that ``name`` stands for."""
    found = {path: run for path, run in records.items() if path.name.startswith(name)}
    found = {path: run for path, run in found.items() if path.name == name} or found
    trained = [path.name for path, run in found.items() if run["kind"] == "train"]
    if trained:
        if len(trained) > 1 or len(found) > 1:
            shown = say_runs([path.name for path in found], study.runs, near=name)
            raise UsageError(f"compare={name}: not unique; {len(found)} runs begin so; {shown}")
        runs = {path: run for path, run in records.items() if run["facts"].get("train_run") == trained[0]}
        runs = {path: run for path, run in runs.items() if run["kind"] == "evaluate"}
        if not runs:
            raise UsageError(f"compare={name}: {trained[0]} has no finished evaluation; evaluate.py run={trained[0]} …")
        return Side(name=trained[0], runs=runs)
    evaluated = {path: run for path, run in found.items() if run["kind"] == "evaluate"}
    weights = {str(run["facts"]["weights"]) for run in evaluated.values()}
    if not evaluated:
        raise UsageError(
            f"compare={name}: no finished training or evaluation begins so; "
            + say_runs([path.name for path in records], study.runs, near=name)
        )
    if len(weights) > 1:
        raise UsageError(
            f"compare={name}: {len(evaluated)} evaluations of {len(weights)} different weights begin so; "
            "give more of the name"
        )
    only = next(iter(evaluated)).name
    return Side(name=only if len(evaluated) == 1 else name, runs=evaluated)


def _base_side(records: Mapping[Path, Mapping[str, Any]], tuned: Side) -> Side:
    """Evaluations of the checkpoint behind tuned weights."""
    run_ids = {run["facts"].get("train_run") for run in tuned.runs.values()}
    training = next((run for path, run in records.items() if path.name in run_ids), None)
    if training is None:
        raise UsageError(f"compare={BASE}: {tuned.name} is no trained run, or its training is not in this study")
    weights = {"state": "base", "checkpoint": training["request"]["checkpoint"]}
    runs = {
        path: run for path, run in records.items() if run["kind"] == "evaluate" and run["request"]["weights"] == weights
    }
    if not runs:
        raise UsageError(f"compare={BASE}: the checkpoint of {tuned.name} has not been evaluated in this study")
    return Side(name=BASE, runs=runs)


def _compare_sides(left: Side, right: Side) -> pd.DataFrame:
    """Comparisons of all evaluations on the same split of the same task, by its primary scorer."""
    import pandas as pd

    from pretune.evaluation.pairing import compare_items

    across = ["eval_format", "shots"] if len(left.runs) == len(right.runs) == 1 else []
    items = [_read_items(side) for side in (left, right)]
    tables = []
    for split in sorted(items[0].keys() & items[1].keys()):
        table = compare_items(items[0][split], items[1][split], across=across)
        tables.append(table.assign(eval_split=split[1], metric=split[2]))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _read_items(side: Side) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Items of each (task, split, primary metric) by the primary scorer.

    The split is in no column of the items: rows held out from training bear the same numbers as evaluated ones.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[tuple[str, str, str], list[pd.DataFrame]] = {}
    for path, run in side.runs.items():
        metric, scorer = run["facts"]["primary"]
        key = (str(run["request"]["task"]["name"]), str(run["request"]["split"]), str(metric))
        try:
            items = pa.BufferReader(read_checked(path / "items.parquet"))
            frame = pq.read_table(items, filters=[("scorer", "=", str(scorer))]).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path / 'items.parquet'} cannot be read: {error}") from None
        found.setdefault(key, []).append(frame)
    return {key: pd.concat(frames, ignore_index=True) for key, frames in found.items()}


def print_comparison(study_dir: str | Path, names: Sequence[str], *, width: int | None = None) -> None:
    """Write the table of :func:`compare_runs` for a terminal to standard output."""
    from rich.console import Console

    table = compare_runs(study_dir, *names)
    formats = table["eval_format"].nunique(dropna=False) > 1 or table["shots"].nunique(dropna=False) > 1
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal or width:
        console = Console(file=sys.stdout, highlight=False, width=width or 160)
    console.print(f"A: {table['first_run'].iloc[0]}", markup=False, soft_wrap=True)
    for second, rows in table.groupby("second_run", sort=False):
        console.print(f"B: {second}", markup=False, soft_wrap=True)
        names = ("task", *(("format", "shots") if formats else ()))
        numbers = ("items", "A", "B", "A − B", "95 % interval", "only A : B", "p", "p (Holm)", "detectable")
        cells = [_cells(row, formats=formats) for row in rows.to_dict("records")]
        shown = TextTable(head=(*names, "metric", *numbers), rows=cells, right=numbers, names=names)
        print_table(console, shown, width=width)
        console.print()
    for line in _notes(table):
        console.print(line, markup=False, soft_wrap=True)


def _cells(row: Mapping[Any, Any], *, formats: bool) -> list[str]:
    import pandas as pd

    task = str(row["eval_task"]) + (" (held out)" if row["eval_split"] == "validation" else "")
    where = [_text(row["eval_format"]), _text(row["shots"])] if formats else []
    counted = f"{row['only_first']:.0f} : {row['only_second']:.0f}" if not pd.isna(row["only_first"]) else ""
    return [
        task,
        *where,
        str(row["metric"]),
        str(row["n"]),
        f"{row['first']:.3f}",
        f"{row['second']:.3f}",
        f"{row['difference']:+.3f}",
        f"{row['low']:+.3f} … {row['high']:+.3f}",
        counted,
        _p(row["p_value"]),
        _p(row["p_holm"]) + ("*" if row["p_holm"] <= 0.05 else ""),
        f"{row['detectable']:.3f}" if row["detectable"] else "",
    ]


def _text(value: Any) -> str:
    import pandas as pd

    return "" if pd.isna(value) else str(value)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-")


def _notes(table: pd.DataFrame) -> list[str]:
    """What the columns mean, as far as they are there."""
    tests = set(table["test"])
    lines = []
    if "McNemar" in tests:
        lines.append("only A : B – items that exactly one got right; p by McNemar's exact test on them.")
    if "bootstrap" in tests:
        lines.append("p of values other than right and wrong by the paired bootstrap.")
    lines.append(f"p (Holm): adjusted for the {say_count(len(table), 'comparison')}; * at most 0.05.")
    lines.append("detectable: the true difference that so many items would show with probability 0.8.")
    if left_out := int(table["unpaired"].sum()):
        lines.append(f"Left out: {say_count(left_out, 'item')} that only one side has.")
    return lines
