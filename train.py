"""Fine-tune pre-training checkpoints of a language model and evaluate them before and after.

python train.py -m checkpoint=step342k,step738k task=mnli,paws
python train.py -m checkpoint=pico/step64,pico/step1024 task=pico/nli optimizer.lr=1e-4,5e-4,1e-3
"""

from typing import Any

import hydra
from omegaconf import DictConfig

from pretune.app import launch, run_script


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> Any:
    """Run one configuration; sweeps (``-m``) are planned by pretune's sweeper."""
    return run_script("train", config)


if __name__ == "__main__":
    launch(main)
