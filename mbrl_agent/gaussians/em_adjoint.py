"""Adjoints of the EM steps: from the loss by what a step of `em` returns to the loss by what it is given.

Every function states the formula that it computes. Shapes and homogeneous coordinates are those of `em`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.gaussians.em import Densities, Moments, Samples


class Adjoint(NamedTuple):
    """Derivatives of the loss with respect to the standardised samples, summed up step by step.

    Attributes:
        points: (B, H, N); the last row means nothing.
        variances: (B, H, N), likewise.
    """

    points: Tensor
    variances: Tensor

    @classmethod
    def zeros(cls, samples: Samples) -> Adjoint:
        """Make one with nothing in it so far."""
        shape = samples.points[:, 0]
        return cls(torch.zeros_like(shape), torch.zeros_like(shape))

    def unscaled(self, samples: Samples, std: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the derivatives with respect to the arguments of `standardise`, both (B, N, D)."""
        D = samples.scale.shape[-1]
        per_unit = samples.scale.reciprocal().unsqueeze(-2)
        mean = self.points[:, :D].mT * per_unit
        return mean, self.variances[:, :D].mT * (2 * per_unit) * (std * per_unit)


def bordered(scatter: Tensor, mean: Tensor) -> Tensor:
    """Return the adjoint of Sigma in homogeneous coordinates from those of its parts, (B K, H, H).

    Args:
        scatter: Of the scatter, (B K, D, D).
        mean: Of the mean, (B K, D).
    """
    D = mean.shape[-1]
    half = 0.5 * mean
    matrix = mean.new_zeros(mean.shape[0], D + 1, D + 1)
    matrix[:, :D, :D] = scatter
    matrix[:, :D, D] = half
    matrix[:, D, :D] = half
    return matrix


def samples_adjoint(moments: Moments, into: Adjoint, covariance: Tensor, variance: Tensor | None) -> None:
    """Add the adjoint of `maximise` and `covariances` with respect to the samples.

        d/d(m_i, 1) = sum_k 2 s_ik G_k c_ik,  d/dS_i = sum_k s_ik v_k

    Args:
        moments: What `maximise` returned.
        into: Where to add it.
        covariance: G, adjoint of Sigma, its last column half that of the mean; (B K, H, H), symmetric.
        variance: (v, 0), adjoint of V, (B, K, H); None for exact samples.
    """
    (B, K), H = moments.mean.shape[:2], covariance.shape[-1]
    stacked = covariance.view(B, K * H, H).mT
    into.points.baddbmm_(stacked, moments.weighted.view(B, K * H, -1), alpha=2)
    if variance is not None:
        into.variances.baddbmm_(variance.mT, moments.share)


def share_adjoint(samples: Samples, moments: Moments, covariance: Tensor, variance: Tensor) -> Tensor:
    """Return the adjoint of `maximise` and `covariances` by the shares, up to a constant for each k.

        d/ds_ik = c_ik^T G_k c_ik + v_k S_i

    Args:
        samples: m and S.
        moments: What `maximise` returned.
        covariance: G, (B K, H, H), symmetric, as in `samples_adjoint`.
        variance: (v, 0), (B, K, H).

    Returns:
        (B, K, N).
    """
    B, K, H = variance.shape
    quadratic = torch.bmm(covariance, moments.centred).mul_(moments.centred).sum(-2).view(B, K, -1)
    return quadratic.baddbmm_(variance, samples.features[:, H:])


def normalise_adjoint(share: Tensor, adjoint: Tensor, log_mass: Tensor) -> Tensor:
    """Return the adjoint of `normalise`: s_ik (a_ik - sum_j s_jk a_jk + l_k), (B, K, N).

    Args:
        share: s, (B, K, N).
        adjoint: a of the shares, (B, K, N).
        log_mass: l of log N_k, (B, K).
    """
    product = share * adjoint
    return torch.addcmul(product, share, (log_mass - product.sum(-1)).unsqueeze(-1))


def expect_adjoint(
    samples: Samples, densities: Densities, into: Adjoint, log_joint: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the adjoint of `expect`, for J the adjoint of the log-densities and y = L^-1 c.

        d/dSigma_k = L^-T (sum_i J_ik (y_ik y_ik^T - I)) L^-1 / 2,  d/d(m_i, 1) = -sum_k J_ik L^-T y_ik

    Args:
        samples: Their `Regularisation`.
        densities: What `expect` returned.
        into: Where to add the derivative with respect to m.
        log_joint: J, (B, K, N).

    Returns:
        The adjoints of Sigma, (B K, H, H), and of log W, (B, K).
    """
    B, K, N = log_joint.shape
    whitener, white = densities.whitener, densities.white
    H = white.shape[-2]
    pulled = log_joint.view(-1, 1, N) * white
    total = log_joint.sum(-1)
    diagonal = total.view(-1, 1, 1) * samples.regularisation.eye
    inner = torch.baddbmm(diagonal, pulled, white.mT, beta=-0.5, alpha=0.5)
    into.points.baddbmm_(whitener.view(B, K * H, H).mT, pulled.view(B, K * H, N), alpha=-1)
    return torch.bmm(torch.bmm(whitener.mT, inner), whitener), total
