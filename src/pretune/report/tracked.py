"""The report as one summary run of the experiment tracker: the tables and figures of the page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pretune.config.running import Logger
from pretune.report.columns import MOST
from pretune.report.writing import ReportFiles
from pretune.results.identity import digest
from pretune.tracking import RunInfo, open_tracker

GROUP = "report"


def track_report(files: ReportFiles, logger: Logger, study_dir: Path, *, name: str, cells: int) -> None:
    """Log the report as a run of job type ``report`` in the group of ``logger`` (else "<study>-report").

    Tables are under ``tables/``, figures under ``figures/``, the page under ``report``; long tables are cut to
    their first :data:`MOST` rows, the files have all of them. The summary has the base and tuned scores of each
    task at the end of pre-training. The run's id is new for a report of other cells, the same for the same ones.
    """
    tracker = open_tracker(logger, study_dir)
    identity = digest([name, *(path.read_text(encoding="utf-8") for path in sorted(files.tables.values()))])
    run = tracker.start(
        RunInfo(
            id=f"report-{identity[:16]}",
            name=f"report of {name}",
            group=logger.group or f"{name}-{GROUP}",
            job_type=GROUP,
            config={"study": name, "cells": cells},
        )
    )
    for key, path in files.tables.items():
        frame = pd.read_csv(path, nrows=MOST, low_memory=False)
        if len(frame):
            run.add_table(f"tables/{key}", frame)
    for key, path in files.figures.items():
        run.add_drawing(f"figures/{key}", path.read_text(encoding="utf-8"))
    run.add_drawing("report", files.page.read_text(encoding="utf-8"))
    run.summarize(_summarise(pd.read_csv(files.tables["dichotomy"])))
    run.finish()
    tracker.close()


def _summarise(dichotomy: pd.DataFrame) -> dict[str, float | str | None]:
    """Name each class, rise and gain: ``answer/<task>/gain`` … (annealed checkpoints under a name of their own)."""
    values: dict[str, float | str | None] = {}
    for row in dichotomy.to_dict("records"):
        parts = [row["family"], row["eval_task"], row["setting"], "annealed" if row["annealed"] == "annealed" else ""]
        place = "/".join(str(part).replace("/", ".") for part in parts if isinstance(part, str) and part)
        for name in ("class", "rise", "gain", "base_end", "tuned_end"):
            if not pd.isna(row[name]):
                values[f"answer/{place}/{name}"] = row[name]
    return values
