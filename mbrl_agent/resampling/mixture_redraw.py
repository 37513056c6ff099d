"""One step of mixture resampling, Algorithm 1 of the paper, as a single differentiable operation.

Shapes as in `em`: B replicates, N particles, K components, D dimensions, H = D + 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mbrl_agent.resampling import em, em_adjoint
from mbrl_agent.resampling.em import Densities, Moments, Samples
from mbrl_agent.resampling.moments import robust_cholesky


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
        factor: L_k, (B K, D, D).
        scatter: (B K, D, D).
        bessel: n_k / (n_k - 1), (B, K).
        weights: W, (B, K).
    """

    noise: Tensor
    blocks: Tensor
    factor: Tensor
    scatter: Tensor
    bessel: Tensor
    weights: Tensor

    def noise_adjoint(self, particles: Tensor) -> Tensor:
        """Derivative with respect to the noise, from that of the particles, (B, N, D)."""
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


def mixture_redraw(
    mean: Tensor,
    std: Tensor,
    noise: Tensor,
    log_weights: Tensor,
    iterations: int,
    detach_responsibilities: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
        (*R, K), and the largest jitter (*R) as in `robust_cholesky`.
    """
    replicates, flat = mean.shape[:-2], (-1, *mean.shape[-2:])
    out: tuple[Tensor, ...] = _MixtureRedraw.apply(  # type: ignore[no-untyped-call]
        mean.reshape(flat),
        std.reshape(flat),
        noise.reshape(flat),
        log_weights.reshape(-1, log_weights.shape[-1]),
        iterations,
        detach_responsibilities,
    )
    particles, shares, log_weights, jitter = (part.view(replicates + part.shape[1:]) for part in out)
    return particles, shares, log_weights, jitter


class _MixtureRedraw(torch.autograd.Function):
    """`mixture_redraw` for one replicate axis, differentiated by the equations of `em_adjoint`."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        std: Tensor,
        noise: Tensor,
        log_weights: Tensor,
        iterations: int,
        detach_responsibilities: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        K, N = log_weights.shape[-1], mean.shape[-2]
        samples = em.standardise(mean, std)
        log_sample_weights = _spread(log_weights, N).unsqueeze(-2)
        start = moments = em.maximise(samples, _own_shares(mean, K), correction=N / (N - K))
        log_mass = log_weights
        steps = []
        for _ in range(iterations):
            densities = em.expect(samples, log_mass, em.covariances(moments), moments.centred)
            log_responsibilities = densities.log_joint.log_softmax(-2)
            share, log_mass = em.normalise(log_responsibilities + log_sample_weights)
            moments = em.maximise(samples, share)
            steps.append(Iteration(densities, log_responsibilities, moments))
        new_log_weights = log_mass.log_softmax(-1)
        particles, jitter, drawn = draw(samples, moments, new_log_weights, noise)
        particle_weights = _spread(drawn.weights * (K / N), N)
        # kept as they are: none of them is an argument or a result, which would make a cycle
        ctx.samples, ctx.std, ctx.start, ctx.steps, ctx.drawn = samples, std, start, steps, drawn
        ctx.detach = detach_responsibilities
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(jitter)
        if detach_responsibilities and not ctx.needs_input_grad[3]:
            ctx.mark_non_differentiable(particle_weights, new_log_weights, jitter)
        return particles, particle_weights, new_log_weights, jitter

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        particles: Tensor | None,
        particle_weights: Tensor | None,
        log_weights: Tensor | None,
        jitter: None,
    ) -> tuple[Tensor | None, ...]:
        samples, drawn, weights = ctx.samples, ctx.drawn, ctx.drawn.weights
        (B, K), N = weights.shape, samples.points.shape[-1]
        if particles is None:
            particles = weights.new_zeros(B, N, samples.scale.shape[-1])
        into = em_adjoint.Adjoint.zeros(samples)
        covariance, variance, concentration = draw_adjoint(samples, drawn, particles)
        of_weights = torch.zeros_like(weights) if log_weights is None else log_weights
        if particle_weights is not None:
            of_weights = of_weights + weights * (K / N) * particle_weights.view(B, -1, K).sum(-2)
        log_mass = of_weights - weights * of_weights.sum(-1, keepdim=True)
        log_sample_weights = torch.zeros_like(samples.points[:, :, 0])
        last = ctx.steps[-1].moments
        for densities, log_responsibilities, moments in reversed(ctx.steps):
            em_adjoint.samples_adjoint(moments, into, covariance, variance)
            share = em_adjoint.share_adjoint(samples, moments, covariance, variance)
            if moments is last:
                share.addcmul_(moments.share, concentration.unsqueeze(-1), value=2)
            log_masses = em_adjoint.normalise_adjoint(moments.share, share, log_mass)
            total = log_masses.sum(-2, keepdim=True)
            log_sample_weights += total
            if ctx.detach:
                log_mass = torch.zeros_like(log_mass)
                break
            joint = torch.addcmul(log_masses, log_responsibilities.exp(), total, value=-1)
            covariance, log_mass = em_adjoint.expect_adjoint(samples, densities, into, joint)
            variance = covariance.diagonal(dim1=-2, dim2=-1).view(B, K, -1)
        else:
            em_adjoint.samples_adjoint(ctx.start, into, covariance, variance)
        mean, std = into.unscaled(samples, ctx.std)
        noise = drawn.noise_adjoint(particles) if ctx.needs_input_grad[2] else None
        log_weights = log_mass + log_sample_weights.view(B, -1, K).sum(-2)
        return mean, std, noise, log_weights, None, None


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
    factor, jitter = robust_cholesky(variance.addcmul_(bessel.view(-1, 1, 1), scatter))
    scale = samples.scale.unsqueeze(-2)
    mean = torch.addcmul(samples.centre.unsqueeze(-2), scale, moments.mean)
    # One product with the factors as blocks of a matrix: K particles in a row are a row of K D numbers.
    # Component by component, particles would have to be gathered from memory and scattered back.
    eye = torch.eye(K, dtype=noise.dtype, device=noise.device).view(K, 1, K, 1)
    rows = factor.mT.view(B, K, D, 1, D) * scale.view(B, 1, 1, 1, D)
    blocks = (rows * eye).view(B, K * D, K * D)
    eps = noise.reshape(B, N // K, K * D)
    particles = torch.baddbmm(mean.view(B, 1, K * D), eps, blocks).view(B, N, D)
    return particles, jitter.view(B, K).amax(-1), Draw(eps, blocks, factor, scatter, bessel, weights)


def draw_adjoint(samples: Samples, drawn: Draw, particles: Tensor) -> DrawAdjoint:
    """Adjoint of `draw`, for z the adjoint of the particles S that of L L^T and b = n / (n - 1).

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
    covariance = em_adjoint.cholesky_adjoint(drawn.factor, factor)
    bordered = em_adjoint.bordered(bessel.view(-1, 1, 1) * covariance, mean)
    variance = covariance.new_zeros(B, K, D + 1)
    variance[..., :D] = covariance.diagonal(dim1=-2, dim2=-1).view(B, K, D)
    slope = bessel.square() * (bessel < 2)
    concentration = slope * (covariance * drawn.scatter).sum((-2, -1)).view(B, K)
    return DrawAdjoint(bordered, variance, concentration)


def _own_shares(particles: Tensor, components: int) -> Tensor:
    """Each component has its own particles, i % K, in equal shares: (B, K, N)."""
    B, N = particles.shape[:2]
    eye = torch.eye(components, dtype=particles.dtype, device=particles.device) * (components / N)
    return _spread(eye, N).expand(B, -1, -1)


def _spread(values: Tensor, num_particles: int) -> Tensor:
    """A value a component, (..., K), to a value a particle, (..., N): particle i takes i % K."""
    *shape, K = values.shape
    return values.unsqueeze(-2).expand(*shape, num_particles // K, K).reshape(*shape, num_particles)
