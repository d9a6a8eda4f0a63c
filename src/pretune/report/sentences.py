"""The answer of the first screen: a few plain sentences, every number of which is in a table of the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pretune.analysis import reading as classes
from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.analysis.reading import Margins
from pretune.report.wording import is_null, join_words, write_number

MOST_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement with a short heading."""

    heading: str
    text: str


def state_findings(
    reading: pd.DataFrame,
    transfer: pd.DataFrame,
    formats: pd.DataFrame,
    forgetting: pd.DataFrame,
    margins: Margins | None = None,
) -> list[Finding]:
    """Put the readings of the tasks, transfer, formats and loss on text into sentences, family by family."""
    margins = margins or Margins()
    findings = []
    families = list(dict.fromkeys([*reading["family"], *transfer["family"], *formats["family"], *forgetting["family"]]))
    for family in families:
        lead = f"{family}: " if len(families) > 1 else ""
        own = reading[reading["family"] == family]
        found = [
            _say_pretraining(own), _say_fine_tuning(own), _say_growth(own), _say_both(own),
            _say_rest(own),
            _say_transfer(transfer[transfer["family"] == family]),
            _say_formats(formats[formats["family"] == family]),
            _say_text(forgetting[forgetting["family"] == family]),
        ]  # fmt: skip
        findings += [Finding(heading=lead + item.heading, text=item.text) for item in found if item is not None]
    return findings


def _name(row: dict[str, object]) -> str:
    return f"{row['task']}" + (f" [{row['setting']}]" if row["setting"] else "")


