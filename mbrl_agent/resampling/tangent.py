"""Tangent projection: leave the particles alone and smooth their derivatives by regression on the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.resampling.cholesky import robust_cholesky
from mbrl_agent.resampling.clusters import fit_components, soft_clusters
from mbrl_agent.resampling.em import variance_floor
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.validation import require_count


@dataclass(frozen=True)
class Tangent(Resampler):
    """Keep the particles, and replace their derivatives by what the state predicts of them.

    z_i = x_i in value, so that the predicted distribution is that of `NoResampling`. Only derivatives
    change: the tangents v_i = dx_i/dtheta, which explode particle by particle, become (H v)_i, where H
    is a piecewise affine regression of v on x. In the backward pass the adjoints g become H^T g:

        H = sum_k R_k Phi (Phi^T R_k Phi)^-1 Phi^T R_k,  R_k = diag(r_k),  Phi_i = (1, x_i),

    with responsibilities r_ik of K clusters, found by EM without gradient and carried from step to step.
    The weights stand on both sides, so H is symmetric and H^T g = H g. It is a contraction; it keeps
    every affine field of tangents, H 1 = 1 among them; it carries no gradient itself.

    Why it may: for a Markov rollout dE[c]/dtheta = E[grad c(x) . E[v | x]], so only the conditional mean
    of the tangents given the state counts. On a linear system with Gaussian noise that mean is affine,
    and the gradient is unbiased. Elsewhere the bias is that of the regression.

    `mixes_particles` is False: it is about values, and no particle's value depends on the others, which
    is all that likelihood-ratio estimators ask. They do not use the backward pass of a resampler, and
    under them this strategy is the same as `NoResampling`. Combine it with "reparameterization".

    This strategy is not from the literature: it was derived and measured for this package.

    Raises:
        ValueError: `components` or `em_iterations` below 1.
        TypeError: An option of the wrong type.
    """

    name: ClassVar[str] = "tangent"
    mixes_particles: ClassVar[bool] = False

    components: int = 3
    """Number of affine pieces K of the regression, at least 1."""
    em_iterations: int = 2
    """Number of EM iterations in each time step after the first (which takes 8), at least 1."""

    def __post_init__(self) -> None:
        require_count(self.called("components"), self.components)
        require_count(self.called("em_iterations"), self.em_iterations)

    @property
    def exact_gradient(self) -> bool:
        """False: the values are those of the particles, the derivatives are not."""
        return False

    def min_particles(self, state_dims: int) -> int:
        """One more particle a component, on average, than an affine regression has coefficients."""
        return self.components * (state_dims + 2)

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Return the particles with projected derivatives, with equal weights. See `Resampler.__call__`.

        `state` is log r_ik of the step before, (*R, K, P).
        """
        log_responsibilities = soft_clusters(particles, state, self.components, self.em_iterations)
        basis, jitter = projection_basis(particles, log_responsibilities)
        tangents = particles - particles.detach()  # zero in value
        kept = particles.detach() + basis @ (basis.mT @ tangents)
        return Resampled(kept, equal_weights(kept), state=log_responsibilities, jitter=jitter.amax(-1))


@torch.no_grad()
def projection_basis(particles: Tensor, log_responsibilities: Tensor) -> tuple[Tensor, Tensor]:
    """A tall matrix A with H = A A^T: in every component 1 and the whitened state, orthonormal under r_k.

        A_k = diag(r_k) [1, (x - mu_k) L_k^-T] / sqrt(N_k),  L_k L_k^T = sum_i r_ik (...)(...)^T / N_k

    Args:
        particles: x, (*R, P, D).
        log_responsibilities: log r_ik, (*R, K, P).

    Returns:
        A, (*R, P, K (1 + D)), and the jitter (*R, K) as in `robust_cholesky`.
    """
    fit = fit_components(log_responsibilities, particles)
    floor = variance_floor(particles, torch.zeros_like(particles))
    factor, jitter = robust_cholesky(fit.scatter + torch.diag_embed(floor.unsqueeze(-2).expand_as(fit.mean)))
    centred = particles.unsqueeze(-3) - fit.mean.unsqueeze(-2)  # (*R, K, P, D)
    white: Tensor = torch.linalg.solve_triangular(factor, centred.mT, upper=False)  # (*R, K, D, P)
    features = torch.cat([torch.ones_like(white[..., :1, :]), white], -2)
    log_mass = log_responsibilities.logsumexp(-1, keepdim=True)  # log N_k
    rows = (log_responsibilities - 0.5 * log_mass).exp().unsqueeze(-2) * features  # (*R, K, 1 + D, P)
    return rows.flatten(-3, -2).mT, jitter
