"""The results table of a whole study."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pretune.results.schema import METRIC_COLUMNS, metrics_frame
from pretune.results.store import Study

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def load(study_dir: str | Path) -> pd.DataFrame:
    """Read the metrics of every finished cell under ``study_dir`` into one table with the contract's columns.

    A file that cannot be read is named in a warning and left out.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for folder in Study(study_dir).finished_runs():
        path = folder / "metrics.parquet"
        try:
            tables.append(pq.read_table(path))
        except (OSError, pa.ArrowInvalid) as error:
            log.warning("left out %s: %s", path, error)
    if not tables:
        return metrics_frame([])
    combined = pa.concat_tables(tables, promote_options="permissive").select(list(METRIC_COLUMNS))
    types = {pa.string(): pd.StringDtype(), pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype()}
    frame = combined.to_pandas(types_mapper=lambda kind: types.get(kind, pd.BooleanDtype() if pa.types.is_boolean(kind) else None))
    return frame.astype(dict(METRIC_COLUMNS))
