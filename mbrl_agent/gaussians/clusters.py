"""Soft clusters of a particle cloud, found by EM and carried from step to step; pure, without gradient.

Shapes: B replicates, P particles, K components, D dimensions, C candidate starts; the rest as in `em`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl_agent.gaussians import em
from mbrl_agent.gaussians.em import Samples

FIRST_ITERATIONS = 8
"""EM iterations at the first step, where there is nothing to start from."""
SHRINKAGE = 6.0
"""How many particles' worth of the pooled covariance each component is given."""
SPARE_LOG_SHARE = -14.0
"""Log-share of a particle in the components that are not its own; it keeps an empty one defined."""


def shrinkage_matrix(log_mass: Tensor, num_particles: int, shrinkage: float) -> Tensor:
    """Shrink covariances to the pooled covariance WITHIN the components: Sigma_k = sum_j M_kj scatter_j.

        Sigma_k = P / (P - 1) (S_k + nu S_pool / P) / (N_k + nu),  S_k = N_k scatter_k,  S_pool = sum_k S_k,
        M = P / (P - 1) diag(N + nu)^-1 (diag(N) + nu / P 1 N^T)

    with S_k the scatter of component k, a sum over its N_k particles. As if each component had seen nu
    more particles of average spread; the distance between the components does not enter. P / (P - 1) is
    the correction of a sample covariance, made once for the whole cloud: one component gives the sample
    covariance for every nu, and a cloud that EM splits into components of equal mass keeps its total
    covariance to 1/P of the part between them. (Correcting every component for its own N_k would keep the
    spread of separate modes, but lets a single cloud that is split anew at every step grow.)

    Args:
        log_mass: log N_k up to a constant, (B, K).
        num_particles: P.
        shrinkage: nu.

    Returns:
        M, (B, K, K).
    """
    own = num_particles * log_mass.softmax(-1)  # N_k
    count = (own + shrinkage).clamp(min=torch.finfo(own.dtype).tiny)
    mixed = torch.diag_embed(own) + shrinkage / num_particles * own.unsqueeze(-2)
    return mixed * (num_particles / (num_particles - 1) / count).unsqueeze(-1)


@torch.no_grad()
def soft_clusters(
    samples: Samples, previous: Tensor | None, components: int, iterations: int, shrinkage: float = SHRINKAGE
) -> Tensor:
    """Fit the responsibilities of K Gaussian components for the particles, by EM with shrunk covariances.

    Args:
        samples: The particles, B clouds of P.
        previous: log r_ik of the step before, up to a constant for each particle, (B, K, P); None at
            the first step.
        components: K.
        iterations: EM iterations after the first step.
        shrinkage: nu of `shrinkage_matrix`.

    Returns:
        log r_ik, (B, K, P).
    """
    if components == 1:
        return torch.zeros_like(samples.points[:, :, 0])
    if previous is not None:
        return _em(previous, samples, iterations, shrinkage).log_softmax(-2)
    starts = _slices(samples, components)  # (B, C, K, P)
    repeated = samples.repeat(starts.shape[1])
    joint = _em(starts.flatten(0, 1), repeated, FIRST_ITERATIONS, shrinkage).view_as(starts)
    likelihood = joint.logsumexp(-2).sum(-1)  # (B, C)
    best = likelihood.argmax(-1)[..., None, None, None]
    return joint.take_along_dim(best, dim=-3).squeeze(-3).log_softmax(-2)


def _em(log_responsibilities: Tensor, samples: Samples, iterations: int, shrinkage: float) -> Tensor:
    """Iterate M and E step: the log-density of every particle and component, (B, K, P)."""
    num_particles = samples.points.shape[-1]
    for _ in range(iterations):
        share, log_mass = em.normalise(log_responsibilities)
        moments = em.maximise(samples, share)
        matrix = shrinkage_matrix(log_mass, num_particles, shrinkage)
        covariance = em.mixed(matrix, em.covariances(moments))
        joint = em.expect(samples, log_mass, covariance, moments.centred).log_joint
        log_responsibilities = joint.log_softmax(-2)
    return joint


def _slices(samples: Samples, components: int) -> Tensor:
    """Make candidate starts: cut the cloud across each dimension, where a Gaussian has its quantiles.

    A pair of modes lies on both sides of a cut across some dimension. No random numbers are needed, and
    the order of the particles does not matter.

    Args:
        samples: The particles.
        components: K.

    Returns:
        Log-shares, (B, C, K, P), C = D.
    """
    points = samples.points[:, 0, :-1].unsqueeze(-2)  # (B, D, 1, P)
    num_particles = points.shape[-1]
    inner = torch.arange(1, components, dtype=points.dtype, device=points.device) / components
    sample_std = math.sqrt(num_particles / (num_particles - 1))  # where the mean square is 1
    cuts = sample_std * torch.special.ndtri(inner).unsqueeze(-1)
    slices = (points > cuts).sum(-2, keepdim=True)  # 0 to K - 1
    numbers = torch.arange(components, device=points.device).unsqueeze(-1)
    return label_shares(slices == numbers, points.dtype)


def label_shares(is_label: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the log-shares of particles whose component is known: (..., K, P) bool to log r_ik."""
    shares = torch.full_like(is_label, SPARE_LOG_SHARE, dtype=dtype)
    return shares.masked_fill(is_label, 0.0)
