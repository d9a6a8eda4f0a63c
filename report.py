"""Turn the results of a study into one page and its tables.

python report.py
python report.py study_dir=studies/miniature
"""

from typing import Any

import hydra
from omegaconf import DictConfig

from pretune.app import launch, run_script


@hydra.main(version_base="1.3", config_path="conf", config_name="report")
def main(config: DictConfig) -> Any:
    """Write the report."""
    return run_script("report", config)


if __name__ == "__main__":
    launch(main)
