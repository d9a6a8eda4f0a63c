"""The report: from a results table to one self-contained page with its figures and tables."""

from pretune.report.writing import ReportFiles, write_report

__all__ = ["ReportFiles", "write_report"]
