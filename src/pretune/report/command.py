"""What ``report.py`` does: from a study folder to the page (or to a comparison of runs), and where the page is."""

from __future__ import annotations

import sys
from typing import Any

from pretune.config.running import ReportConfig
from pretune.config.schema import freeze
from pretune.config.validation import validate
from pretune.errors import UsageError
from pretune.results.store import Study
from pretune.results.table import load


def run_report(composed: Any) -> int:
    """Write the report of ``study_dir``, or compare the runs that ``compare`` names; return the exit status."""
    config = freeze(ReportConfig, composed)
    validate([config])
    study = Study(config.study_dir)
    if not study.runs.is_dir():
        raise UsageError(f"study_dir={config.study_dir}: there are no results in {study.root}; run train.py first")
    if config.compare:
        from pretune.report.comparing import print_comparison

        print_comparison(study.root, config.compare)
        return 0
    from pretune.report import write_report

    table = load(study.root)
    facts = {"study_dir": study.root.name, "failed": [str(f["run_id"]) for f in study.failures()]}
    files = write_report(
        table, study.root / "report", title=f"Study {study.root.name}", primary=find_primary(study), study=facts
    )
    results = study.root / "report" / "results.csv"
    table.to_csv(results, index=False)
    sys.stdout.write(f"Report: {files.page}\nTable:  {results}  ({len(table):,} rows)\n")
    return 0


def find_primary(study: Study) -> dict[str, tuple[str, str]]:
    """Primary metric and scorer of every evaluated task, as the evaluate cells recorded them."""
    primary: dict[str, tuple[str, str]] = {}
    for folder in study.finished_runs():
        if folder.name.startswith("evaluate-"):
            run = study.read_run(folder.name)
            metric, scorer = run["facts"]["primary"]
            primary[str(run["request"]["task"]["name"])] = (str(metric), str(scorer))
    return primary
