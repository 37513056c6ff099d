"""A Cholesky factor that always exists, and its derivative."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.vjp import product

BASE_JITTER = 168.0
"""Relative jitter of every factorisation in units of the dtype's eps: 2e-5 in float32, 4e-14 in float64."""


class Factorisation(NamedTuple):
    """A covariance Sigma = L L^T, and what its derivative needs.

    Attributes:
        factor: L = d * F, (*B, D, D), d the standard deviations.
        jitter: Relative jitter beyond the base, (*B): zero where the base sufficed.
        correlation_factor: F, the factor of the correlation matrix, (*B, D, D).
        inverse: 1 / d, (*B, D), zero where d is.
        kept: (*B, 1, 1), false where no jitter helped and only the diagonal was kept; None where all is well.
    """

    factor: Tensor
    jitter: Tensor
    correlation_factor: Tensor
    inverse: Tensor
    kept: Tensor | None


def robust_cholesky(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Cholesky factor L, (*B, D, D), and the jitter beyond the base, (*B); see `factorise`.

    Example:
        >>> factor, jitter = robust_cholesky(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))
        >>> factor
        tensor([[2.0000, 0.0000],
                [0.0000, 0.0000]])
    """
    fit = factorise(covariance)
    return fit.factor, fit.jitter


def factorise(covariance: Tensor) -> Factorisation:
    """Factorise a covariance that may be singular, badly scaled or zero.

    Sigma is scaled to its correlation matrix C = Sigma / (d d^T), d = sqrt(diag(Sigma)), and
    L = d * chol(C + j I) with a base jitter j = 168 eps: whatever the units of the dimensions, their
    variances grow by the same factor 1 + j, and a dimension that has collapsed gets a row of zeros.
    Where that still fails, j grows by factors of ten for the failing matrices only. A matrix that is
    not finite gives a factor that is not finite.

    d is held constant in the backward pass. That leaves the gradient exact: d * chol(D^-1 Sigma D^-1)
    is chol(Sigma) for every constant d. It also keeps it finite where d = 0, where sqrt has no slope.

    Args:
        covariance: Sigma, (*B, D, D), symmetric.
    """
    constant = covariance.detach()
    variance = constant.diagonal(dim1=-2, dim2=-1)
    scale = variance.sqrt()
    inverse = torch.where(variance > torch.finfo(constant.dtype).tiny, scale.reciprocal(), 0.0)
    ridge = _constants(constant.shape[-1], constant.dtype, constant.device).ridge
    correlation = torch.addcmul(ridge, covariance, inverse.unsqueeze(-1) * inverse.unsqueeze(-2))
    factor, info = torch.linalg.cholesky_ex(correlation)
    jitter, kept = scale.new_zeros(info.shape), None
    if _any(info):
        correlation, jitter, kept = _escalate(correlation)
        factor = torch.linalg.cholesky_ex(correlation).L
    return Factorisation(scale.unsqueeze(-1) * factor, jitter, factor, inverse, kept)


def pull_back(fit: Factorisation, by_factor: Tensor) -> Tensor:
    """Compute the derivative by the covariance, from that by its factor: both (*B, D, D).

        dJ/dSigma = (M + M^T) / 2,  M = A^T tril'(L^T dJ/dL) A,  A = F^-1 diag(1 / d)

    with tril' the lower triangle with half the diagonal.

    Reference:
        Murray (2016), Differentiation of the Cholesky decomposition, eq. 10.
    """
    lower = _constants(by_factor.shape[-1], by_factor.dtype, by_factor.device).half_lower
    inner = product(fit.factor.mT, by_factor) * lower
    outer: Tensor = torch.linalg.solve_triangular(
        fit.correlation_factor, torch.diag_embed(fit.inverse), upper=False
    )
    half = product(product(outer.mT, inner), outer)
    symmetric = 0.5 * (half + half.mT)
    if fit.kept is None:
        return symmetric
    diagonal = torch.diag_embed(symmetric.diagonal(dim1=-2, dim2=-1))
    return torch.where(fit.kept, symmetric, diagonal)


def _any(failed: Tensor) -> bool:
    """Tell whether to act on failures; on a GPU always, since asking would wait for its answer."""
    return failed.is_cuda or bool(failed.any())


class _Constants(NamedTuple):
    ridge: Tensor  # the base jitter times the identity
    half_lower: Tensor  # ones below the diagonal, one half on it


@lru_cache(maxsize=16)
def _constants(dims: int, dtype: torch.dtype, device: torch.device) -> _Constants:
    eye = torch.eye(dims, dtype=dtype, device=device)
    return _Constants(BASE_JITTER * torch.finfo(dtype).eps * eye, torch.ones_like(eye).tril() - 0.5 * eye)


def _escalate(correlation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Raise the jitter of those matrices that do not factorise; as a last resort keep the diagonal.

    Args:
        correlation: (*B, D, D), base jitter included.

    Returns:
        Matrices (*B, D, D) that factorise wherever they are finite, the jitter added to them (*B), and
        whether a matrix was kept whole, (*B, 1, 1).
    """
    constant = correlation.detach()
    eye = torch.eye(constant.shape[-1], dtype=constant.dtype, device=constant.device)
    failed = torch.linalg.cholesky_ex(constant).info != 0
    jitter = torch.zeros_like(failed, dtype=constant.dtype)
    step = BASE_JITTER * torch.finfo(constant.dtype).eps
    while step < 1 and _any(failed):
        step = min(10 * step, 1.0)
        jitter = torch.where(failed, step, jitter)
        failed = torch.linalg.cholesky_ex(constant + jitter[..., None, None] * eye).info != 0
    diagonal = correlation * eye  # a product rather than a choice: what is not finite stays so
    kept = ~failed[..., None, None]
    return torch.where(kept, correlation, diagonal) + jitter[..., None, None] * eye, jitter, kept
