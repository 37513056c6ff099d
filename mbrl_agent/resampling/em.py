"""Expectation maximisation for a mixture of Gaussians on weighted, uncertain samples; pure functions.

Shapes: N samples (particles), K components, D dimensions, `*R` leading replicate axes. Masses are
carried as logarithms, so that a component may die without a division by zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.resampling.cholesky import robust_cholesky


class MixtureFit(NamedTuple):
    """A mixture of Gaussians whose covariances are kept in two parts.

    Attributes:
        log_weights: log W_k, (*R, K); the W_k sum to one.
        mean: mu_k, (*R, K, D).
        scatter: Covariance of the samples' means around mu_k, (*R, K, D, D).
        variance: Average of the samples' own variances S_i, (*R, K, D).
    """

    log_weights: Tensor
    mean: Tensor
    scatter: Tensor
    variance: Tensor

    @property
    def covariance(self) -> Tensor:
        """Sigma_k = scatter_k + diag(variance_k), (*R, K, D, D)."""
        return self.scatter + torch.diag_embed(self.variance)


def log_joint(fit: MixtureFit, samples: Tensor, floor: Tensor) -> Tensor:
    """Log-density of sample i and component k: log W_k + log N(m_i | mu_k, Sigma_k).

    The constant -D/2 log(2 pi) is left out.

    Args:
        fit: The mixture.
        samples: m, (*R, N, D).
        floor: Variance added to every Sigma_k, (*R, D).

    Returns:
        (*R, K, N).
    """
    covariance = fit.scatter + torch.diag_embed(fit.variance + floor.unsqueeze(-2))
    factor, _ = robust_cholesky(covariance)
    centred = samples.unsqueeze(-3) - fit.mean.unsqueeze(-2)
    white: Tensor = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
    log_scale = fit.log_weights - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return log_scale.unsqueeze(-1) - 0.5 * white.square().sum(-2)


def maximise(
    log_responsibilities: Tensor, samples: Tensor, variances: Tensor, log_sample_weights: Tensor
) -> MixtureFit:
    """The M step: weighted maximum-likelihood moments of every component.

        N_k = sum_i w_i r_ik,  W_k = N_k / sum_k N_k,  mu_k = sum_i w_i r_ik m_i / N_k,
        Sigma_k = sum_i w_i r_ik [(m_i - mu_k)(m_i - mu_k)^T + diag(S_i)] / N_k

    Args:
        log_responsibilities: log r_ik, (*R, K, N).
        samples: m, (*R, N, D).
        variances: S, (*R, N, D).
        log_sample_weights: log w, (*R, N), up to a constant.
    """
    log_masses = log_responsibilities + log_sample_weights.unsqueeze(-2)
    share = log_masses.softmax(-1)  # (*R, K, N), w_i r_ik / N_k
    mean = share @ samples
    centred = samples.unsqueeze(-3) - mean.unsqueeze(-2)  # (*R, K, N, D)
    return MixtureFit(
        log_weights=log_masses.logsumexp(-1).log_softmax(-1),
        mean=mean,
        scatter=(share.unsqueeze(-1) * centred).mT @ centred,
        variance=share @ variances,
    )


def variance_floor(samples: Tensor, variances: Tensor) -> Tensor:
    """A variance that is nothing next to the spread of all samples, yet not zero: (*R, D).

    It keeps the responsibilities defined where a component, or everything, has collapsed in some
    dimension: eps times the total variance. In a dimension in which nothing varies it is eps, in any
    unit: there it is the same for all components and cancels. It carries no gradient.
    """
    with torch.no_grad():
        total = (samples - samples.mean(-2, keepdim=True)).square().mean(-2) + variances.mean(-2)
        tiny = torch.finfo(total.dtype).tiny ** 0.5
        return torch.where(total > tiny, total, 1.0) * torch.finfo(total.dtype).eps


def weighted_em(
    samples: Tensor,
    variances: Tensor,
    log_sample_weights: Tensor,
    init: MixtureFit,
    iterations: int,
    detach_responsibilities: bool = False,
) -> MixtureFit:
    """Expectation maximisation from a given start, on samples with weights and variances.

    The E step uses the samples m alone; their variances S enter the covariances in the M step. With
    equal weights and S = 0 this is textbook EM: the likelihood never falls.

    Args:
        samples: m, (*R, N, D).
        variances: S, (*R, N, D), zeros for exact samples.
        log_sample_weights: log w, (*R, N), up to a constant.
        init: Where to start.
        iterations: Number of EM iterations.
        detach_responsibilities: Hold the responsibilities constant in the backward pass.

    Returns:
        The mixture after the last M step.

    Reference:
        Parmas, Peters, Doya, Algorithm 1, step 3.
    """
    floor = variance_floor(samples, variances)
    fit = init
    for _ in range(iterations):
        log_responsibilities = log_joint(fit, samples, floor).log_softmax(-2)
        if detach_responsibilities:
            log_responsibilities = log_responsibilities.detach()
        fit = maximise(log_responsibilities, samples, variances, log_sample_weights)
    return fit
