"""Cells, their identity, their records on disk, and the table that collects them."""

from pretune.results.table import compact, load

__all__ = ["compact", "load"]
