"""The words of a command line, looked at before Hydra reads them."""

from __future__ import annotations

from collections.abc import Sequence

from pretune.config.axes import AXES
from pretune.errors import UsageError

OTHER_LAUNCHERS = {
    "joblib": "workers",
    "submitit_slurm": "slurm",
    "submitit_local": "slurm_local",
    "ray": "ray_cluster",
    "ray_aws": "ray_cluster",
}
"""Hydra's launchers, and what takes the same path here.

They pickle Hydra's registry, classes of our schema included, and those are not the same in the process that reads them.
"""


def check_launcher(overrides: Sequence[str]) -> None:
    """Raise :class:`UsageError` where a launcher is chosen that cannot run our jobs."""
    for text in overrides:
        key, _, value = text.partition("=")
        if key.lstrip("+") == "hydra/launcher" and value in OTHER_LAUNCHERS:
            raise UsageError(
                f"{text}: this launcher of Hydra's does not work here; give {key}={OTHER_LAUNCHERS[value]}"
            )


def find_repeated(overrides: Sequence[str]) -> list[str]:
    """A line for each key that is given several times, of which Hydra silently takes the last."""
    given: dict[str, list[str]] = {}
    for text in overrides:
        key = text.partition("=")[0].lstrip("+")
        if key not in AXES:
            given.setdefault(key, []).append(text)
    times = {key: "twice" if len(texts) == 2 else f"{len(texts)} times" for key, texts in given.items()}
    return [f"{key} is given {times[key]}: {texts[-1]} counts" for key, texts in given.items() if len(texts) > 1]
