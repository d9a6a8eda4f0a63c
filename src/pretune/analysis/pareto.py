"""The Pareto front of a few alternatives with a good to gain and a cost to pay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def find_front(goods: npt.NDArray[np.float64], costs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mark the alternatives that no other one matches in both and beats in one; all of several equal ones stay."""
    no_worse = (goods[None] >= goods[:, None]) & (costs[None] <= costs[:, None])
    better = (goods[None] > goods[:, None]) | (costs[None] < costs[:, None])
    front: npt.NDArray[np.bool_] = np.logical_not(np.any(no_worse & better, axis=1))
    return front
