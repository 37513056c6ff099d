"""Moments of a cloud of particles, and a redraw from the Gaussian that has them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mbrl_agent.gaussians import cholesky
from mbrl_agent.gaussians.cholesky import factorise, robust_cholesky
from mbrl_agent.types import Prediction
from mbrl_agent.vjp import Gradients, PullBack, product


def centred(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (*R, 1, D) of points (*R, P, D), and their deviations from it, (*R, P, D).

    Taken relative to one of the points: what is the same for all of them has exactly that mean and no
    deviation, and a mean of large numbers is not wrong by their rounding.
    """
    origin = points[..., :1, :].detach()
    relative = points - origin
    mean = relative.mean(-2, keepdim=True)
    return origin + mean, relative - mean


def particle_moments(particles: Tensor) -> tuple[Tensor, Tensor]:
    """Sample mean and covariance of the particles.

        mu = sum_i x_i / P,  Sigma = sum_i (x_i - mu)(x_i - mu)^T / (P - 1)

    Args:
        particles: x, (*R, P, D).

    Returns:
        Mean (*R, 1, D) and covariance (*R, D, D).

    Example:
        >>> mean, covariance = particle_moments(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 6.0]]))
        >>> mean
        tensor([[2., 2.]])
        >>> covariance
        tensor([[ 4.,  6.],
                [ 6., 12.]])
    """
    mean, deviation = centred(particles)
    return mean, deviation.mT @ deviation / (particles.shape[-2] - 1)


def prediction_moments(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Return the mean and covariance of the mixture of the particles' predicted Gaussians.

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
        The draws (*R, P, D), and the jitter (*R) as in `factorise`.
    """
    fit = particle_moments(particles) if moments == "particles" else prediction_moments(prediction)
    mean, covariance = fit
    factor, jitter = robust_cholesky(covariance)
    return mean + noise @ factor.mT, jitter


def gaussian_redraw_vjp(
    moments: Literal["particles", "predictions"], prediction: Prediction, particles: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, PullBack]:
    """Return `gaussian_redraw` and its pull-back by_draw -> (by_mean, by_std, by_particles).

    From g_i = dJ/dz_i, with S = dJ/dSigma pulled back from dJ/dL = sum_i g_i eps_i^T, and y the points
    that the moments are those of (the particles x or the predicted means m):

        dJ/dy_i = sum_j g_j / P + 2 S (y_i - mu) / (P - 1),  dJ/dsqrt(S_i) = 2 diag(S) sqrt(S_i) / P
    """
    own = moments == "particles"
    points = particles if own else prediction.mean
    count = points.shape[-2]
    mean, deviation = centred(points)
    covariance = product(deviation.mT, deviation) / (count - 1)
    if not own:
        covariance = covariance + torch.diag_embed(prediction.std.square().mean(-2))
    fit = factorise(covariance)

    def pull_back(by_draw: Tensor) -> Gradients:
        by_covariance = cholesky.pull_back(fit, product(by_draw.mT, noise))
        by_deviation = product(deviation, by_covariance) * (2 / (count - 1))
        # (their mean is zero but for rounding, which a nearly singular covariance would blow up)
        by_points = by_deviation + (by_draw - by_deviation).mean(-2, keepdim=True)
        if own:
            return None, None, by_points
        by_variance = by_covariance.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
        return by_points, by_variance * prediction.std * (2 / count), None

    return mean + product(noise, fit.factor.mT), fit.jitter, pull_back


@torch.no_grad()
def standardised_residuals(
    moments: Literal["particles", "predictions"], prediction: Prediction, particles: Tensor
) -> Tensor:
    """Find the noise with which `gaussian_redraw` would draw the particles themselves, L^-1 (x_i - mu).

    Without gradient. Args as there.

    Returns:
        (*R, P, D), zero in a dimension without spread.
    """
    fit = particle_moments(particles) if moments == "particles" else prediction_moments(prediction)
    mean, covariance = fit
    factor, _ = robust_cholesky(covariance)
    constant = factor.diagonal(dim1=-2, dim2=-1) == 0
    residuals: Tensor = torch.linalg.solve_triangular(
        factor + torch.diag_embed(constant.to(factor)), (particles - mean).mT, upper=False
    )
    return residuals.mT
