"""Soft clusters of a particle cloud, found by EM and carried from step to step; pure, without gradient.

Shapes: P particles, K components, D dimensions, C candidate starts, `*R` leading replicate axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agent.resampling.em import MixtureFit, log_joint, maximise, variance_floor

FIRST_ITERATIONS = 8
"""EM iterations at the first step, where there is nothing to start from."""
SHRINKAGE = 6.0
"""How many particles' worth of the pooled covariance each component is given."""
SPARE_LOG_SHARE = -14.0
"""Log-share of a particle in the components that are not its own; it keeps an empty one defined."""


def fit_components(log_responsibilities: Tensor, particles: Tensor) -> MixtureFit:
    """Maximum-likelihood moments of every component, for given responsibilities.

    Args:
        log_responsibilities: log r_ik, (*R, K, P).
        particles: x, (*R, P, D).
    """
    nothing = torch.zeros_like(particles)
    return maximise(log_responsibilities, particles, nothing, nothing[..., 0])


def shrunk_covariance(fit: MixtureFit, num_particles: int, shrinkage: float) -> Tensor:
    """Covariance of every component, shrunk to the pooled covariance WITHIN the components.

        Sigma_k = P / (P - 1) (S_k + nu S_pool / P) / (N_k + nu),  S_pool = sum_k S_k

    with S_k the scatter of component k, a sum over its N_k particles. As if each component had seen nu
    more particles of average spread; the distance between the components does not enter. P / (P - 1) is
    the correction of a sample covariance, made once for the whole cloud: one component gives the sample
    covariance for every nu, and a cloud that EM splits into components of equal mass keeps its total
    covariance to 1/P of the part between them. (Correcting every component for its own N_k would keep the
    spread of separate modes, but lets a single cloud that is split anew at every step grow.)

    Args:
        fit: Moments of the components.
        num_particles: P.
        shrinkage: nu.

    Returns:
        (*R, K, D, D).
    """
    own = num_particles * fit.log_weights.exp()  # N_k
    scatter = own[..., None, None] * fit.scatter  # S_k
    pooled = scatter.sum(-3, keepdim=True) / num_particles
    count = (own + shrinkage).clamp(min=torch.finfo(own.dtype).tiny)[..., None, None]
    return num_particles / (num_particles - 1) * (scatter + shrinkage * pooled) / count


@torch.no_grad()
def soft_clusters(
    particles: Tensor, previous: Tensor | None, components: int, iterations: int, shrinkage: float = SHRINKAGE
) -> Tensor:
    """Responsibilities of K Gaussian components for the particles, by EM with shrunk covariances.

    Args:
        particles: x, (*R, P, D).
        previous: log r_ik of the step before, up to a constant for each particle, (*R, K, P); None at
            the first step.
        components: K.
        iterations: EM iterations after the first step.
        shrinkage: nu of `shrunk_covariance`.

    Returns:
        log r_ik, (*R, K, P).
    """
    if components == 1:
        return torch.zeros_like(particles[..., 0]).unsqueeze(-2)
    if previous is not None:
        joint = _em(previous, particles, iterations, shrinkage)
        return joint.log_softmax(-2)
    joint = _em(_slices(particles, components), particles.unsqueeze(-3), FIRST_ITERATIONS, shrinkage)
    likelihood = joint.logsumexp(-2).sum(-1)  # (*R, C)
    best = likelihood.argmax(-1)[..., None, None, None]
    return joint.take_along_dim(best, dim=-3).squeeze(-3).log_softmax(-2)


def _em(log_responsibilities: Tensor, particles: Tensor, iterations: int, shrinkage: float) -> Tensor:
    """Iterate M and E step: the log-density of every particle and component, (*R, K, P)."""
    floor = variance_floor(particles, torch.zeros_like(particles))
    for _ in range(iterations):
        fit = fit_components(log_responsibilities, particles)
        fit = fit._replace(scatter=shrunk_covariance(fit, particles.shape[-2], shrinkage))
        joint = log_joint(fit, particles, floor)
        log_responsibilities = joint.log_softmax(-2)
    return joint


def _slices(particles: Tensor, components: int) -> Tensor:
    """Candidate starts: cut the cloud across each of its dimensions, where a Gaussian has its quantiles.

    A pair of modes lies on both sides of a cut across some dimension. No random numbers are needed, and
    the order of the particles does not matter.

    Args:
        particles: (*R, P, D).
        components: K.

    Returns:
        Log-shares, (*R, C, K, P), C = D.
    """
    std, mean = torch.std_mean(particles, dim=-2, keepdim=True)
    inner = torch.arange(1, components, dtype=particles.dtype, device=particles.device) / components
    cuts = mean + std * torch.special.ndtri(inner).unsqueeze(-1)  # (*R, K - 1, D)
    slices = (particles.unsqueeze(-3) > cuts.unsqueeze(-2)).sum(-3)  # (*R, P, D), 0 to K - 1
    numbers = torch.arange(components, device=particles.device).unsqueeze(-1)
    return label_shares(slices.mT.unsqueeze(-2) == numbers, particles.dtype)


def label_shares(is_label: Tensor, dtype: torch.dtype) -> Tensor:
    """Log-shares of particles whose component is known: (..., K, P) bool to log r_ik."""
    shares = torch.full_like(is_label, SPARE_LOG_SHARE, dtype=dtype)
    return shares.masked_fill(is_label, 0.0)
