"""Which colour and mark a task has: the same in every figure of a report."""

from __future__ import annotations

import pandas as pd

COLOURS = 8


def assign_colours(headline: pd.DataFrame, curves: pd.DataFrame) -> dict[str, int]:
    """Give each task a colour: trained ones first, by name; a task that belongs to one training shares its colour.

    ``curves`` names the trainings that have no score in the headline.
    """
    trained = sorted({str(task) for rows in (headline, curves) for task in rows["train_task"].dropna()})
    colours = {task: index % COLOURS for index, task in enumerate(trained)}
    twins = headline[(headline["relation"] == "out_of_domain").fillna(False)]
    for task, trainings in twins.groupby("eval_task")["train_task"]:
        if str(task) not in colours and trainings.nunique() == 1:
            colours[str(task)] = colours[str(trainings.iloc[0])]
    used = len(trained)
    for task in sorted({str(task) for task in headline["eval_task"].dropna()}):
        if task not in colours:
            colours[task] = used % COLOURS
            used += 1
    return colours


INK = ("#0063a6", "#b84a00", "#007a5a", "#a23f7c", "#846000", "#5a4fcf", "#00778a", "#5c5f66")
"""The colours on paper: those of the style sheet in its light theme."""

RAMP = ("#c77d6b", "#b4594a", "#963a32", "#70201f", "#450f12")
"""What has an order and is no task (sizes of a disturbance, learning rates, checkpoints), from little to much."""

SOFT, BETTER, WORSE = "#57606a", (0, 99, 166), (190, 84, 0)


def ink(colour: int) -> str:
    """Return a colour of the palette for paper; a negative one means none of them."""
    if colour < 0:
        return SOFT
    return RAMP[(colour - COLOURS) % len(RAMP)] if colour >= COLOURS else INK[colour]


def place_on_ramp(rank: int, number: int) -> int:
    """Return the colour of the ``rank``-th of ``number`` things that have an order (from 0)."""
    last = len(RAMP) - 1
    return COLOURS + (round(rank * last / (number - 1)) if number > 1 else last // 2)
