"""Draw from the components of a mixture with given responsibilities, as one differentiable operation.

Shapes: B replicates, P particles, K components, D dimensions; the rest as in `em`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agent.gaussians import cholesky, em, em_adjoint
from mbrl_agent.gaussians.cholesky import factorise
from mbrl_agent.gaussians.em import Samples
from mbrl_agent.vjp import Gradients, PullBack


def labelled_redraw_vjp(
    noise: Tensor, samples: Samples, share: Tensor, matrix: Tensor, is_label: Tensor
) -> tuple[tuple[Tensor, Tensor], PullBack]:
    """Draw every particle from the component that is its label.

        z_i = mu_k + L_k eps_i,  L_k L_k^T = sum_j M_kj scatter_j,  k the label of i

    with mean and scatter weighted by the shares. Shares, M and labels are constants for the gradient: with S
    the derivative by L L^T, that by scatter_j is sum_k M_kj S_k.

    Args:
        noise: eps, standard normal, (B, P, D).
        samples: The particles, standardised.
        share: r_ik / N_k, (B, K, P).
        matrix: M, (B, K, K).
        is_label: (B, K, P), once True for every particle.

    Returns:
        The draws (B, P, D), and the largest jitter (B) as in `factorise`; and the pull-back from the
        derivative by the draws to that by the particles.
    """
    B, K, D = *share.shape[:2], noise.shape[-1]
    moments = em.maximise(samples, share)
    scatter = em.covariances(moments)[:, :D, :D]
    fit = factorise(em.mixed(matrix, scatter))
    scale = samples.scale.unsqueeze(-2)
    mean = torch.addcmul(samples.centre.unsqueeze(-2), scale, moments.mean).unsqueeze(-2)
    rows = torch.cat([mean, fit.factor.mT.reshape(B, K, D, D) * scale.unsqueeze(-2)], -2)  # (B, K, 1 + D, D)
    # one matrix product, which is cheaper than picking row by row
    one_and_noise = torch.cat([torch.ones_like(noise[..., :1]), noise], -1).unsqueeze(-2)
    chosen = (is_label.mT.unsqueeze(-1) * one_and_noise).flatten(-2)  # (B, P, K (1 + D))

    def pull_back(by_draw: Tensor, by_jitter: Tensor | None = None) -> Gradients:
        by_rows = torch.bmm(chosen.mT, by_draw * scale).view(B * K, D + 1, D)
        by_covariance = cholesky.pull_back(fit, by_rows[:, 1:].mT)
        by_scatter = em.mixed(matrix.mT, by_covariance)
        into = em_adjoint.Adjoint.zeros(samples)
        em_adjoint.samples_adjoint(moments, into, em_adjoint.bordered(by_scatter, by_rows[:, 0]), None)
        return (into.points[:, :D].mT / scale,)

    return (torch.bmm(chosen, rows.flatten(1, 2)), fit.jitter.view(B, K).amax(-1)), pull_back
