"""From a number on the page to the cells behind it: run ids as small integers, and what each run is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from pretune.report.wording import is_null


class RunIndex:
    """Numbers the runs that a page refers to, in the order of their first use, and describes just these."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self._runs = runs
        self._numbers: dict[str, int] = {}

    def __call__(self, runs: Iterable[str]) -> str:
        """Return the numbers of run ids, separated by spaces."""
        return " ".join(str(self._numbers.setdefault(run, len(self._numbers))) for run in runs)

    def describe(self, figures: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Any]:
        """Return what the page's script needs: ids, facts of each run, and the runs behind the points of figures.

        Facts are written as a number into the list of the values of their column, −1 for null: a study has thousands
        of runs and few distinct values.
        """
        points = {name: {place: self(runs) for place, runs in of.items()} for name, of in figures.items() if of}
        ids = list(self._numbers)
        facts = self._runs[self._runs["run_id"].isin(ids)].set_index("run_id").reindex(ids)
        columns: dict[str, Any] = {}
        for name in facts.columns:
            codes, values = pd.factorize(facts[name])
            if len(values):
                columns[str(name)] = {"values": [_plain(value) for value in values], "codes": codes.tolist()}
        return {"ids": ids, "columns": columns, "figures": points}


def _plain(value: object) -> object:
    if is_null(value) or isinstance(value, str | bool):
        return value
    number = float(value)  # type: ignore[arg-type]
    return int(number) if number.is_integer() else number


def embed_json(value: Any) -> Markup:
    """Return ``value`` as JSON for a data block of an HTML page: nothing in it can end the block."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