def _records(rows: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _list_tasks(items: list[str]) -> str:
    if len(items) > MOST_NAMED + 1:
        items = [*items[:MOST_NAMED], f"{len(items) - MOST_NAMED} more"]
    return join_words(items)


def _say_pretraining(own: pd.DataFrame) -> Finding | None:
    rows = _records(own[own["reading"] == classes.PRETRAINING])
    if not rows:
        return None
    parts = []
    for row in rows:
        text = f"{_name(row)} {write_number(row['base_first'])} → {write_number(row['base_last'])}"
        if isinstance(row["flat_from"], str):
            text += f" (within {write_number(row['flat_range'])} points from {row['flat_from']} on)"
        parts.append(text)
    tuned = [row for row in rows if not is_null(row["gain_last"])]
    if tuned:
        gains = [f"{write_number(row['gain_last'], signed=True)} on {_name(row)}" for row in tuned]
        close = f"Fine-tuning the last checkpoint changes little: {_list_tasks(gains)} points."
    else:
        close = "These tasks were not fine-tuned on here."
    return Finding(
        heading="Learnt in pre-training",
        text="Without fine-tuning, the base model rises from the first to the last checkpoint: "
        f"{_list_tasks(parts)}. {close}",
    )


def _say_fine_tuning(own: pd.DataFrame) -> Finding | None:
    rows = own[own["reading"] == classes.FINE_TUNING]
    if rows.empty:
        return None
    items = [f"{_name(row)} {write_number(row['gain_last'], signed=True)}" for row in _records(rows)]
    above = max(float(rows["base_above_baseline"].max()), 0.0)
    most = int(rows["checkpoints"].max())
    where = f"at every checkpoint measured (up to {most})" if most > 1 else "at the one checkpoint measured"
    close = f"at most {write_number(above)} points above its trivial baseline {where}"
    return Finding(
        heading="Needs fine-tuning",
        text=f"Before fine-tuning, the base model is {close}; fine-tuning the last checkpoint adds, in points: "
        f"{_list_tasks(items)}.",
    )


def _say_growth(own: pd.DataFrame) -> Finding | None:
    """Growth of the tuned score where the base score shows none."""
    rows = own[(own["reading"] == classes.FINE_TUNING) & own["tuned_rise"].notna()]
    if rows.empty:
        return None
    items = [
        f"{_name(row)} {write_number(row['tuned_first'])} → {write_number(row['tuned_last'])}" for row in _records(rows)
    ]
    rising = int((rows["tuned_rise"] > 0).sum())
    return Finding(
        heading="What more pre-training changes in the tuned model",
        text=f"From the first to the last trained checkpoint the tuned score moves: {_list_tasks(items)}; it is higher "
        f"at the end on {rising} of {len(rows)}.",
    )


def _say_both(own: pd.DataFrame) -> Finding | None:
    rows = _records(own[own["reading"] == classes.BOTH])
    if not rows:
        return None
    items = [
        f"{_name(row)} (base {write_number(row['base_rise'], signed=True)} over pre-training, "
        f"{write_number(row['gain_last'], signed=True)} by fine-tuning)"
        for row in rows
    ]
    return Finding(heading="Both help", text=f"In points: {_list_tasks(items)}.")


def _say_rest(own: pd.DataFrame) -> Finding | None:
    parts = []
    for name, wording in (
        (classes.NEITHER, "near the trivial baseline before and after fine-tuning"),
        (classes.UNDECIDED, "undecided by the margins under Methods"),
    ):
        rows = _records(own[own["reading"] == name])
        if rows:
            parts.append(f"{wording}: {_list_tasks([_name(row) for row in rows])}")
    if not parts:
        return None
    text = "; ".join(parts)
    return Finding(heading="No clear reading", text=text[0].upper() + text[1:] + ".")


def _say_transfer(transfer: pd.DataFrame) -> Finding | None:
    scale = transfer["metric"].map(lambda name: points_per_unit(str(name)) == 100).astype(bool)
    other = transfer[scale & (transfer["relation"] == "cross_task").fillna(False)]
    if other.empty:
        return None
    last = other[other["position"] == other["position"].max()]
    low, high = last.loc[last["difference"].idxmin()], last.loc[last["difference"].idxmax()]
    clear = int(((last["difference_low"] > 0) | (last["difference_high"] < 0)).sum())
    values = last["difference"].astype(float)
    place = last["checkpoint"].iloc[0]
    return Finding(
        heading="Other tasks",
        text=f"At {place}, fine-tuning on one task moves {_count(len(last), 'score')} on other tasks "
        f"by {write_number(values.mean(), signed=True)} points on average, from "
        f"{write_number(values.min(), signed=True)} ({low['train_task']} → {low['eval_task']}) to "
        f"{write_number(values.max(), signed=True)} ({high['train_task']} → {high['eval_task']}); "
        f"the interval of {clear} excludes zero, before any correction for their number.",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _say_formats(formats: pd.DataFrame) -> Finding | None:
    shares = formats["metric"].map(lambda name: points_per_unit(str(name)) == 100).astype(bool)
    tuned = formats[shares & formats["spread"].notna() & (formats["state"] == "tuned")]
    if tuned.empty:
        return None
    means = tuned.groupby("position")["spread"].mean() * 100
    first, last = means.index.min(), means.index.max()
    names = tuned.drop_duplicates("position").set_index("position")["checkpoint"]
    many = int(tuned["formats"].max())
    text = f"best − worst over up to {many} formats is {write_number(means[last])} points at {names[last]}"
    if first != last:
        text += f" and was {write_number(means[first])} at {names[first]}"
    return Finding(heading="Prompt format", text=f"For tuned models, averaged over the tasks measured there, {text}.")


def _say_text(forgetting: pd.DataFrame) -> Finding | None:
    rows = forgetting.dropna(subset=["change"])
    if rows.empty:
        return None
    last = rows[rows["position"] == rows["position"].max()]
    low, high = float(last["change"].min()), float(last["change"].max())
    unit = label_metric(str(last["metric"].iloc[0]))
    smallest, largest = write_number(low, 2, signed=True), write_number(high, 2, signed=True)
    amount = smallest if smallest == largest else f"{smallest} to {largest}"
    if len(last) > 1:
        amount += f" over {_count(last['train_task'].nunique(), 'training task')}"
    text = f"At {last['checkpoint'].iloc[0]}, fine-tuning changes it by {amount} ({unit}; positive is forgetting)"
    first = rows[rows["position"] == rows["position"].min()]
    if first["position"].iloc[0] != last["position"].iloc[0]:
        text += (
            f"; on average {write_number(first['change'].mean(), 2, signed=True)} at {first['checkpoint'].iloc[0]} and "
            f"{write_number(last['change'].mean(), 2, signed=True)} at {last['checkpoint'].iloc[0]}"
        )
    return Finding(heading="Loss on pre-training text", text=text + ".")
