r"""Expectation maximisation for a mixture of Gaussians, in few and large operations; pure functions.

Written for speed: a fit to some hundred particles costs as much as the number of tensor operations in
it, not as their size. So all components share every operation, and the derivatives are written out, in
`em_adjoint`, instead of being recorded operation by operation.

Homogeneous coordinates. A sample m seen from a component's mean is c = (m - mu, 1), and the component is
the matrix

    Sigma = sum_i s_i c_i c_i^T + diag(V, 0) = [[scatter + diag(V), 0], [0, 1]],   s_i = w_i r_i / N_k,

for which log N(m | mu, scatter + diag V) = -log det L - |L^-1 c|^2 / 2 + const with L L^T = Sigma. A shift
of the origin multiplies every c by one matrix of determinant 1 and leaves this unchanged, so centring on
mu is a matter of rounding alone (without it the variance would be a small difference of large numbers),
and the derivative through the mean of the origin is exactly zero: an adjoint of Sigma, whose last column
belongs to sum_i s_i (m_i - mu), is all that the E step passes back to the M step.

Shapes: B replicates, N samples (particles), K components, D dimensions, H = D + 1. What belongs to a
component is (B, K, ...) beside samples, and (B K, ...) in matrix products. Masses are carried as
logarithms, so that a component may die without a division by zero.

Reference:
    Calvo, Oller (1990), A distance between multivariate normal distributions based in an embedding into
    the Siegel group, for Gaussians as matrices of one dimension more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.gaussians.cholesky import BASE_JITTER


class Regularisation(NamedTuple):
    """Constants of the E step, made once for all iterations.

    Sigma gets the base jitter j of `robust_cholesky`, and eps of the samples' total variance. That keeps the
    densities defined where a component, or everything, has collapsed in some dimension: there it is the
    same for all components and cancels. It carries no gradient.

    Attributes:
        eye: I, (H, H).
        growth: 1 + j on the diagonal, 1 elsewhere.
        floor: eps I.
    """

    eye: Tensor
    growth: Tensor
    floor: Tensor


class Samples(NamedTuple):
    """Samples in units in which their total variance is one in every dimension.

    EM gives the same in all units, so centre and scale are constants for the derivatives.

    Attributes:
        points: Standardised (m, 1), (B, 1, H, N).
        features: Standardised (m, 0, S, 0), or (m, 0) where the samples are exact; (B, 2H or H, N).
        centre: Mean of the samples, (B, D).
        scale: Square root of their total variance, (B, D).
        regularisation: What the E step does to a Sigma, (H, H).
    """

    points: Tensor
    features: Tensor
    centre: Tensor
    scale: Tensor
    regularisation: Regularisation

    def repeat(self, times: int) -> Samples:
        """Repeat every replicate several times in a row."""
        points, features, centre, scale = (part.repeat_interleave(times, 0) for part in self[:4])
        return Samples(points, features, centre, scale, self.regularisation)


class Moments(NamedTuple):
    """Weighted moments of the samples, component by component (the M step).

    Attributes:
        share: s_ik = w_i r_ik / N_k, (B, K, N).
        mean: mu_k, (B, K, D).
        variance: (V_k, 0), average of the samples' own variances, (B, K, H); of exact samples (B, K, 0).
        centred: c_ik, (B K, H, N).
        weighted: s_ik c_ik, times Bessel's correction where there is one, (B K, H, N).
    """

    share: Tensor
    mean: Tensor
    variance: Tensor
    centred: Tensor
    weighted: Tensor


class Densities(NamedTuple):
    """Log-densities of the samples under the components (the E step).

    Attributes:
        log_joint: log W_k + log N(m_i | mu_k, Sigma_k) up to a constant, (B, K, N).
        whitener: L_k^-1, (B K, H, H).
        white: L_k^-1 c_ik, (B K, H, N).
    """

    log_joint: Tensor
    whitener: Tensor
    white: Tensor


def standardise(mean: Tensor, std: Tensor | None = None) -> Samples:
    """Return the samples m, (B, N, D), with standard deviations sqrt(S), in units of their total spread.

    A dimension in which nothing varies has a tiny scale, and all samples at zero, exactly.
    """
    info = torch.finfo(mean.dtype)
    tiny = info.tiny**0.5
    points = mean.mT.contiguous()  # all that follows runs along the samples
    D = points.shape[-2]
    origin = points[..., :1]  # relative to one of them, so that the mean of equal numbers is exact
    points = points - origin
    mean_offset = points.mean(-1, keepdim=True)
    points = points - mean_offset
    centre = origin + mean_offset
    total = points.square()
    if std is not None:
        std = std.mT.contiguous()
        total = total.addcmul_(std, std)
    scale = total.mean(-1, keepdim=True).clamp_(min=tiny).sqrt_()
    per_unit = scale.reciprocal()
    points = points * per_unit
    one = torch.ones_like(points[:, :1])
    zero = torch.zeros_like(one)
    rows = [points, one, points, zero]
    if std is not None:
        rows += [(std * per_unit).square_(), zero]
    stacked = torch.cat(rows, -2)
    homogeneous, features = stacked[:, : D + 1].unsqueeze(1), stacked[:, D + 1 :]
    constants = _regularisation(D, mean.dtype, mean.device)
    return Samples(homogeneous, features, centre.squeeze(-1), scale.squeeze(-1), constants)


@lru_cache(maxsize=16)
def _regularisation(dims: int, dtype: torch.dtype, device: torch.device) -> Regularisation:
    eye, eps = torch.eye(dims + 1, dtype=dtype, device=device), torch.finfo(dtype).eps
    return Regularisation(eye, eye * (BASE_JITTER * eps) + 1, eye * eps)


def maximise(samples: Samples, share: Tensor, correction: float = 1.0) -> Moments:
    """Compute the M step: weighted maximum-likelihood moments of every component.

        mu_k = sum_i s_ik m_i,  V_k = sum_i s_ik S_i,  scatter_k = sum_i s_ik (m_i - mu_k)(m_i - mu_k)^T

    Args:
        samples: m and S.
        share: s, (B, K, N), a distribution over the samples for every component.
        correction: Factor of the scatter.
    """
    H, N = samples.points.shape[-2:]
    means = torch.bmm(share, samples.features.mT)  # (B, K, H or 2H)
    centred = (samples.points - means[..., :H].unsqueeze(-1)).view(-1, H, N)
    weighted = share.reshape(-1, 1, N) * centred
    if correction != 1:
        weighted *= correction
    return Moments(share, means[..., : H - 1], means[..., H:], centred, weighted)


def covariances(moments: Moments) -> Tensor:
    """Return the Sigma_k in homogeneous coordinates, (B K, H, H)."""
    if moments.variance.shape[-1] == 0:
        return torch.bmm(moments.weighted, moments.centred.mT)
    diagonal = torch.diag_embed(moments.variance).flatten(0, 1)
    return torch.baddbmm(diagonal, moments.weighted, moments.centred.mT)


def mixed(matrix: Tensor, covariance: Tensor) -> Tensor:
    """Combine the components' matrices linearly, sum_j M_kj X_j, with M (B, K, K) and X (B K, ...).

    Its adjoint is the same with the transpose of M.
    """
    return torch.bmm(matrix, covariance.reshape(*matrix.shape[:2], -1)).view_as(covariance)


def expect(samples: Samples, log_weights: Tensor, covariance: Tensor, centred: Tensor) -> Densities:
    """Return the E step: log-density of every sample and component.

    The regularised Sigma is positive definite by many times what rounding can take away; one that is not
    finite gives densities that are not.

    Args:
        samples: Their `Regularisation`.
        log_weights: log W up to a constant, (B, K).
        covariance: Sigma, (B K, H, H).
        centred: c, (B K, H, N).
    """
    eye, growth, floor = samples.regularisation
    factor = torch.linalg.cholesky_ex(torch.addcmul(floor, covariance, growth)).L
    # of the transpose, because its memory then has the rows of L^-1 one after the other
    whitener = torch.linalg.solve_triangular(factor.mT, eye, upper=True).mT
    white = torch.bmm(whitener, centred)
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).view_as(log_weights)
    log_scale = (log_weights - log_det).unsqueeze(-1)
    square = white.square().sum(-2).view(*log_weights.shape, -1)
    return Densities(torch.sub(log_scale, square, alpha=0.5), whitener, white)


def normalise(log_masses: Tensor) -> tuple[Tensor, Tensor]:
    """Normalise over the samples: s_ik, (B, K, N), and log N_k, (B, K), from log w_i r_ik."""
    share = log_masses.softmax(-1)
    return share, log_masses.amax(-1) - share.amax(-1).log()
