"""Draw from the components of a mixture with given responsibilities, as one differentiable operation.

Shapes: B replicates, P particles, K components, D dimensions; the rest as in `em`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.gaussians import cholesky, em, em_adjoint
from mbrl_agent.gaussians.cholesky import factorise
from mbrl_agent.gaussians.em import Samples
from mbrl_agent.vjp import Gradients, PullBack


class Labelled(NamedTuple):
    """Particles that have been clustered, and the component that each has drawn.

    All but the particles is held constant in the backward pass.

    Attributes:
        samples: The particles, standardised.
        share: r_ik / N_k, (B, K, P).
        log_mass: log N_k up to a constant, (B, K).
        matrix: M, (B, K, K), which mixes the components' scatter matrices.
        is_label: (B, K, P), once True for every particle.
    """

    samples: Samples
    share: Tensor
    log_mass: Tensor
    matrix: Tensor
    is_label: Tensor


def labelled_redraw_vjp(noise: Tensor, labelled: Labelled) -> tuple[tuple[Tensor, Tensor], PullBack]:
    """Draw every particle from the component that is its label.

        z_i = mu_k + L_k eps_i,  L_k L_k^T = sum_j M_kj scatter_j,  k the label of i

    with mean and scatter weighted by the shares. With S the derivative by L L^T, that by scatter_j is
    sum_k M_kj S_k.

    Args:
        noise: eps, standard normal, (B, P, D).
        labelled: The particles.

    Returns:
        The draws (B, P, D), and the largest jitter (B) as in `factorise`; and the pull-back from the
        derivative by the draws to that by the particles.
    """
    samples, share, _, matrix, is_label = labelled
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


def pull_back_scores(labelled: Labelled, by_scores: Tensor) -> Tensor:
    """Compute the derivative by the particles of the log-probability with which each has drawn its label.

        log r_i,k(i),  r_ik = W_k N(x_i | mu_k, Sigma_k) / sum_j W_j N(x_i | mu_j, Sigma_j),

    one E step, W constant, with mean and covariance as in `labelled_redraw_vjp`: they move with the
    particles, while the shares that weigh them do not. A cloud that moves as a whole so leaves r as it is.

    Args:
        labelled: The particles.
        by_scores: Derivative by log r_i,k(i), (B, P).

    Returns:
        (B, P, D).
    """
    samples, share, log_mass, matrix, is_label = labelled
    D = samples.scale.shape[-1]
    moments = em.maximise(samples, share)
    covariance = em.mixed(matrix, em.covariances(moments)[:, :D, :D])
    corner = torch.nn.functional.pad(covariance, (0, 1, 0, 1))
    corner[:, D, D] = 1
    densities = em.expect(samples, log_mass, corner, moments.centred)
    by_joint = by_scores.unsqueeze(-2) * (is_label.to(share) - densities.log_joint.softmax(-2))
    into = em_adjoint.Adjoint.zeros(samples)
    by_corner, _ = em_adjoint.expect_adjoint(samples, densities, into, by_joint.contiguous())
    by_scatter = em.mixed(matrix.mT, by_corner[:, :D, :D])  # (means are not mixed)
    em_adjoint.samples_adjoint(moments, into, em_adjoint.bordered(by_scatter, 2 * by_corner[:, :D, D]), None)
    return into.points[:, :D].mT / samples.scale.unsqueeze(-2)
