"""The words of a command line before Hydra reads them."""

from __future__ import annotations

import pytest

from pretune.config.arguments import OTHER_LAUNCHERS, check_launcher, find_repeated
from pretune.errors import UsageError
from support.configs import CONF


def test_keys_given_several_times_are_told_with_what_counts() -> None:
    given = ["seed=1", "task=a", "+x=1", "++x=2", "task=b,c", "task=d", "only=a=1:b=2", "only=a=2:b=2", "cells=a"]
    assert find_repeated(given) == ["task is given 3 times: task=d counts", "x is given twice: ++x=2 counts"]


@pytest.mark.parametrize("name", OTHER_LAUNCHERS)
def test_launchers_of_hydras_are_refused_with_ours_instead(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_launcher(["seed=1", f"hydra/launcher={name}"])
    ours = str(caught.value).rpartition("hydra/launcher=")[2]
    assert (CONF / "hydra" / "launcher" / f"{ours}.yaml").is_file()
    check_launcher([f"hydra/launcher={ours}", f"task={name}"])
