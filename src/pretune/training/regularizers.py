"""What keeps a fine-tuning near the pre-trained model: one class per kind, all with the same few moments to act.

Adapters and frozen weights, which change the model itself, are in :mod:`pretune.training.adapters`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pretune.config.science import Regularizer


class Regularization:
    """Does nothing; the kinds override the moments at which they act."""

    replay_share = 0.0
    """Weight of replayed pre-training text in the loss."""

    def ascend(self) -> bool:
        """Move the weights before a second gradient is taken; whether one is wanted."""
        return False

    def descend(self) -> None:
        """Take the weights back to where they were before :meth:`ascend`."""

    def add_gradient(self) -> None:
        """Add the gradient of the penalty to that of the loss: after accumulation, before clipping."""


class QuadraticPenalty(Regularization):
    """The penalty strength / 2 · Σ importance · (w − w₀)² for ``parameters`` w that are now at w₀.

    Without ``importance`` it is L2-SP (Li et al., arXiv 1802.01483, eq. 4); with the diagonal of the Fisher information
    it is elastic weight consolidation (Kirkpatrick et al., arXiv 1612.00796, eq. 3). The gradient is added directly:
    no graph, one pass over the weights. Weight decay, by contrast, pulls towards zero.
    """

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        strength: float,
        *,
        importance: Sequence[torch.Tensor] | None = None,
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.strength = strength
        self.reference = [parameter.detach().clone() for parameter in self.parameters]
        self.importance = list(importance) if importance is not None else None

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add strength · importance · (w − w₀)."""
        for index, parameter in enumerate(self.parameters):
            pull = (parameter - self.reference[index].to(parameter.device)).mul_(self.strength)
            if self.importance is not None:
                pull.mul_(self.importance[index].to(parameter.device))
            parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)


class SharpnessAware(Regularization):
    """Sharpness-aware minimisation (Foret et al., arXiv 2010.01412, algorithm 1).

    The gradient is taken at w + radius · g / ‖g‖, where g is the gradient at w, and applied at w: two passes a step.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], radius: float) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.radius = radius
        self._before: list[tuple[torch.nn.Parameter, torch.Tensor]] = []

    @torch.no_grad()
    def ascend(self) -> bool:
        """Climb from w by ``radius`` along the gradient."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        norms = [parameter.grad.norm() for parameter in moved if parameter.grad is not None]
        scale = self.radius / torch.stack(norms).norm().clamp_min(1e-12)
        self._before = [(parameter, parameter.detach().clone()) for parameter in moved]
        for parameter in moved:
            assert parameter.grad is not None
            parameter.add_(parameter.grad * scale)
        return True

    @torch.no_grad()
    def descend(self) -> None:
        """Put w back, to the last bit."""
        for parameter, before in self._before:
            parameter.copy_(before)
        self._before = []


class Replay(Regularization):
    """Pre-training text in every step: the loss is (1 − share) · task + share · text, each a mean over its tokens."""

    def __init__(self, share: float) -> None:
        self.replay_share = share


def build_regularization(
    config: Regularizer, model: torch.nn.Module, *, fisher: Sequence[torch.Tensor] | None = None
) -> Regularization:
    """The regularisation that ``config`` names, for ``model`` with its pre-trained weights.

    ``fisher``: the diagonal of the Fisher information of each trained parameter (ewc).
    """
    parameters = list(model.parameters())
    if config.name == "l2sp":
        return QuadraticPenalty(parameters, config.strength)
    if config.name == "ewc":
        return QuadraticPenalty(parameters, config.strength, importance=fisher)
    if config.name == "sam":
        return SharpnessAware(parameters, config.strength)
    if config.name == "replay":
        return Replay(config.strength)
    return Regularization()
