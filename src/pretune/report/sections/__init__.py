"""The questions of the page, one module each: which figures and tables answer it, how, and with which caveats."""

from pretune.report.sections.blocks import Charts, Section, Tables
from pretune.report.sections.order import build_sections

__all__ = ["Charts", "Section", "Tables", "build_sections"]
