"""Plain formulations of the mixture strategies, differentiated by autograd: the tests' reference.

Shapes: N samples (particles), K components, D dimensions, `*R` leading replicate axes. Masses are
carried as logarithms, so that a component may die without a division by zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.gaussians.cholesky import robust_cholesky
from mbrl_agent.gaussians.clusters import FIRST_ITERATIONS, label_shares
from mbrl_agent.resampling.detached_mixture import draw_labels


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


def split(values, components):
    """(*R, N, D) to (*R, K, N/K, D) with particle i in component i % K."""
    return values.reshape(*values.shape[:-2], -1, components, values.shape[-1]).transpose(-3, -2)


def spread(values, num_particles):
    """A value a component, (*R, K), to a value a particle, (*R, N): particle i takes i % K."""
    repeats = num_particles // values.shape[-1]
    return values.unsqueeze(-2).expand(*values.shape[:-1], repeats, values.shape[-1]).flatten(-2)


def mixture_redraw(mean, std, noise, log_weights, iterations, detach_responsibilities):
    """Algorithm 1: the particles, their share of the mass, log W and the largest jitter."""
    components, count = log_weights.shape[-1], mean.shape[-2]
    variances = std.square()
    own = split(mean, components)
    own_mean = own.mean(-2)
    centred = own - own_mean.unsqueeze(-2)
    scatter = centred.mT @ centred / (own.shape[-2] - 1)
    init = MixtureFit(log_weights, own_mean, scatter, split(variances, components).mean(-2))
    log_sample_weights = spread(log_weights, count)
    before = weighted_em(mean, variances, log_sample_weights, init, iterations - 1, detach_responsibilities)
    log_responsibilities = log_joint(before, mean, variance_floor(mean, variances)).log_softmax(-2)
    if detach_responsibilities:
        log_responsibilities = log_responsibilities.detach()
    fit = maximise(log_responsibilities, mean, variances, log_sample_weights)
    share = (log_responsibilities + log_sample_weights.unsqueeze(-2)).softmax(-1)
    effective = share.square().sum(-1).reciprocal().clamp(min=2.0)
    bessel = effective / (effective - 1)
    covariance = bessel[..., None, None] * fit.scatter + torch.diag_embed(fit.variance)
    factor, jitter = robust_cholesky(covariance)
    drawn = fit.mean.unsqueeze(-2) + split(noise, components) @ factor.mT
    weights = spread(fit.log_weights.exp() * components / count, count)
    return drawn.transpose(-3, -2).flatten(-3, -2), weights, fit.log_weights, jitter.amax(-1)


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
    particles: Tensor, previous: Tensor | None, components: int, iterations: int, shrinkage: float
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


def detached_redraw(particles, noise, previous, components, iterations, shrinkage):
    """One step of detached mixture resampling: the draws and the labels' log-shares."""
    log_responsibilities = soft_clusters(particles, previous, components, iterations, shrinkage)
    is_label = draw_labels(log_responsibilities.exp(), noise[..., -1])
    fit = fit_components(log_responsibilities, particles)
    factor, _ = robust_cholesky(shrunk_covariance(fit, particles.shape[-2], shrinkage))
    every = fit.mean.unsqueeze(-2) + noise[..., :-1].unsqueeze(-3) @ factor.mT  # (*R, K, P, D)
    drawn = torch.where(is_label.unsqueeze(-1), every, 0.0).sum(-3)
    return drawn, label_shares(is_label, particles.dtype)
