"""The results table of a whole study."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pretune.errors import DamagedFile
from pretune.results.schema import BOOLEAN, INTEGER, METRIC_COLUMNS, REAL, TEXT, metrics_frame
from pretune.results.store import Study, read_checked

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def load(study_dir: str | Path) -> pd.DataFrame:
    """Read the metrics of every finished cell under ``study_dir`` into one table with the contract's columns.

    A file that cannot be read, or whose columns are not the contract's, is named in a warning and left out.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {TEXT: pa.large_string(), INTEGER: pa.int64(), REAL: pa.float64(), BOOLEAN: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in METRIC_COLUMNS.items()])
    tables = []
    for folder in Study(study_dir).finished_runs():
        path = folder / "metrics.parquet"
        try:
            with pq.ParquetFile(
                pa.BufferReader(read_checked(path))
            ) as file:  # a third of the time of read_table, for one small file
                table = file.read(use_threads=False).replace_schema_metadata().select(schema.names)
            tables.append(table if table.schema.equals(schema) else table.cast(schema))
        except (OSError, KeyError, pa.ArrowException, DamagedFile) as error:
            log.warning("left out %s: %s", path, error)
    if not tables:
        return metrics_frame([])
    types = {kind: pd.api.types.pandas_dtype(name) for name, kind in kinds.items()}
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas(types_mapper=types.get)
    return frame.astype(dict(METRIC_COLUMNS))
