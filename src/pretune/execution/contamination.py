"""``mode=contamination``: how much of the evaluated rows is found in a text, without any model."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from pretune.config.library import Library
from pretune.config.running import Contamination, EvaluateConfig
from pretune.config.science import Task
from pretune.data.files import EVERYTHING
from pretune.data.partition import LoadSplit
from pretune.errors import UsageError
from pretune.execution.display import make_console
from pretune.execution.evaluating import prepare_evaluation
from pretune.execution.grid import Grid
from pretune.results.identity import slug
from pretune.results.store import write_atomically
from pretune.terminal import TextTable, print_table, say_count

if TYPE_CHECKING:
    from pretune.data.contamination import Overlap

MOSTLY = 0.8
"""Share of its n-grams from which a row counts as mostly found."""
SHOWN = 5
"""Rows that are quoted for each task."""


def report_contamination(grid: Grid) -> int:
    """Print, and keep in the study's folder ``contamination``, the overlap of every distinct evaluated sample."""
    from pretune.data.contamination import find_overlaps

    config = grid.config
    if not isinstance(config, EvaluateConfig):
        raise UsageError("mode=contamination: belongs to evaluate.py, which says what is evaluated")
    wanted, load, console = config.contamination, LoadSplit(), make_console()
    text = choose_text(wanted, Library.of_this_run())
    split = text.train_split or text.eval_split
    documents = [example.target for example in load(text, split).examples]
    console.print(
        f"{text.name}/{split}: {say_count(len(documents), 'document')}, "
        f"{sum(map(len, documents)) / 1e6:.1f} million characters; n-grams of {wanted.ngram} words",
        markup=False,
        soft_wrap=True,
    )
    rows, quotes, seen = [], [], set()
    for cells in grid.jobs:
        for cell in cells.all():
            assert cell.evaluation is not None
            prepared = prepare_evaluation(cell, cells.job, "", load)
            task, place = prepared.evaluation.task, (prepared.evaluation.task.name, prepared.split_name, prepared.data)
            if place in seen:
                continue
            seen.add(place)
            overlaps = find_overlaps(prepared.examples, documents, n=wanted.ngram)
            rows.append(summarise(task.name, prepared.split_name, overlaps))
            quotes += quote(task.name, overlaps)
            path = grid.study.root / "contamination" / f"{slug(task.name, prepared.split_name, 'in', text.name)}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {
                "task": task.name,
                "split": prepared.split_name,
                "text": {"task": text.name, "split": split, "documents": len(documents)},
                "ngram": wanted.ngram,
                "sample": {"limit": config.eval.limit, "seed": config.shot_seed},
                "rows": [dataclasses.asdict(overlap) for overlap in overlaps],
            }
            write_atomically(path, json.dumps(kept, ensure_ascii=False, indent=1).encode())
    head = ("task", "split", "rows", "too short", "any", "mostly", "answer", "n-grams")
    print_table(console, TextTable(head=head, rows=rows, names=head[:2], right=head[2:]))
    for line in quotes:
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Rows: {grid.study.root / 'contamination'}", markup=False, soft_wrap=True)
    return 0


def choose_text(wanted: Contamination, library: Library) -> Task:
    """The task whose text the rows are looked up in."""
    text = library.task(wanted.text)
    if text.answer != "language":
        raise UsageError(f"contamination.text={wanted.text}: is no plain text (task.answer={text.answer})")
    changes: dict[str, Any] = {}
    if wanted.path is not None:
        changes |= {"source": "path", "path": wanted.path, "train_split": None, "eval_split": EVERYTHING}
    if wanted.rows is not None:
        changes["stream_rows"] = wanted.rows
    text = dataclasses.replace(text, **changes)
    if text.source == "path" and not text.path:
        raise UsageError(f"contamination.text={wanted.text}: needs contamination.path, the folder of the text")
    return text


def summarise(task: str, split: str, overlaps: list[Overlap]) -> list[str]:
    """One row of the table: rows with any n-gram found, with most of them, and with one that touches the answer."""
    looked_up = [overlap for overlap in overlaps if overlap.total]
    found, total = sum(o.found for o in looked_up), sum(o.total for o in looked_up)

    def share(count: int) -> str:
        return f"{count} ({count / len(looked_up):.1%})" if looked_up else "0"

    return [
        task,
        split,
        str(len(overlaps)),
        str(len(overlaps) - len(looked_up)),
        share(sum(o.found > 0 for o in looked_up)),
        share(sum(o.share >= MOSTLY for o in looked_up)),
        share(sum(o.answer_found > 0 for o in looked_up)),
        f"{found / total:.2%} of {total}" if total else "0",
    ]


def quote(task: str, overlaps: list[Overlap]) -> list[str]:
    """The rows of which most is found, with the passage."""
    worst = sorted((o for o in overlaps if o.found), key=lambda o: (-o.share, -o.found))[:SHOWN]
    return [f"{task} row {o.id}: {o.share:.0%} of {o.total}: … {o.passage[:160]} …" for o in worst]
