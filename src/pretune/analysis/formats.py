"""How much a score depends on the wording of the prompt."""

from __future__ import annotations

import pandas as pd

from pretune.analysis.comparison import compare
from pretune.analysis.metrics import Primary, find_text_tasks

FORMAT_PREFIX = "format:"
"""Columns with this prefix hold the score in the format that the rest of the name says."""

_KEYS = ["family", "checkpoint", "step", "tokens", "position", "eval_task", "state", "train_format", "setting", "lr",
         "shots", "metric", "scorer"]  # fmt: skip


def build_formats(table: pd.DataFrame, primary: Primary, *, shots: int | None = None) -> pd.DataFrame:
    """Return one row per (checkpoint, task, state, training) with the score in every format and their spread.

    Columns: keys, ``format:NAME`` for each format of the table (null where not evaluated), ``formats`` (how many
    were), ``best, worst`` (their names) and ``spread`` (largest − smallest score, in the units of the table; null
    with fewer than two formats). Tuned models are those trained on the task itself, at the chosen learning rate.
    ``shots``: unless given, the number at which most formats of a row were evaluated, the fewest of several.

    The spread of several noisy scores is positive even when the wording does not matter, and grows with the number
    of formats: compare spreads over the same formats and numbers of evaluated rows only.
    """
    joined = compare(table, primary)
    return derive_formats(joined[~joined["eval_task"].isin(find_text_tasks(table))], shots=shots)


def derive_formats(joined: pd.DataFrame, *, shots: int | None = None) -> pd.DataFrame:
    """Return :func:`build_formats`' table from a comparison without text."""
    own = joined[(joined["train_task"] == joined["eval_task"]).fillna(False)]
    tuned = own.assign(state="tuned", value=own["tuned"])
    base = joined.assign(state="base", value=joined["base"])
    for name in ("train_format", "lr"):
        base[name] = pd.Series(pd.NA, index=base.index, dtype=joined[name].dtype)
    base["setting"] = ""
    once = ["family", "checkpoint", "eval_task", "eval_format", "shots"]
    base = base.dropna(subset=["value"]).drop_duplicates(once)
    rows = pd.concat([base, tuned.dropna(subset=["value"])], ignore_index=True)
    rows["eval_format"] = rows["eval_format"].fillna("(none)")
    if shots is not None:
        rows = rows[(rows["shots"] == shots).fillna(False)]
    names = sorted(rows["eval_format"].unique())
    columns = [FORMAT_PREFIX + str(name) for name in names]
    if rows.empty:
        return pd.DataFrame(columns=[*_KEYS, "formats", "best", "worst", "spread"])

    few = [name for name in _KEYS if name != "shots"]
    number = rows["shots"].fillna(0)
    keys = [rows[name] for name in few]
    wide_enough = rows.groupby([*keys, number], dropna=False)["eval_format"].transform("nunique")
    most = wide_enough == wide_enough.groupby(keys, dropna=False).transform("max")
    rows = rows[number == number.where(most).groupby(keys, dropna=False).transform("min")]
    wide = rows.groupby([*_KEYS, "eval_format"], dropna=False, sort=False)["value"].mean().unstack("eval_format")
    wide = wide.reindex(columns=names).astype(float)
    wide.columns = pd.Index(columns)
    values = wide.copy()
    wide["formats"] = values.notna().sum(axis=1)
    wide["best"] = [str(name).removeprefix(FORMAT_PREFIX) for name in values.idxmax(axis=1)]
    wide["worst"] = [str(name).removeprefix(FORMAT_PREFIX) for name in values.idxmin(axis=1)]
    wide["spread"] = (values.max(axis=1) - values.min(axis=1)).where(wide["formats"] > 1)
    wide = wide.reset_index()
    return wide.sort_values(["family", "eval_task", "state", "train_format", "setting", "position"],
                            kind="stable", ignore_index=True)  # fmt: skip
