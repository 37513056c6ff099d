"""One step of mixture resampling, Algorithm 1 of the paper, as a single differentiable operation.

Shapes as in `em`: B replicates, N particles, K components, D dimensions, H = D + 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.gaussians import cholesky, em, em_adjoint
from mbrl_agent.gaussians.cholesky import Factorisation, factorise
from mbrl_agent.gaussians.em import Densities, Moments, Samples
from mbrl_agent.vjp import Gradients, PullBack


class Iteration(NamedTuple):
    """What one EM iteration leaves to the backward pass.

    Attributes:
        densities: Of the E step.
        log_responsibilities: log r_ik, (B, K, N).
        moments: Of the M step.
    """

    densities: Densities
    log_responsibilities: Tensor
    moments: Moments


class Draw(NamedTuple):
    """What the draw leaves to the backward pass; standardised units.

    Attributes:
        noise: eps, (B, N / K, K D).
        blocks: The L_k^T on the diagonal, in the units of the samples, (B, K D, K D).
        fit: L_k and what its derivative needs, (B K, ...).
        scatter: (B K, D, D).
        bessel: n_k / (n_k - 1), (B, K).
        weights: W, (B, K).
    """

    noise: Tensor
    blocks: Tensor
    fit: Factorisation
    scatter: Tensor
    bessel: Tensor
    weights: Tensor

    def noise_adjoint(self, particles: Tensor) -> Tensor:
        """Compute the derivative with respect to the noise, from that of the particles, (B, N, D)."""
        return torch.bmm(particles.reshape(self.noise.shape), self.blocks.mT).view_as(particles)


class DrawAdjoint(NamedTuple):
    """Derivatives of the loss with respect to what `draw` starts from, standardised units.

    Attributes:
        covariance: Of the scatter; its last column is half that of the mean, (B K, H, H).
        variance: Of the average variances, (B, K, H).
        concentration: Of sum_i s_ik^2, (B, K).
    """

    covariance: Tensor
    variance: Tensor
    concentration: Tensor


def mixture_redraw_vjp(
    mean: Tensor,
    std: Tensor,
    noise: Tensor,
    log_weights: Tensor,
    iterations: int,
    detach_responsibilities: bool,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], PullBack]:
    """Fit a mixture to weighted predictions by EM and draw N/K particles from each of its components.

    Args:
        mean: m, (*R, N, D).
        std: sqrt(S), (*R, N, D).
        noise: eps, standard normal, (*R, N, D).
        log_weights: log W of the components that the particles were drawn from, (*R, K).
        iterations: EM iterations M.
        detach_responsibilities: Hold the responsibilities constant in the backward pass.

    Returns:
        The particles (*R, N, D), each one's share W_k K / N of the mass (*R, N), log W of the components
        (*R, K), and the largest jitter (*R) as in `factorise`; and the pull-back from the derivatives by
        the first three to those by `mean`, `std`, `noise` and `log_weights`.
    """
    replicates, (N, D), K = mean.shape[:-2], mean.shape[-2:], log_weights.shape[-1]
    mean, std, noise = (values.reshape(-1, N, D) for values in (mean, std, noise))
    log_weights = log_weights.reshape(-1, K)
    samples = em.standardise(mean, std)
    start = em.maximise(samples, _own_shares(N, K, mean), correction=N / (N - K))
    steps, new_log_weights = _iterate(samples, start, log_weights, iterations)
    moments = steps[-1].moments if steps else start
    particles, jitter, drawn = draw(samples, moments, new_log_weights, noise)
    shares = _spread(drawn.weights * (K / N), N)
    record = _Record(samples, std, start, steps, drawn, detach_responsibilities)

    def pull_back(
        by_particles: Tensor | None,
        by_shares: Tensor | None,
        by_log_weights: Tensor | None,
        by_jitter: Tensor | None = None,
    ) -> Gradients:
        by_outputs = (
            by_particles.reshape(-1, N, D) if by_particles is not None else torch.zeros_like(mean),
            None if by_shares is None else by_shares.reshape(-1, N),
            None if by_log_weights is None else by_log_weights.reshape(-1, K),
        )
        found = _pull_back(record, *by_outputs)
        return tuple(part.reshape(replicates + part.shape[1:]) for part in found)

    outputs = (particles, shares, new_log_weights, jitter)
    first, second, third, fourth = (part.view(replicates + part.shape[1:]) for part in outputs)
    return (first, second, third, fourth), pull_back


def _iterate(
    samples: Samples, start: Moments, log_weights: Tensor, iterations: int
) -> tuple[list[Iteration], Tensor]:
    """Run EM from some moments; return its iterations, and log W of the components (B, K)."""
    log_sample_weights = _spread(log_weights, samples.points.shape[-1]).unsqueeze(-2)
    moments, log_mass = start, log_weights
    steps = []
    for _ in range(iterations):
        densities = em.expect(samples, log_mass, em.covariances(moments), moments.centred)
        log_responsibilities = densities.log_joint.log_softmax(-2)
        share, log_mass = em.normalise(log_responsibilities + log_sample_weights)
        moments = em.maximise(samples, share)
        steps.append(Iteration(densities, log_responsibilities, moments))
    return steps, log_mass.log_softmax(-1)


class _Record(NamedTuple):
    """What a step leaves to the backward pass."""

    samples: Samples
    std: Tensor
    start: Moments
    steps: list[Iteration]
    drawn: Draw
    detach_responsibilities: bool


def _pull_back(
    record: _Record, particles: Tensor, shares: Tensor | None, log_weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Go back by the equations of `em_adjoint`: (by_mean, by_std, by_noise, by_log_weights)."""
    samples, drawn, weights = record.samples, record.drawn, record.drawn.weights
    (B, K), N = weights.shape, samples.points.shape[-1]
    into = em_adjoint.Adjoint.zeros(samples)
    covariance, variance, concentration = draw_adjoint(samples, drawn, particles)
    of_weights = torch.zeros_like(weights) if log_weights is None else log_weights
    if shares is not None:
        of_weights = of_weights + weights * (K / N) * shares.view(B, -1, K).sum(-2)
    log_mass = of_weights - weights * of_weights.sum(-1, keepdim=True)
    log_sample_weights = torch.zeros_like(samples.points[:, :, 0])
    last = record.steps[-1].moments
    for densities, log_responsibilities, moments in reversed(record.steps):
        em_adjoint.samples_adjoint(moments, into, covariance, variance)
        share = em_adjoint.share_adjoint(samples, moments, covariance, variance)
        if moments is last:
            share.addcmul_(moments.share, concentration.unsqueeze(-1), value=2)
        log_masses = em_adjoint.normalise_adjoint(moments.share, share, log_mass)
        total = log_masses.sum(-2, keepdim=True)
        log_sample_weights += total
        if record.detach_responsibilities:
            log_mass = torch.zeros_like(log_mass)
            break
        joint = torch.addcmul(log_masses, log_responsibilities.exp(), total, value=-1)
        covariance, log_mass = em_adjoint.expect_adjoint(samples, densities, into, joint)
        variance = covariance.diagonal(dim1=-2, dim2=-1).view(B, K, -1)
    else:
        em_adjoint.samples_adjoint(record.start, into, covariance, variance)
    mean, std = into.unscaled(samples, record.std)
    by_log_weights = log_mass + log_sample_weights.view(B, -1, K).sum(-2)
    return mean, std, drawn.noise_adjoint(particles), by_log_weights


