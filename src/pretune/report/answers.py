"""``report.py alpaca_eval=[RUN,…]``: generated answers to instructions, as AlpacaEval's own tool reads them.

The file is a JSON list of ``instruction``, ``output``, ``generator`` and ``dataset``
(https://github.com/tatsu-lab/alpaca_eval). That tool finds the reference answer by the instruction, so the instruction
is the text of the data set to the letter, read again from its source, not the prompt that the model was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretune.config.schema import freeze
from pretune.config.science import GENERATE, HELD_OUT, Task
from pretune.data.readers import choose_reader
from pretune.data.sources import read_rows
from pretune.errors import DataError, UsageError, suggest
from pretune.results.store import Study, read_checked, write_atomically

INSTRUCTION = "instruction"


def export_answers(study_dir: str | Path, name: str) -> Path:
    """Write the generated answers of one evaluation; return the file, ``report/alpaca_eval/<run_id>.json``.

    ``name`` is the ``run_id`` of a finished evaluation with generated answers, or its unique beginning. ``generator``
    is the ``run_id``; ``dataset`` the row's column of that name, else the task's name. Raises :class:`UsageError` for
    other runs, and :class:`DataError` when the rows are no longer those that were evaluated.
    """
    study = Study(study_dir)
    run_id = study.find_run(name)
    kind, config = study.read_run(run_id)["kind"], study.read_config(run_id)
    if kind != "evaluate":
        raise UsageError(f"alpaca_eval={name}: {run_id} is a cell of kind '{kind}', not an evaluation")
    task = freeze(Task, config["task"])
    if task.answer != "generation":
        raise UsageError(f"alpaca_eval={name}: {run_id} generated no answers (task.answer={task.answer})")
    column = instruction_column(task, config["format"])
    rows = read_rows(task, source_split(task, validation=config["split"] == "validation"))
    answers = [make_answer(task, item, rows, column, run_id) for item in read_answers(study.run_dir(run_id))]
    path = study.root / "report" / "alpaca_eval" / f"{run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(answers, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def instruction_column(task: Task, format_: Mapping[str, Any]) -> str:
    """Column of the instruction: that of the field ``instruction``, else that of the template's body."""
    body = format_["templates"].get(task.family, {}).get("body")
    for field in (INSTRUCTION, body):
        if field in task.fields:
            return task.fields[field]
    raise UsageError(
        f"task={task.name}: no field '{INSTRUCTION}' among task.fields; {suggest(INSTRUCTION, task.fields)}"
    )


def source_split(task: Task, *, validation: bool) -> str:
    """The split whose rows the items are numbered by."""
    if validation:
        return str(task.validation_split or task.train_split)
    return str(task.train_split) if task.eval_split == HELD_OUT else task.eval_split


def read_answers(run_dir: Path) -> Sequence[Mapping[str, Any]]:
    """Items with generated answers, in their order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["item", "prediction", "gold"]
    items = pa.BufferReader(read_checked(run_dir / "items.parquet"))
    table = pq.read_table(items, columns=columns, filters=[("scorer", "=", GENERATE)])
    answers: list[dict[str, Any]] = table.to_pylist()
    return answers


def make_answer(
    task: Task, item: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], column: str, generator: str
) -> dict[str, str]:
    """One entry of the file, after a look whether the row is still the one that was evaluated."""
    number = int(item["item"])
    example = choose_reader(task)(rows[number], task, item["item"]) if number < len(rows) else None
    if example is None or example.target != item["gold"]:
        raise DataError(
            f"task={task.name}: row {number} is no longer the one that was evaluated; evaluate again, or give "
            "task.revision (task.path) of the rows that were"
        )
    row = rows[number]
    return {
        "instruction": str(row[column]),
        "output": item["prediction"],
        "generator": generator,
        "dataset": str(row.get("dataset") or task.name),
    }
