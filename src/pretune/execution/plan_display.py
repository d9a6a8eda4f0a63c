"""What a person sees of a plan: its cells or groups of them, then what they cost and how sure that is."""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pretune.config.running import TrainConfig
from pretune.execution.display import megabytes
from pretune.execution.grid import Grid
from pretune.execution.outcomes import BLOCKED, FAILED, FINISHED, MISSING
from pretune.execution.plan_file import write_plan
from pretune.execution.planned import RUNNING, STATES, GridPlan, PlannedCell, make_plan
from pretune.planning.accelerators import ACCELERATORS, LARGEST_SHARE, START_SECONDS, Accelerator
from pretune.planning.calibration import Calibration
from pretune.planning.costs import evaluation_memory, training_memory

MOST_LISTED = 60
"""Rows of a table: up to so many cells are listed each by itself, up to so many checkpoints and tasks too."""
STYLES = {FAILED: "red", BLOCKED: "red", RUNNING: "green", FINISHED: "dim"}
COMPARED = ("A100", "H100", "H200")
"""Accelerators that a plan compares where none is named and nothing was measured."""


def show_plan(grid: Grid, console: Console) -> None:
    """Print a plan: its cells, or groups of them; below, where a long table ends, what they come to and cost."""
    plan = make_plan(grid)
    listed = grid.config.plan.cells
    if listed or (listed is None and len(plan.cells) <= MOST_LISTED):
        console.print(list_cells(plan))
    else:
        console.print(list_groups(plan))
    console.print()
    counts = describe_counts(plan, STATES, always=(FINISHED, MISSING))
    for line in (f"{len(plan.cells):,} cells{counts}.", *describe_cost(plan, grid)):
        console.print(escape(line), soft_wrap=True)
    if grid.config.plan.file is not None:
        write_plan(plan, grid.config.plan.file)
        console.print(escape(f"Every cell: {grid.config.plan.file}"), soft_wrap=True)


def describe_counts(plan: GridPlan, states: Sequence[str], *, always: Sequence[str] = ()) -> str:
    """How many cells are in each of these states, after a comma; ``always``: even if none is."""
    words = {BLOCKED: "blocked by a failed training"}
    counts = {state: plan.count(state) for state in states}
    return "".join(f", {n:,} {words.get(state, state)}" for state, n in counts.items() if n or state in always)


