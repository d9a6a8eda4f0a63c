"""Correction of p-values for the number of questions asked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pretune.evaluation.significance import holm


def correct(p_values: pd.Series, families: Sequence[pd.Series] = ()) -> pd.Series:
    """Correct p-values by Holm (1979) within each family of tests; a null value is a test that was not made."""
    values = p_values.astype(float)
    if not families:
        return _adjust(values)
    return values.groupby(list(families), dropna=False).transform(_adjust)


def _adjust(values: pd.Series) -> pd.Series:
    return pd.Series(holm(values.to_numpy()), index=values.index, dtype="float64")
