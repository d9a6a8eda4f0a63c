"""Cheap measurements of a checkpoint that might predict its score after fine-tuning."""

from __future__ import annotations

import pandas as pd

from pretune.analysis.metrics import is_lower_better, points_per_unit
from pretune.analysis.series import name_annealing

PERPLEXITY, FEW_SHOT = "loss on pre-training text", "base score"
KEY = ["family", "annealed", "task", "checkpoint"]


def list_targets(headline: pd.DataFrame) -> pd.DataFrame:
    """Tuned scores (0..1) of tasks' own trainings: columns ``family, annealed, task, checkpoint, position, target``.

    ``task`` names the training task with its setting.
    """
    own = headline[(headline["train_task"] == headline["eval_task"]).fillna(False).astype(bool)]
    own = own.dropna(subset=["tuned"])
    shares = own["metric"].map(lambda name: points_per_unit(str(name)) == 100.0 and not is_lower_better(str(name)))
    own = own[shares.astype(bool)]
    setting = own["setting"].fillna("").astype(str)
    task = own["eval_task"].astype(str) + (" [" + setting + "]").where(setting != "", "")
    return pd.DataFrame({
        "family": own["family"].astype(str), "annealed": name_annealing(own["annealed"]).astype(str), "task": task,
        "eval_task": own["eval_task"].astype(str), "checkpoint": own["checkpoint"].astype(str),
        "position": own["position"].astype(float), "target": own["tuned"].astype(float),
        FEW_SHOT: own["base"].astype(float),
    }).drop_duplicates(KEY).sort_values(["family", "annealed", "task", "position"], ignore_index=True)  # fmt: skip


def build_features(headline: pd.DataFrame, texts: pd.DataFrame, probes: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Targets with one column per feature, and the features' names.

    Features: the base score on the same task; the base model's loss on pre-training text (mean over texts); every probe
    of base weights – of the same task where the probe was measured on a training task, else of the checkpoint.
    """
    table = list_targets(headline)
    place = ["family", "checkpoint"]
    base = texts[(texts["state"] == "base")]
    losses = base.groupby(place)["value"].mean().rename(PERPLEXITY).reset_index()
    losses[place] = losses[place].astype(str)
    table = table.merge(losses, on=place, how="left")
    names = [FEW_SHOT, PERPLEXITY]
    tasks = set(table["eval_task"])
    bare = probes[(probes["state"] == "base").fillna(False).astype(bool)]
    named = ["probe", "probe_variant", "magnitude", "metric"]
    for _, group in bare.groupby(named, dropna=False, sort=True):
        name = " ".join(str(part) for part in group[named].iloc[0].dropna())
        for own in (True, False):
            part = group[group["eval_task"].isin(tasks).fillna(False).astype(bool) == own]
            on = [*place, "eval_task"] if own else place
            if len(part):
                label = f"{name} (same task)" if own else name
                values = part.groupby(on)["value"].mean().rename(label).reset_index()
                values[on] = values[on].astype(str)
                table = table.merge(values, on=on, how="left")
                names.append(label)
    return table, names
