"""What ``report.py`` does: from a study folder to the page (or to a comparison of runs), and where the page is."""

from __future__ import annotations

import sys
from typing import Any

from pretune.config.running import ReportConfig
from pretune.config.schema import freeze
from pretune.config.validation import validate
from pretune.errors import UsageError
from pretune.results.links import refuse_links
from pretune.results.store import Study, write_atomically
from pretune.terminal import say_count


def run_report(composed: Any) -> int:
    """Write the report of ``study_dir``, or compare the runs that ``compare`` names; return the exit status."""
    config = freeze(ReportConfig, composed)
    validate([config])
    study = Study(config.study_dir)
    refuse_links(study.root)
    if config.compare:
        if not study.runs.is_dir():
            raise UsageError(f"study_dir={config.study_dir}: there are no results in {study.root}; run train.py first")
        from pretune.report.comparing import print_comparison

        print_comparison(study.root, config.compare)
        return 0
    if config.alpaca_eval:
        from pretune.report.answers import export_answers

        for name in config.alpaca_eval:
            sys.stdout.write(f"Answers: {export_answers(study.root, name)}\n")
        return 0
    from pretune.report.gathering import gather

    source = gather(study, config.published.file, config.published.format)
    from pretune.report import write_report

    files = write_report(
        source.table,
        study.root / "report",
        title=source.title,
        primary=source.primary,
        study=source.facts,
        paper_width=config.report.width if config.report.format == "paper" else None,
    )
    if config.logger.name != "none":
        from pretune.report.tracked import track_report

        track_report(
            files, config.logger, study.root, name=study.root.name, cells=int(source.table["run_id"].nunique())
        )
    results = study.root / "report" / "results.csv"
    write_atomically(results, source.table.to_csv(index=False).encode())
    sys.stdout.write(f"Report: {files.page}\nTable:  {results}  ({say_count(len(source.table), 'row')})\n")
    if files.paper is not None:
        sys.stdout.write(f"Paper:  {files.paper}\n")
    return 0
