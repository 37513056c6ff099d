"""Moments of a cloud of particles, a Cholesky factor that always exists, and the draw from both."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mbrl_agent.types import Prediction

BASE_JITTER = 168.0
"""Relative jitter of every factorisation in units of the dtype's eps: 2e-5 in float32, 4e-14 in float64."""


def particle_moments(particles: Tensor) -> tuple[Tensor, Tensor]:
    """Sample mean and covariance of the particles.

        mu = sum_i x_i / P,  Sigma = sum_i (x_i - mu)(x_i - mu)^T / (P - 1)

    Args:
        particles: x, (*R, P, D).

    Returns:
        Mean (*R, 1, D) and covariance (*R, D, D).
    """
    mean = particles.mean(-2, keepdim=True)
    centred = particles - mean
    return mean, centred.mT @ centred / (particles.shape[-2] - 1)


def prediction_moments(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the mixture of the particles' predicted Gaussians.

        mu = sum_i m_i / P,  Sigma = sum_i (m_i - mu)(m_i - mu)^T / (P - 1) + diag(sum_i S_i / P)

    Args:
        prediction: Means m and standard deviations sqrt(S), (*R, P, D).

    Returns:
        Mean (*R, 1, D) and covariance (*R, D, D).
    """
    mean, covariance = particle_moments(prediction.mean)
    return mean, covariance + torch.diag_embed(prediction.std.square().mean(-2))


def gaussian_redraw(
    moments: Literal["particles", "predictions"], prediction: Prediction, particles: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw every particle from one Gaussian with the given moments: z_i = mu + L eps_i.

    Args:
        moments: Whether to match the sampled particles or the predicted Gaussians.
        prediction: Means and standard deviations of the next state, (*R, P, D).
        particles: One sample of `prediction` a particle, (*R, P, D).
        noise: eps, standard normal, (*R, P, D).

    Returns:
        The draws (*R, P, D), and the jitter (*R) as in `robust_cholesky`.
    """
    fit = particle_moments(particles) if moments == "particles" else prediction_moments(prediction)
    mean, covariance = fit
    factor, jitter = robust_cholesky(covariance)
    return mean + noise @ factor.mT, jitter


def robust_cholesky(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of a covariance that may be singular, badly scaled or zero.

    Sigma is scaled to its correlation matrix C = Sigma / (d d^T), d = sqrt(diag(Sigma)), and
    L = d * chol(C + j I) with a base jitter j = 168 eps: whatever the units of the dimensions, their
    variances grow by the same factor 1 + j, and a dimension that has collapsed gets a row of zeros.
    Where that still fails, j grows by factors of ten for the failing matrices only. A matrix that is
    not finite gives a factor that is not finite.

    d is held constant in the backward pass. That leaves the gradient exact: d * chol(D^-1 Sigma D^-1)
    is chol(Sigma) for every constant d. It also keeps it finite where d = 0, where sqrt has no slope.

    Args:
        covariance: Sigma, (*B, D, D), symmetric.

    Returns:
        L, (*B, D, D), and the jitter beyond the base, (*B): zero where the base sufficed.
    """
    constant = covariance.detach()
    variance = constant.diagonal(dim1=-2, dim2=-1)
    scale = variance.sqrt()
    inverse = torch.where(variance > torch.finfo(constant.dtype).tiny, scale.reciprocal(), 0.0)
    eye = torch.eye(constant.shape[-1], dtype=constant.dtype, device=constant.device)
    base = BASE_JITTER * torch.finfo(constant.dtype).eps
    correlation = torch.addcmul(base * eye, covariance, inverse.unsqueeze(-1) * inverse.unsqueeze(-2))
    factor, info = torch.linalg.cholesky_ex(correlation)
    jitter = torch.zeros_like(info, dtype=constant.dtype)
    if bool(info.any()):
        correlation, jitter = _escalate(correlation, base, eye)
        factor = torch.linalg.cholesky_ex(correlation).L
    return scale.unsqueeze(-1) * factor, jitter


def _escalate(correlation: Tensor, base: float, eye: Tensor) -> tuple[Tensor, Tensor]:
    """Raise the jitter of those matrices that do not factorise; as a last resort keep the diagonal.

    Args:
        correlation: (*B, D, D), base jitter included.
        base: The base jitter.
        eye: (D, D).

    Returns:
        Matrices (*B, D, D) that factorise wherever they are finite, and the jitter added to them (*B).
    """
    constant = correlation.detach()
    failed = torch.linalg.cholesky_ex(constant).info != 0
    jitter = torch.zeros_like(failed, dtype=constant.dtype)
    step = base
    while step < 1 and bool(failed.any()):
        step = min(10 * step, 1.0)
        jitter = torch.where(failed, step, jitter)
        failed = torch.linalg.cholesky_ex(constant + jitter[..., None, None] * eye).info != 0
    diagonal = correlation * eye  # a product rather than a choice: what is not finite stays so
    correlation = torch.where(failed[..., None, None], diagonal, correlation)
    return correlation + jitter[..., None, None] * eye, jitter
