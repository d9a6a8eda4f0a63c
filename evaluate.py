"""Evaluate a base checkpoint or a trained run on any task, in any format, with any number of shots.

python evaluate.py -m checkpoint=step342k,main task=mnli,rte format=default,io,instruct shots=0,4
python evaluate.py run=RUN_ID task=pico/nli shots=4
"""

from typing import Any

import hydra
from omegaconf import DictConfig

from pretune.app import launch, run_script


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> Any:
    """Run one configuration; sweeps (``-m``) are planned by pretune's sweeper."""
    return run_script("evaluate", config)


if __name__ == "__main__":
    launch(main)
