"""What a lower learning rate or a regulariser costs on the task and saves on pre-training text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pretune.analysis.averaging import subtract
from pretune.analysis.choosing import SETTING
from pretune.analysis.metrics import is_lower_better
from pretune.analysis.pareto import find_front
from pretune.analysis.series import SERIES, build_frame, name_annealing

MITIGATION: Mapping[str, str] = {
    "family": SERIES["family"],
    "annealed": SERIES["annealed"],
    "checkpoint": SERIES["checkpoint"],
    "step": SERIES["step"],
    "tokens": SERIES["tokens"],
    "train_task": SERIES["train_task"],
    **dict.fromkeys(SETTING, "setting of the arm"),
    "lr": "learning rate of the arm",
    "is_reference": "whether this is the arm the others are compared with",
    "metric": "metric of the task",
    "score": "tuned score on the training task",
    "score_change": "better (+) or worse (−) than the reference, in the units of the table",
    "score_change_low": "lower end of its 95 % interval, unpaired",
    "score_change_high": "upper end",
    "text": "pre-training text",
    "text_metric": "metric on the text",
    "forgetting": "rise of the loss on the text by fine-tuning",
    "forgetting_change": "forgetting − that of the reference: negative is saved",
    "forgetting_change_low": "lower end of its 95 % interval, unpaired",
    "forgetting_change_high": "upper end",
    "pareto": "no other arm has a better score and less forgetting",
    "runs": "run ids of the tuned scores",
}

_PLACE = ["family", "checkpoint", "train_task"]
_ARM = [*_PLACE, *SETTING, "lr"]


def tabulate_mitigation(headline: pd.DataFrame, forgetting: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Compare the arms of each training – learning rates, regularisers, other settings – on task and text; columns
    :data:`MITIGATION`.

    ``headline`` and ``forgetting`` hold every rate. The reference is the unregularised arm (``regularizer`` none or
    null) at its chosen rate (:func:`validate_rates`), the first of them when there are several. One row per arm and
    text; only trainings with two arms or more. Intervals add distances in quadrature (:func:`subtract`): the arms
    share rows and weights, so they are rather too wide. Nothing is corrected for the number of arms.
    """
    own = headline[(headline["train_task"] == headline["eval_task"]).fillna(False).astype(bool)]
    own = own.dropna(subset=["tuned"])
    columns = [*_ARM, "step", "tokens", "annealed", "metric", "tuned", "tuned_low", "tuned_high", "tuned_runs"]
    arms = own[columns].drop_duplicates(_ARM)
    arms = arms[arms.groupby(_PLACE, dropna=False)["tuned"].transform("size") > 1]
    if arms.empty:
        return build_frame([], MITIGATION)
    chosen = rates[rates["chosen"].astype(bool)][_ARM].drop_duplicates().assign(_chosen=True)
    arms = arms.merge(chosen, on=_ARM, how="left")
    plain = arms["regularizer"].fillna("none").eq("none")
    candidates = arms[plain & arms["_chosen"].notna()].drop_duplicates(_PLACE)
    arms["is_reference"] = arms.index.isin(candidates.index)
    changes = ["change", "change_low", "change_high"]
    texts = forgetting.dropna(subset=["train_task", "change"])[[*_ARM, "eval_task", "metric", *changes]]
    texts = texts.drop_duplicates([*_ARM, "eval_task"])
    texts = texts.rename(columns={"eval_task": "text", "metric": "text_metric"})
    rows = arms.merge(texts, on=_ARM, how="left")
    reference = rows[rows["is_reference"]].drop(columns=[n for n in rows if n in (*SETTING, "lr", "is_reference")])
    measured = ["tuned", "tuned_low", "tuned_high", *changes]
    reference = reference[[*_PLACE, "text", *measured]].drop_duplicates([*_PLACE, "text"])
    rows = rows.merge(reference, on=[*_PLACE, "text"], how="left", suffixes=("", "_of_reference"))
    score = _compare(rows, "tuned")
    turn = rows["metric"].map(lambda name: is_lower_better(str(name))).to_numpy(dtype=bool)
    rows["score_change"] = np.where(turn, -score[0], score[0])
    rows["score_change_low"] = np.where(turn, -score[2], score[1])
    rows["score_change_high"] = np.where(turn, -score[1], score[2])
    rows["forgetting_change"], rows["forgetting_change_low"], rows["forgetting_change_high"] = _compare(rows, "change")
    zero = [name for name in MITIGATION if "_change_" in name]  # the reference against itself
    rows.loc[rows["is_reference"], zero] = rows.loc[rows["is_reference"], zero].mask(rows[zero].notna(), 0.0)
    rows["annealed"] = name_annealing(rows["annealed"])
    rows = rows.rename(columns={"tuned": "score", "change": "forgetting", "tuned_runs": "runs"})
    rows["pareto"] = _find_pareto(rows, turn)
    return build_frame(rows.reset_index(drop=True), MITIGATION)


def _compare(rows: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    both = pd.DataFrame({
        f"{side}{end}": rows[f"{name}{end}{suffix}"].astype(float)
        for side, suffix in (("arm", ""), ("reference", "_of_reference"))
        for end in ("", "_low", "_high")
    })  # fmt: skip
    parts = subtract(both, "arm", "reference")
    return parts[0].to_numpy(), parts[1].to_numpy(), parts[2].to_numpy()


def _find_pareto(rows: pd.DataFrame, lower: np.ndarray) -> pd.Series:
    """Mark arms that no other arm of the same training and text beats in both; null without a text."""
    good = rows["score"].to_numpy(dtype=float) * np.where(lower, -1.0, 1.0)
    result = pd.Series(pd.NA, index=rows.index, dtype="boolean")
    losses = rows["forgetting"].to_numpy(dtype=float)
    for index in rows.groupby([*_PLACE, "text"], dropna=True, sort=False).indices.values():
        result.iloc[index] = find_front(good[index], losses[index])
    return result
