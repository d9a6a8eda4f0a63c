"""Disturb a checkpoint or a trained run, and measure how fragile it is.

python probe.py -m checkpoint=pico checkpoint.step=all probe=gaussian
python probe.py -m checkpoint=pico/step64,pico/step1024 probe=gaussian,quantize,sharpness,representation
python probe.py run=RUN_ID probe=interpolate
"""

from typing import Any

import hydra
from omegaconf import DictConfig

from pretune.app import launch, run_script


@hydra.main(version_base="1.3", config_path="conf", config_name="probe")
def main(config: DictConfig) -> Any:
    """Run one configuration; sweeps (``-m``) are planned by pretune's sweeper."""
    return run_script("probe", config)


if __name__ == "__main__":
    launch(main)
