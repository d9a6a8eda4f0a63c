"""Results that others published, read into the results table.

Their rows never mix with a study's own: the family says whose they are ("olmo1b (amuro_char)"), so that they form
ladders of their own, and the run id names the file and the line. Files are read as data, nothing in them is run.
"""

from pretune.published.reading import FORMATS, read_published
from pretune.published.records import Published

__all__ = ["FORMATS", "Published", "read_published"]
