"""Correction of p-values for the number of questions asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def correct(p_values: pd.Series, families: Sequence[pd.Series] = ()) -> pd.Series:
    """Correct p-values by Holm (1979) within each family of tests; a null value is a test that was not made."""
    values = p_values.astype(float)
    if not families:
        return _adjust(values)
    return values.groupby(list(families), dropna=False).transform(_adjust)


def _adjust(values: pd.Series) -> pd.Series:
    made = values.dropna().sort_values(kind="stable")
    factors = np.arange(len(made), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(made.to_numpy() * factors), 1.0)
    return pd.Series(adjusted, index=made.index, dtype="float64").reindex(values.index)
