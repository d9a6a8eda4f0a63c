"""Second derivatives of a loss without its Hessian: Hessian-vector products, and what is made of them.

A product H v costs two backward passes (Pearlmutter 1994). Vectors are flat, in the order of ``parameters``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Product = Callable[[torch.Tensor], torch.Tensor]


class LossSurface:
    """A loss as a function of ``parameters``: its value, gradient and Hessian-vector products at where they are.

    ``parts`` are functions whose sum is the loss, so that one part after the other fits into memory.
    """

    def __init__(self, parts: Sequence[Callable[[], torch.Tensor]], parameters: Sequence[torch.nn.Parameter]) -> None:
        self.parts = parts
        self.parameters = list(parameters)

    def value(self) -> float:
        """The loss."""
        with torch.no_grad():
            return math.fsum(float(part()) for part in self.parts)

    def gradient(self) -> torch.Tensor:
        """∇L, flat."""
        total = torch.zeros(())
        for part in self.parts:
            total = total + flatten(torch.autograd.grad(part(), self.parameters))
        return total

    def product(self, vector: torch.Tensor) -> torch.Tensor:
        """H v, flat: the derivative of ∇L · v."""
        total = torch.zeros(())
        for part in self.parts:
            gradient = flatten(torch.autograd.grad(part(), self.parameters, create_graph=True))
            rows = torch.autograd.grad(gradient @ vector, self.parameters, allow_unused=True)
            filled = [torch.zeros_like(p) if row is None else row for row, p in zip(rows, self.parameters, strict=True)]
            total = total + flatten(filled)
        return total


def flatten(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """One vector of all elements."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over random vectors with its standard error."""

    value: float
    error: float
    n: int


def estimate_trace(product: Product, size: int, *, samples: int, generator: torch.Generator) -> Estimate:
    """Trace by Hutchinson (1990): the mean of vᵀHv over vectors of random signs, E[vᵀHv] = tr H."""
    values = []
    for _ in range(samples):
        vector = torch.randint(0, 2, (size,), generator=generator).float() * 2 - 1
        values.append(float(vector @ product(vector)))
    mean = math.fsum(values) / samples
    variance = math.fsum((value - mean) ** 2 for value in values) / (samples - 1)
    return Estimate(value=mean, error=math.sqrt(variance / samples), n=samples)


def find_extremes(product: Product, size: int, *, iterations: int, generator: torch.Generator) -> tuple[float, float]:
    """Smallest and largest eigenvalue by Lanczos (1950) with full reorthogonalisation: of the Krylov space's matrix."""
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(iterations, size)):
        image = product(basis[-1].float()).double()
        diagonal.append(float(image @ basis[-1]))
        for _ in range(2):  # once is not enough in finite precision
            for earlier in basis:
                image = image - (image @ earlier) * earlier
        norm = float(image.norm())
        if norm < 1e-9 * max(1.0, abs(diagonal[0])):
            break
        beside.append(norm)
        basis.append(image / norm)
    count = len(diagonal)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for index in range(count - 1):
        matrix[index, index + 1] = matrix[index + 1, index] = beside[index]
    values = torch.linalg.eigvalsh(matrix)
    return float(values[0]), float(values[-1])


def directional(product: Product, direction: torch.Tensor) -> float:
    """Curvature κ(u; H) = uᵀHu / ‖u‖² along a direction (Watts et al., arXiv 2605.02105)."""
    unit = direction / direction.norm()
    return float(unit @ product(unit))