def list_cells(plan: GridPlan) -> Table:
    """One row per cell. A long name goes on in the next line: cells differ in its end."""
    table = Table("kind", show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("cell", overflow="fold")
    table.add_column("about", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for cell in plan.cells:
        seconds = plan.seconds(cell) if cell.state != FINISHED else None
        about = say_time(seconds) if seconds else ""
        table.add_row(cell.cell.kind, escape(cell.cell.name), about, cell.state, style=STYLES.get(cell.state))
    return table


def list_groups(plan: GridPlan) -> Table:
    """One row per checkpoint and task, or where these are too many per family and task, with the totals."""
    groups = group_cells(plan)
    shown = [state for state in STATES if plan.count(state)]
    times = {key: total_seconds(plan, cells) for key, cells in groups.items()}
    timed = any(seconds is not None for seconds in times.values())
    table = Table("checkpoint", "task", show_edge=False, pad_edge=False, header_style="bold")
    for name in ("cells", *shown, *(["time left"] if timed else [])):
        table.add_column(name, justify="right")
    for (checkpoint, task), cells in groups.items():
        states = collections.Counter(cell.state for cell in cells)
        left = "" if states[FINISHED] == len(cells) else say_time(times[checkpoint, task])
        counts = [f"{states[state]:,}" if states[state] else "" for state in shown]
        table.add_row(escape(checkpoint), escape(task), f"{len(cells):,}", *counts, *([left] if timed else []))
    return table


def group_cells(plan: GridPlan) -> dict[tuple[str, str], list[PlannedCell]]:
    """The cells by checkpoint and task, or by family and task."""
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for cell in plan.cells:
        groups.setdefault(cell.group, []).append(cell)
    if len(groups) <= MOST_LISTED:
        return groups
    checkpoints: dict[str, set[str]] = {}
    for cell in plan.cells:
        checkpoints.setdefault(cell.key[1], set()).add(cell.group[0])
    families: dict[tuple[str, str], list[PlannedCell]] = {}
    for cell in plan.cells:
        count = len(checkpoints[cell.key[1]])
        name = cell.group[0] if count == 1 else f"{cell.key[1]}, {count} checkpoints"
        families.setdefault((name, cell.group[1]), []).append(cell)
    return families


def total_seconds(plan: GridPlan, cells: Sequence[PlannedCell], device: Accelerator | None = None) -> float | None:
    """Seconds of the cells that are not finished; ``None`` where one cannot be told."""
    found = [plan.seconds(cell, device) for cell in cells if cell.state != FINISHED]
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def describe_cost(plan: GridPlan, grid: Grid) -> list[str]:
    """Time, memory, disk, and how sure all that is."""
    left = [cell for cell in plan.cells if cell.state != FINISHED]
    if not left:
        return []
    lines = []
    unknown = sorted(name for name, shape in plan.checkpoints.items() if shape is None)
    if unknown:
        lines.append(f"Cost unknown: {unknown[0]} says nothing of its size (checkpoint.shape).")
    total = total_seconds(plan, left)
    if total is not None and plan.device is None:
        lines.append(f"About {say_time(total)} one after another, by the times of this study's finished cells.")
        lines += describe_errors(plan.calibration)
    names = (plan.device.name,) if plan.device else COMPARED if total is None and not unknown else ()
    for name in names:
        seconds = total_seconds(plan, left, ACCELERATORS[name])
        if seconds is not None:
            starts = START_SECONDS * len({cell.group[0] for cell in left})
            hours = (seconds + starts) * plan.devices / 3600
            lines.append(f"On {name}: {f'about {hours:,.1f}' if hours >= 0.1 else 'less than 0.1'} GPU-hours.")
    if names:
        lines.append(
            f"Assumed, not measured: at most {100 * LARGEST_SHARE:.0f} % of the peak, less with short rows; answers "
            "decoded slowly. Real hours may be several times as many; a few finished cells make it sharper."
        )
    lines += describe_memory(plan, grid, [ACCELERATORS[name] for name in names])
    shapes = [shape for name, shape in plan.checkpoints.items() if shape and any(c.group[0] == name for c in left)]
    if grid.config.checkpoint.source == "hub" and shapes:
        low, high = (sum(size * shape.parameters for shape in shapes) / 1e9 for size in (2, 4))
        count = f"{len(shapes)} checkpoint{'s' * (len(shapes) > 1)}"
        lines.append(
            f"Weights of {count}: {low:,.1f} to {high:,.1f} GB to download unless here (mode=prefetch says exactly)."
        )
    if plan.kept_models:
        lines.append(f"Fine-tuned weights: at most {megabytes(plan.kept_models)} (keep_model=none|selected|all).")
    if plan.assumed:
        lines.append(f"Sizes of {', '.join(plan.assumed)} are guesses: nothing is recorded of them.")
    return lines


def describe_errors(calibration: Calibration) -> list[str]:
    """How well the finished cells would have been predicted, each by the others."""
    ratios = calibration.errors()
    if len(ratios) < 3:
        return []
    off = [abs(math.log(ratio)) for ratio in ratios]
    ok = [value <= math.log(1.3) for value in off]
    return [
        f"Of {len(ratios)} finished cells, each predicted by the others, half are off by less than "
        f"{100 * math.expm1(statistics.median(off)):.0f} %; {sum(ok)} are within 30 %."
    ]


def describe_memory(plan: GridPlan, grid: Grid, devices: Sequence[Accelerator]) -> list[str]:
    """The largest memory of a cell, whether it fits, and what would make it fit."""
    known = [(cell.memory, cell) for cell in plan.cells if cell.memory is not None and cell.state != FINISHED]
    if not known:
        return []
    most, cell = max(known, key=lambda item: item[0])
    text = f"Memory: up to {most / 1e9:,.1f} GB on one device ({cell.cell.name})"
    small = [device for device in devices if most > 0.95 * device.memory]
    if not devices:
        return [text + "."]
    if not small:
        return [text + f"; fits {', '.join(device.name for device in devices)}."]
    lines = [text + f"; too much for {', '.join(device.name for device in small)}."]
    remedies = find_remedies(grid, cell, plan, min(device.memory for device in small))
    shape = plan.checkpoints[cell.group[0]]
    if remedies:
        lines.append(f"It would fit with {' or '.join(remedies)}.")
    elif shape is not None and evaluation_memory(shape) > 0.95 * min(device.memory for device in small):
        lines.append(f"An evaluation holds the whole model on each device: {evaluation_memory(shape) / 1e9:,.0f} GB.")
    else:
        lines.append("Nothing tried here makes it fit.")
    return lines


def find_remedies(grid: Grid, cell: PlannedCell, plan: GridPlan, memory: float) -> list[str]:
    """Keys that bring a training below ``memory``."""
    job = next((j for j in grid.jobs if j.train is not None and j.train.key == cell.cell.key), None)
    shape = plan.checkpoints[cell.group[0]]
    if job is None or shape is None or not isinstance(job.job.config, TrainConfig):
        return []
    config = job.job.config

    def changed(part: str, **changes: Any) -> TrainConfig:
        return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **changes)})

    tried = {
        "trainer.micro_batch=1": changed("trainer", micro_batch=1),
        "trainer.activation_checkpointing=true": changed("trainer", activation_checkpointing=True),
        "optimizer=adamw8bit": changed("optimizer", name="adamw8bit"),
        "trainer=bf16_true": changed("trainer", precision="bf16-true"),
        "regularizer=lora": changed("regularizer", name="lora"),
        "regularizer=qlora": changed("regularizer", name="qlora"),
        "trainer=fsdp trainer.devices=4": changed("trainer", strategy="fsdp", devices=4),
        "trainer=fsdp trainer.devices=8": changed("trainer", strategy="fsdp", devices=8),
        "trainer=fsdp trainer.devices=8 trainer.micro_batch=1 trainer.activation_checkpointing=true": changed(
            "trainer", strategy="fsdp", devices=8, micro_batch=1, activation_checkpointing=True
        ),
    }
    if evaluation_memory(shape) > 0.95 * memory:
        return []  # evaluations hold the whole model on each device, whatever the training does
    fits = [name for name, other in tried.items() if training_memory(other, shape) <= 0.95 * memory]
    by_devices = [name for name in fits if "fsdp" in name]
    return [name for name in fits if name not in by_devices[1:]]


def say_time(seconds: float | None) -> str:
    """A length of time for people."""
    if seconds is None:
        return "?"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