def draw(
    samples: Samples, moments: Moments, log_weights: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Draw]:
    """Draw N/K particles from each component.

        z_i = mu_k + L_k eps_i,  L_k L_k^T = n_k / (n_k - 1) scatter_k + diag(V_k),  k = i % K

    with n_k = 1 / sum_i s_ik^2, the effective number of samples (Kish) behind the component's moments. Its
    mass does not tell: a component of hardly any mass still has N/K particles of its own, and to correct
    it as if it had seen a fraction of one lets it grow from step to step without end.

    Args:
        samples: Their units.
        moments: The components.
        log_weights: log W, (B, K).
        noise: eps, (B, N, D).

    Returns:
        The particles (B, N, D), the largest jitter (B), and what the adjoint needs.
    """
    (B, K), (N, D) = log_weights.shape, noise.shape[-2:]
    weights = log_weights.exp()
    concentration = moments.share.square().sum(-1).clamp_(max=0.5)  # below 2 samples, no more than doubled
    bessel = (1 - concentration).reciprocal_()
    scatter = torch.bmm(moments.weighted[:, :D], moments.centred[:, :D].mT)
    variance = torch.diag_embed(moments.variance[..., :D]).view(-1, D, D)
    fit = factorise(variance.addcmul_(bessel.view(-1, 1, 1), scatter))
    scale = samples.scale.unsqueeze(-2)
    mean = torch.addcmul(samples.centre.unsqueeze(-2), scale, moments.mean)
    # One product with the factors as blocks of a matrix: K particles in a row are a row of K D numbers.
    # Component by component, particles would have to be gathered from memory and scattered back.
    rows = fit.factor.mT.view(B, K, D, 1, D) * scale.view(B, 1, 1, 1, D)
    blocks = (rows * _block_mask(K, noise.dtype, noise.device)).view(B, K * D, K * D)
    eps = noise.reshape(B, N // K, K * D)
    particles = torch.baddbmm(mean.view(B, 1, K * D), eps, blocks).view(B, N, D)
    return particles, fit.jitter.view(B, K).amax(-1), Draw(eps, blocks, fit, scatter, bessel, weights)


def draw_adjoint(samples: Samples, drawn: Draw, particles: Tensor) -> DrawAdjoint:
    """Return the adjoint of `draw`, for z the adjoint of the particles S that of L L^T and b = n / (n - 1).

        d/dmu_k = sum_i z_i,  d/dL_k = sum_i z_i eps_i^T,  d/dscatter_k = b_k S_k,
        d/dV_k = diag(S_k),  d/d(1 / n_k) = b_k^2 <S_k, scatter_k>

    Args:
        samples: Their units.
        drawn: What `draw` returned.
        particles: z, (B, N, D).
    """
    (B, K), D, bessel = drawn.bessel.shape, particles.shape[-1], drawn.bessel
    flat = particles.reshape(drawn.noise.shape)
    scale = samples.scale.unsqueeze(-2)
    blocks = torch.bmm(drawn.noise.mT, flat).view(B, K, D, K, D).diagonal(dim1=1, dim2=3)  # (B, D, D, K)
    factor = (blocks.permute(0, 3, 2, 1) * scale.unsqueeze(-1)).reshape(-1, D, D)
    mean = (flat.sum(-2).view(B, K, D) * scale).view(-1, D)
    covariance = cholesky.pull_back(drawn.fit, factor)
    bordered = em_adjoint.bordered(bessel.view(-1, 1, 1) * covariance, mean)
    variance = covariance.new_zeros(B, K, D + 1)
    variance[..., :D] = covariance.diagonal(dim1=-2, dim2=-1).view(B, K, D)
    slope = bessel.square() * (bessel < 2)
    concentration = slope * (covariance * drawn.scatter).sum((-2, -1)).view(B, K)
    return DrawAdjoint(bordered, variance, concentration)


def _own_shares(num_particles: int, components: int, like: Tensor) -> Tensor:
    """Give each component its own particles, i % K, in equal shares: (B, K, N) with the B of `like`."""
    shares = _cached_own_shares(num_particles, components, like.dtype, like.device)
    return shares.expand(like.shape[0], -1, -1)


@lru_cache(maxsize=16)
def _cached_own_shares(
    num_particles: int, components: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    eye = torch.eye(components, dtype=dtype, device=device) * (components / num_particles)
    return _spread(eye, num_particles)


@lru_cache(maxsize=16)
def _block_mask(components: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make ones on the diagonal of K x K blocks: (K, 1, K, 1)."""
    return torch.eye(components, dtype=dtype, device=device).view(components, 1, components, 1)


def _spread(values: Tensor, num_particles: int) -> Tensor:
    """Expand a value a component, (..., K), to a value a particle, (..., N): particle i takes i % K."""
    *shape, K = values.shape
    return values.unsqueeze(-2).expand(*shape, num_particles // K, K).reshape(*shape, num_particles)
