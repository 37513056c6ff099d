"""Draw from the components of a mixture with given responsibilities, as one differentiable operation.

Shapes: B replicates, P particles, K components, D dimensions; the rest as in `em`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mbrl_agent.resampling import em, em_adjoint
from mbrl_agent.resampling.em import Samples
from mbrl_agent.resampling.moments import robust_cholesky


def labelled_redraw(
    particles: Tensor, noise: Tensor, samples: Samples, share: Tensor, matrix: Tensor, is_label: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw every particle from the component that is its label.

        z_i = mu_k + L_k eps_i,  L_k L_k^T = sum_j M_kj scatter_j,  k the label of i

    with mean and scatter weighted by the shares. Shares, M and labels are constants for the gradient.

    Args:
        particles: x, (B, P, D).
        noise: eps, standard normal, (B, P, D).
        samples: The particles, standardised.
        share: r_ik / N_k, (B, K, P).
        matrix: M, (B, K, K).
        is_label: (B, K, P), once True for every particle.

    Returns:
        The draws (B, P, D), and the largest jitter (B) as in `robust_cholesky`.
    """
    out: tuple[Tensor, Tensor] = _LabelledRedraw.apply(  # type: ignore[no-untyped-call]
        particles, noise, samples, share, matrix, is_label
    )
    return out


class _LabelledRedraw(torch.autograd.Function):
    """`labelled_redraw` with its adjoint written out."""

    @staticmethod
    def forward(
        ctx: Any,
        particles: Tensor,
        noise: Tensor,
        samples: Samples,
        share: Tensor,
        matrix: Tensor,
        is_label: Tensor,
    ) -> tuple[Tensor, Tensor]:
        B, K, D = *share.shape[:2], particles.shape[-1]
        moments = em.maximise(samples, share)
        scatter = em.covariances(moments)[:, :D, :D]
        factor, jitter = robust_cholesky(em.mixed(matrix, scatter))
        scale = samples.scale.unsqueeze(-2)
        mean = torch.addcmul(samples.centre.unsqueeze(-2), scale, moments.mean).unsqueeze(-2)
        rows = torch.cat([mean, factor.mT.reshape(B, K, D, D) * scale.unsqueeze(-2)], -2)  # (B, K, 1 + D, D)
        # one matrix product, which is cheaper than picking row by row
        one_and_noise = torch.cat([torch.ones_like(noise[..., :1]), noise], -1).unsqueeze(-2)
        chosen = (is_label.mT.unsqueeze(-1) * one_and_noise).flatten(-2)  # (B, P, K (1 + D))
        ctx.samples, ctx.moments, ctx.matrix = samples, moments, matrix
        ctx.factor, ctx.chosen = factor, chosen
        jitter = jitter.view(B, K).amax(-1)
        ctx.mark_non_differentiable(jitter)
        return torch.bmm(chosen, rows.flatten(1, 2)), jitter

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, particles: Tensor, jitter: None) -> tuple[Tensor | None, ...]:
        """With S the adjoint of L L^T: that of scatter_j is sum_k M_kj S_k."""
        samples, moments = ctx.samples, ctx.moments
        B, K, D = moments.mean.shape
        rows = torch.bmm(ctx.chosen.mT, particles * samples.scale.unsqueeze(-2)).view(B * K, D + 1, D)
        covariance = em_adjoint.cholesky_adjoint(ctx.factor, rows[:, 1:].mT)
        scatter = em.mixed(ctx.matrix.mT, covariance)
        into = em_adjoint.Adjoint.zeros(samples)
        em_adjoint.samples_adjoint(moments, into, em_adjoint.bordered(scatter, rows[:, 0]), None)
        return into.points[:, :D].mT / samples.scale.unsqueeze(-2), None, None, None, None, None
