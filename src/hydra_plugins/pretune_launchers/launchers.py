"""Entry through which Hydra finds pretune's launchers: it takes only classes defined in its plugin namespace.

Their presets are in ``conf/hydra/launcher``; joblib, submitit and Ray are imported when one of them is used.
"""

from pretune.execution.launchers import Workers
from pretune.execution.ray_tasks import RayCluster
from pretune.execution.submission import Slurm, SlurmLocal


class WorkersLauncher(Workers):
    """``hydra/launcher=workers``."""


class SlurmLauncher(Slurm):
    """``hydra/launcher=slurm``."""


class SlurmLocalLauncher(SlurmLocal):
    """``hydra/launcher=slurm_local``."""


class RayClusterLauncher(RayCluster):
    """``hydra/launcher=ray_cluster``."""
