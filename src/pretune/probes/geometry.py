"""Measures of matrices of hidden states (rows: tokens or items; columns: dimensions), and of pairs of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

EPSILON = 1e-7
SHARE_OF_SPECTRUM = (0.05, 0.5)
"""Part of the eigenvalues, by rank, that the power law is fitted to: head and tail bend away from it."""


def rankme(features: Reals) -> float:
    """RankMe (Garrido et al., arXiv 2210.02885, eq. 1): exp of the entropy of the normalised singular values.

    A matrix with r equal singular values, the others zero, has the value r.
    """
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / max(values.sum(), EPSILON) + EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def alpha_req(features: Reals) -> float:
    """α-ReQ (Agrawal et al., NeurIPS 2022): decay of the covariance's eigenvalues, λ_i ∝ i^(−α).

    Least squares on logarithms over the middle of the spectrum; NaN where that holds fewer than three eigenvalues.
    """
    centred = features - features.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    values = values[values > values[0] * 1e-12] if values[0] > 0 else values[:0]
    first, last = (int(round(len(values) * share)) for share in SHARE_OF_SPECTRUM)
    if last - first < 3:
        return float("nan")
    ranks = np.arange(first + 1, last + 1)
    slope, _ = np.polyfit(np.log(ranks), np.log(values[first:last]), 1)
    return float(-slope)


def linear_cka(one: Reals, two: Reals) -> float:
    """Linear CKA (Kornblith et al., arXiv 1905.00414, eq. 3) of two matrices with the same rows.

    1 for features equal up to rotation, scale and shift.
    """
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    shared = np.linalg.norm(one.T @ two) ** 2
    return float(shared / (np.linalg.norm(one.T @ one) * np.linalg.norm(two.T @ two)))


def mean_principal_angle(one: Reals, two: Reals, *, dimensions: int) -> float:
    """Mean angle, in radians, between the spaces of the first ``dimensions`` principal directions of two matrices.

    By the singular values of the product of the two bases (Björck & Golub 1973): 0 for one space, π/2 for
    perpendicular ones.
    """
    first, second = (principal_directions(features, dimensions) for features in (one, two))
    cosines = np.linalg.svd(first @ second.T, compute_uv=False)
    return float(np.arccos(np.clip(cosines, 0.0, 1.0)).mean())


def principal_directions(features: Reals, count: int) -> Reals:
    """The first ``count`` right singular vectors of the centred matrix: shape [count, dimensions]."""
    _, _, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    found: Reals = directions[:count]
    return found
