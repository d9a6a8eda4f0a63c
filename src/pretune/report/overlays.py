"""Published results beside a study's own: which families are of the same model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from pretune.published import FORMATS

_PUBLISHED = re.compile(rf"^(?P<model>.+) \((?P<source>{'|'.join(map(re.escape, FORMATS))})\)(?P<rest>.*)$")


def find_overlays(families: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return, for each family of the study's own, the families of published results of the same model."""
    named = list(dict.fromkeys(families))
    found: dict[str, list[str]] = {}
    for family in named:
        match = _PUBLISHED.match(family)
        if match and match["model"] + match["rest"] in named:
            found.setdefault(match["model"] + match["rest"], []).append(family)
    return {family: tuple(others) for family, others in found.items()}


def name_source(family: str) -> str:
    """Return whose results a published family holds."""
    match = _PUBLISHED.match(family)
    return match["source"] if match else family


def join_ladders(checkpoints: pd.DataFrame, overlays: Mapping[str, tuple[str, ...]]) -> dict[str, pd.DataFrame]:
    """Return the checkpoints of each family in order, those of overlaid published results among them."""
    ladders = {}
    for family in checkpoints["family"].unique():
        members = [family, *overlays.get(str(family), ())]
        joined = checkpoints[checkpoints["family"].isin(members)].drop_duplicates("checkpoint")
        ladders[str(family)] = joined.sort_values("step", kind="stable", na_position="last")
    return ladders
