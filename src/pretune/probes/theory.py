"""The second study's linear model of overtraining, exact where it can be (Springer et al., arXiv 2503.19206, §4).

A two-layer linear network x ↦ W₂W₁x, with inputs of identity covariance, learns a teacher A = diag(s), s decreasing:
L(W₁, W₂) = ½‖W₂W₁ − A‖²_F. From a small balanced initialisation W₁ = W₂ = √c·I, gradient flow keeps both layers
diagonal and equal, and each singular value of the product follows (Saxe et al., arXiv 1312.6120)

    dσᵢ/dt = 2σᵢ(sᵢ − σᵢ),        σᵢ(t) = sᵢ / (1 + (sᵢ/c − 1)·exp(−2sᵢt)),

a sigmoid that is half grown at tᵢ = ln(sᵢ/c − 1)/(2sᵢ): large directions first, small ones late.

*Noise.* With independent entries of standard deviation γ added to both layers (d × d), the loss rises in expectation by

    γ²·d·(‖W₁‖² + ‖W₂‖²)/2 + γ⁴d³/2 = γ²·d·Σσᵢ(t) + γ⁴d³/2,

which never falls with t. The slope of the disturbed loss is Σ 2σᵢ(sᵢ − σᵢ)(γ²d − (sᵢ − σᵢ)): once every direction is
within γ²d of its end, longer pre-training makes it worse.

*Fine-tuning.* Gradient descent of a fixed rate and number of steps on ½‖W₂W₁ − B‖²_F, with B = U·diag(s)·Vᵀ for
random rotations U, V: a task whose directions are not those of A. It has no closed form here and is run as it is.

The mechanism is the paper's; this teacher, the aligned initialisation and the rotations are the simplest instance of it
and not a reproduction of the paper's figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LinearNetwork:
    """A network of d × d layers: the teacher's singular values are ``decay``^i for i < d; ``initial`` is c.

    Raises ``ValueError`` unless 0 < ``decay`` ≤ 1 and ``initial`` is positive and below the least singular value.
    """

    dimension: int = 16
    decay: float = 0.7
    initial: float = 1e-6

    def __post_init__(self) -> None:
        if self.dimension < 1 or not 0 < self.decay <= 1:
            raise ValueError(f"dimension={self.dimension}, decay={self.decay}: wanted 1 or more, and 0 < decay ≤ 1")
        if not 0 < self.initial < self.teacher[-1]:
            raise ValueError(f"initial={self.initial}: not between 0 and the least singular value {self.teacher[-1]:g}")

    @property
    def teacher(self) -> Reals:
        """The singular values s of A: shape [d], decreasing."""
        values: Reals = self.decay ** np.arange(self.dimension, dtype=float)
        return values

    @property
    def learning_times(self) -> Reals:
        """When each direction is half grown: shape [d]."""
        times: Reals = np.log(self.teacher / self.initial - 1) / (2 * self.teacher)
        return times

    def learn(self, times: Reals) -> Reals:
        """Singular values of W₂W₁ after each time: shape [times, d]."""
        left = (self.teacher / self.initial - 1) * np.exp(-2 * self.teacher * np.asarray(times)[:, None])
        values: Reals = self.teacher / (1 + left)
        return values


def measure_loss(network: LinearNetwork, times: Reals) -> Reals:
    """The pre-training loss after each time."""
    losses: Reals = 0.5 * ((network.teacher - network.learn(times)) ** 2).sum(axis=1)
    return losses


def measure_noise_sensitivity(network: LinearNetwork, times: Reals, gamma: float) -> Reals:
    """Expected rise of the pre-training loss under noise of size ``gamma`` after each time; exact."""
    width = network.dimension
    rises: Reals = gamma**2 * width * network.learn(times).sum(axis=1) + 0.5 * gamma**4 * width**3
    return rises


def measure_forgetting(
    network: LinearNetwork, times: Reals, rate: float, *, steps: int = 10, seed: int = 0
) -> tuple[Reals, Reals]:
    """Rise of the pre-training loss by fine-tuning from each time on, and the loss then left on the fine-tuning task.

    ``seed`` draws the rotations of the task; all times and rates of a seed meet the same one.
    """
    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.normal(size=(network.dimension, network.dimension)))[0] for _ in range(2))
    task = (left * network.teacher) @ right.T
    first = np.sqrt(network.learn(times))[:, :, None] * np.eye(network.dimension)
    second = first
    for _ in range(steps):
        residual = second @ first - task
        first, second = (
            first - rate * np.swapaxes(second, 1, 2) @ residual,
            second - rate * residual @ np.swapaxes(first, 1, 2),
        )
    product = second @ first
    after = 0.5 * ((product - np.diag(network.teacher)) ** 2).sum(axis=(1, 2))
    return after - measure_loss(network, times), 0.5 * ((product - task) ** 2).sum(axis=(1, 2))


def find_inflection(times: Reals, losses: Reals) -> float:
    """The time of the lowest loss, when it is higher at the end; NaN when nothing was lost by going on."""
    lowest = int(np.argmin(losses))
    return float(times[lowest]) if losses[-1] > losses[lowest] else float("nan")
