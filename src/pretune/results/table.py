"""The results table of a whole study."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pretune.errors import DamagedFile
from pretune.results.compaction import FOLDER, Compacted, Stamp, is_due, read_compacted, stamp_of, write_compacted
from pretune.results.schema import BOOLEAN, INTEGER, METRIC_COLUMNS, REAL, TEXT, metrics_frame
from pretune.results.store import Study, read_checked

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)


def load(study_dir: str | Path) -> pd.DataFrame:
    """Read the metrics of every finished cell under ``study_dir`` into one table with the contract's columns.

    A file that cannot be read, that was damaged, or whose columns are not the contract's, is named in a warning and
    left out. Writes nothing.
    """
    import pandas as pd

    collection = _Collection(Study(study_dir))
    table = collection.collect()
    if table is None:
        return metrics_frame([])
    types = {kind: pd.api.types.pandas_dtype(name) for name, kind in _kinds().items()}
    frame: pd.DataFrame = table.drop_columns([FOLDER]).to_pandas(types_mapper=types.get)
    return frame.astype(dict(METRIC_COLUMNS))


def compact(study_dir: str | Path) -> Path | None:
    """Copy the metrics of all finished cells into one file, from which :func:`load` reads those that did not change.

    Returns the file; ``None`` for an empty study. Nothing is taken away from the runs; it may be done while cells are
    computed, by several processes, and killed at any moment.
    """
    return _compact(_Collection(Study(study_dir)))


def compact_when_due(study_dir: str | Path) -> None:
    """Do so where many cells are not copied yet; where it cannot be done, say so and go on."""
    collection = _Collection(Study(study_dir))
    if is_due(len(collection.stamps), collection.outside):
        try:
            _compact(collection)
        except OSError as error:
            log.warning("the metrics of %s could not be copied into one file: %s", study_dir, error)


def _compact(collection: _Collection) -> Path | None:
    table = collection.collect()
    return None if table is None else write_compacted(collection.study, table, collection.read)


def _kinds() -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {TEXT: pa.large_string(), INTEGER: pa.int64(), REAL: pa.float64(), BOOLEAN: pa.bool_()}


class _Collection:
    """The rows of a study's finished runs, in the order of their folders, from the compacted file or their own.

    ``read``: stamps of the files whose rows were handed out.
    """

    def __init__(self, study: Study) -> None:
        import pyarrow as pa

        self.study = study
        kinds = _kinds()
        self.schema = pa.schema([(name, kinds[kind]) for name, kind in METRIC_COLUMNS.items()])
        self.kept = read_compacted(study)
        if self.kept.table is not None and self.kept.table.schema != self.schema.append(pa.field(FOLDER, kinds[TEXT])):
            self.kept = Compacted()  # of a version with other columns
        # before anything is read: a file that is replaced meanwhile has another stamp than the one noted
        self.stamps: dict[str, Stamp | None] = {
            folder.name: stamp_of(folder / "metrics.parquet") for folder in study.finished_runs()
        }
        self.read: dict[str, Stamp] = {}

    @property
    def outside(self) -> int:
        """Number of runs that are not in the compacted file as they are now."""
        return sum(not self._is_kept(name) for name in self.stamps)

    def _is_kept(self, name: str) -> bool:
        stamp = self.stamps[name]
        return stamp is not None and self.kept.stamps.get(name) == stamp

    def collect(self) -> pa.Table | None:
        """All rows, with the name of their folder in a further column; ``None`` for no rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kept = [name for name in self.stamps if self._is_kept(name)]
        parts = []
        if kept and self.kept.table is not None:
            chosen = pc.is_in(self.kept.table[FOLDER], value_set=pa.array(kept, type=pa.large_string()))
            parts.append(self.kept.table.filter(chosen))
            self.read |= {name: self.kept.stamps[name] for name in kept}
        others = [name for name in self.stamps if not self._is_kept(name)]
        for name in others:  # threads would not help: most of it is Python's and metadata
            table, stamp = self._read(name), self.stamps[name]
            if table is not None and stamp is not None:
                self.read[name] = stamp
                names = pa.array([name] * table.num_rows, type=pa.large_string())
                parts.append(table.append_column(FOLDER, names))
        if not parts:
            return None
        whole = pa.concat_tables(parts)
        if kept and len(parts) > 1:
            whole = whole.take(pc.sort_indices(whole, sort_keys=[(FOLDER, "ascending")]))  # stable
        return whole

    def _read(self, name: str) -> pa.Table | None:
        """Rows of one run, with the contract's columns; ``None``, with a warning, where there are none to be had."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.study.runs / name / "metrics.parquet"
        try:
            content = pa.BufferReader(read_checked(path))
            with pq.ParquetFile(content) as file:  # a third of the time of read_table, for one small file
                table = file.read(use_threads=False).replace_schema_metadata().select(self.schema.names)
            return table if table.schema.equals(self.schema) else table.cast(self.schema)
        except (OSError, KeyError, pa.ArrowException, DamagedFile) as error:
            log.warning("left out %s: %s", path, error)
            return None
