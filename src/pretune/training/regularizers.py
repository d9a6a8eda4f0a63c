"""What keeps a fine-tuning near the pre-trained model: one class per kind, all with the same few moments to act."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pretune.config.science import Regularizer


class Regularization:
    """Does nothing; the kinds override the moments at which they act."""

    def add_gradient(self) -> None:
        """Add the gradient of the penalty to that of the loss: after accumulation, before clipping."""


class L2SP(Regularization):
    """The penalty strength / 2 · ‖w − w₀‖² for ``parameters`` w that are now at w₀ (Li et al., 1802.01483, eq. 4).

    Its gradient, strength · (w − w₀), is added directly: no graph, one pass over the weights. Weight decay, by
    contrast, pulls towards zero.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], strength: float) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.strength = strength
        self.reference = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add strength · (w − w₀)."""
        for parameter, reference in zip(self.parameters, self.reference, strict=True):
            pull = (parameter - reference.to(parameter.device)).mul_(self.strength)
            parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)


def build_regularization(config: Regularizer, model: torch.nn.Module) -> Regularization:
    """The regularisation that ``config`` names, for ``model`` with its pre-trained weights."""
    if config.name == "l2sp":
        return L2SP(list(model.parameters()), config.strength)
    return Regularization()
