"""What a report is about: a study's own results, published ones, or both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pretune.errors import DataError, UsageError
from pretune.published import read_published
from pretune.results.store import Study
from pretune.results.table import compact_when_due, load

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A results table with the primary measures of its tasks, a title, and facts to show."""

    table: pd.DataFrame
    primary: Mapping[str, tuple[str, str]]
    title: str
    facts: Mapping[str, Any]


def gather(study: Study, published: str | None, format_name: str) -> Source:
    """Read the results of a study, and the published ones where a file is named; published ones may stand alone.

    Published rows belong to families of their own, so they never enter a mean with the study's. Where both measure a
    task of one name, the study's own primary measure is used. Raises :class:`UsageError` when there is neither,
    and :class:`DataError` when all runs of the study are damaged.
    """
    own = study.runs.is_dir()
    if not own and published is None:
        raise UsageError(f"study_dir={study.root}: there are no results in {study.root}; run train.py first")
    tables: list[pd.DataFrame] = []
    primary: dict[str, tuple[str, str]] = {}
    facts: dict[str, Any] = {}
    titles = []
    if own:
        compact_when_due(study.root)
        tables.append(load(study.root))
        if tables[0].empty and published is None and any(study.finished_runs()):
            raise DataError(
                f"study_dir={study.root}: none of its finished runs could be read (see above); the commands that made "
                "them make them again"
            )
        primary |= find_primary(study)
        facts |= {"study_dir": study.root.name, "failed": [str(f["run_id"]) for f in study.failures()]}
        titles.append(f"Study {study.root.name}")
    if published is not None:
        found = read_published(published, format_name)
        tables.append(found.table)
        primary = {**found.primary, **primary}
        name = Path(published).name
        facts |= {"published": f"{name} ({format_name})", "about the published results": list(found.notes)}
        titles.append(f"published results {name}")
    table = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    title = " and ".join(titles)
    return Source(table=table, primary=primary, title=title[0].upper() + title[1:], facts=facts)


def find_primary(study: Study) -> dict[str, tuple[str, str]]:
    """Primary metric and scorer of every evaluated task, as the evaluate cells recorded them."""
    primary: dict[str, tuple[str, str]] = {}
    for folder in study.finished_runs():
        if folder.name.startswith("evaluate-") and study.is_finished(folder.name):
            run = study.read_run(folder.name)
            try:
                metric, scorer = run["facts"]["primary"]
                primary[str(run["request"]["task"]["name"])] = (str(metric), str(scorer))
            except (KeyError, TypeError, ValueError) as error:
                log.warning("left out %s: no primary measure in it (%r)", folder / "run.json", error)
    return primary
