"""Forgetting where all checkpoints have learnt the fine-tuning task equally well, and which rates are worth taking."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from pretune.analysis.choosing import SETTING, TRAINING, average_validation_loss
from pretune.analysis.pareto import find_front
from pretune.analysis.series import SERIES, build_frame, name_annealing

MATCHED: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "train_task": SERIES["train_task"],
    **dict.fromkeys(SETTING, "setting of the training"),
    "text": "pre-training text",
    "metric": "metric on the text",
    "checkpoint": SERIES["checkpoint"],
    "step": SERIES["step"],
    "tokens": SERIES["tokens"],
    "matched_loss": "τ: the largest fine-tuning loss that every checkpoint reaches with its best rate",
    "matched_forgetting": "rise of the loss on the text where the checkpoint first reaches τ; null when its smallest "
    "rate is below τ already",
    "matched_low": "its 95 % interval; rows and seeds of the text, not the uncertainty of the fine-tuning loss",
    "matched_high": "the same",
    "matched_lr": "learning rate there, between two rates of the grid",
    "matching": "'between two rates', 'at a rate' or 'below the smallest rate'",
    "lr": "a learning rate of the grid: one row each",
    "fine_tuning_loss": "validation loss on the fine-tuning task at that rate, mean over seeds",
    "forgetting": "rise of the loss on the text by fine-tuning at that rate",
    "pareto": "no other rate of the checkpoint has a lower fine-tuning loss and less forgetting",
    "runs": "run ids of the tuned loss on the text",
}

_CURVE = ["family", "annealed", "train_task", *SETTING, "text"]
BETWEEN, AT, BELOW = "between two rates", "at a rate", "below the smallest rate"

Reals = npt.NDArray[np.float64]


def match_forgetting(rows: pd.DataFrame, forgetting: pd.DataFrame) -> pd.DataFrame:
    """Compare the forgetting of checkpoints at one fine-tuning loss; columns :data:`MATCHED`, a row per learning rate.

    ``rows`` is a cleaned results table, whose ``validation_loss`` of training cells is the fine-tuning loss L_FT;
    ``forgetting`` is :func:`build_forgetting` with ``every_rate``. For each training and text, with two checkpoints or
    more that were tuned at two rates or more, τ = max over checkpoints of min over rates of L_FT. A checkpoint's
    forgetting at τ is read off the straight lines through its points (L_FT, forgetting) in the order of the rates,
    where they first come down to τ: the gentlest fine-tuning that learns the task as well as all others can. Its
    interval follows from those of the forgetting at the two rates beside it.
    """
    trained = rows[rows["train_task"].notna()]
    losses = average_validation_loss(trained)
    texts = forgetting.dropna(subset=["train_task", "change", "lr"])
    if losses.empty or texts.empty:
        return build_frame([], MATCHED)
    losses = losses[[*TRAINING, "lr", "validation"]].dropna(subset=["validation"])
    points = texts.merge(losses, on=[*TRAINING, "lr"]).rename(columns={
        "eval_task": "text", "validation": "fine_tuning_loss", "change": "forgetting", "tuned_runs": "runs",
    })  # fmt: skip
    points["annealed"] = name_annealing(points["annealed"])
    points = points.sort_values(["position", "lr"], kind="stable")
    rates = points.groupby([*_CURVE, "checkpoint"], dropna=False)["lr"].transform("nunique")
    found = []
    for _, curve in points[rates > 1].groupby(_CURVE, dropna=False, sort=False):
        if curve["checkpoint"].nunique() < 2:
            continue
        target = float(curve.groupby("checkpoint")["fine_tuning_loss"].min().max())
        found += [_match(own.copy(), target) for _, own in curve.groupby("checkpoint", sort=False)]
    return build_frame(pd.concat(found, ignore_index=True) if found else pd.DataFrame(), MATCHED)


def _match(own: pd.DataFrame, target: float) -> pd.DataFrame:
    losses, damages, rates = (own[name].to_numpy(dtype=float) for name in ("fine_tuning_loss", "forgetting", "lr"))
    own["matched_loss"] = target
    share, first, own["matching"] = _find_place(losses, target)
    own["matched_forgetting"] = _between(damages, share, first)
    own["matched_lr"] = math.exp(_between(np.log(rates), share, first))
    for name, sign in (("low", -1), ("high", 1)):
        # Each end of the piece of line has an interval of its own: independent trainings, added in quadrature.
        reach = (own[f"change_{name}"].to_numpy(dtype=float) - damages) * sign
        spread = math.hypot(share * reach[first], (1 - share) * reach[first - 1] if share < 1 else 0.0)
        own[f"matched_{name}"] = own["matched_forgetting"] + sign * spread
    own["pareto"] = find_front(-losses, damages)
    return own


def _find_place(losses: Reals, target: float) -> tuple[float, int, str]:
    """Where the line through ``losses`` first comes down to ``target``: a share of the piece that ends at an index."""
    first = int(np.argmax(losses <= target))  # there is one: τ is no less than the checkpoint's own best loss
    if losses[first] == target:
        return 1.0, first, AT
    if first == 0:
        return math.nan, 0, BELOW
    return float((losses[first - 1] - target) / (losses[first - 1] - losses[first])), first, BETWEEN


def _between(values: Reals, share: float, end: int) -> float:
    """The value at ``share`` of the way from the one before ``end`` to the one at it."""
    return float(values[end]) if share == 1 else float(share * values[end] + (1 - share) * values[end - 1])
