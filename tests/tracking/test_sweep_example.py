from __future__ import annotations

from pathlib import Path

import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wandb_sweep.yaml"
CONF = Path(__file__).parents[2] / "conf"


def test_example_gives_hydra_overrides() -> None:
    sweep = yaml.safe_load(EXAMPLE.read_text())
    assert sweep["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    assert sweep["program"] == "train.py"
    parameters = sweep["parameters"]
    for group in ("checkpoint", "task"):
        for choice in parameters[group]["values"]:
            assert (CONF / group / f"{choice}.yaml").is_file(), choice
    first = {name: {"value": one.get("values", [one.get("value")])[0]} for name, one in parameters.items()}
    overrides = create_sweep_command_args({"args": first})["args_no_hyphens"]
    assert overrides == ["checkpoint=pico/step16", "task=pico/nli", "optimizer.lr=0.0001", "logger.offline=False"]
