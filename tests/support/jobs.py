"""Jobs of a library with three tasks and a format, made without Hydra."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pretune.execution.jobs import Job, complete_train_job
from support.configs import CONFIG, FORMAT, LADDER, NLI, change

TEXT = dataclasses.replace(NLI, name="text", family="text", answer="language", in_domain=())
FAR = dataclasses.replace(NLI, name="far", train_split=None, in_domain=())
OTHER = dataclasses.replace(NLI, name="other", in_domain=())


class Shelf:
    """A library of three tasks and a format."""

    def task(self, name: str) -> Any:
        return {"text": TEXT, "far": FAR, "other": OTHER, "nli": dataclasses.replace(NLI, out_of_domain=("far",))}[name]

    def format(self, name: str) -> Any:
        return dataclasses.replace(FORMAT, name=name)


def make_job(study: Path | str = "studies/default", **changes: Any) -> Job:
    """A training on the ladder; ``optimizer__lr=1`` changes the key ``optimizer.lr``."""
    config = change(change(CONFIG, "checkpoint", LADDER), "study_dir", str(study))
    for key, value in changes.items():
        config = change(config, key.replace("__", "."), value)
    return complete_train_job(config, Shelf(), tuple(f"{key}={value}" for key, value in changes.items()))  # type: ignore[arg-type]
