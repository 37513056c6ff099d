"""Tangent projection: leave the particles alone and smooth their derivatives by regression on the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.gaussians import em
from mbrl_agent.gaussians.cholesky import robust_cholesky
from mbrl_agent.gaussians.clusters import soft_clusters
from mbrl_agent.gaussians.em import Samples
from mbrl_agent.options.validation import require_count, require_flag
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack


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

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> Tangent(components=1)(prediction, particles, torch.zeros(3, 1), None).particles.squeeze(-1)
        tensor([0., 2., 4.])
    """

    name: ClassVar[str] = "tangent"
    mixes_particles: ClassVar[bool] = False

    components: int = 3
    """Number of affine pieces K of the regression, at least 1."""
    em_iterations: int = 2
    """Number of EM iterations in each time step after the first (which takes 8), at least 1."""
    wrap: bool = False
    """Whether angles are fitted on the turn of their circular mean, which the regression then sees."""

    def __post_init__(self) -> None:
        require_count(self.called("components"), self.components)
        require_count(self.called("em_iterations"), self.em_iterations)
        require_flag(self.called("wrap"), self.wrap)

    @property
    def exact_gradient(self) -> bool:
        """False: the values are those of the particles, the derivatives are not."""
        return False

    def carry(self, state: Tensor, index: Tensor) -> Tensor:
        """Carry the responsibilities (*R, K, P) with their particles. See `Resampler.carry`."""
        return state.take_along_dim(index.unsqueeze(-2), -1)

    def min_particles(self, state_dims: int) -> int:
        """Require one more particle a component, on average, than an affine regression has coefficients."""
        return self.components * (state_dims + 2)

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Return the particles with projected derivatives, with equal weights. See `Resampler.__call__`.

        `state` is log r_ik of the step before, (*R, K, P).
        """
        basis, carried, jitter = self._basis(particles, state)
        tangents = particles - particles.detach()  # zero in value
        kept = particles.detach() + basis @ (basis.mT @ tangents)
        return Resampled(kept, equal_weights(kept), state=carried, jitter=jitter)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with its derivative g -> H g. See `Resampler.vjp`."""
        basis, carried, jitter = self._basis(particles, state)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            return None, None, basis @ (basis.mT @ by_particles), None

        return Resampled(particles, equal_weights(particles), state=carried, jitter=jitter), pull_back

    def _basis(self, particles: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute a of H = A A^T, (*R, P, K (1 + D)), log r_ik, and the largest jitter (*R)."""
        shape, K = particles.shape, self.components
        samples = em.standardise(particles.detach().reshape(-1, *shape[-2:]))
        previous = None if state is None else state.reshape(-1, K, shape[-2])
        log_responsibilities = soft_clusters(samples, previous, K, self.em_iterations)
        basis, jitter = projection_basis(samples, log_responsibilities)
        carried = log_responsibilities.view(*shape[:-2], K, -1)
        return basis.view(*shape[:-1], -1), carried, jitter.view(*shape[:-2], K).amax(-1)


@torch.no_grad()
def projection_basis(samples: Samples, log_responsibilities: Tensor) -> tuple[Tensor, Tensor]:
    """Compute a tall A with H = A A^T: in every component 1 and the whitened state, orthonormal under r_k.

        A_k = diag(r_k) [1, (x - mu_k) L_k^-T] / sqrt(N_k),  L_k L_k^T = sum_i r_ik (...)(...)^T / N_k

    Args:
        samples: The particles x, (B, P, D).
        log_responsibilities: log r_ik, (B, K, P).

    Returns:
        A, (B, P, K (1 + D)), and the jitter (B K) as in `robust_cholesky`.
    """
    share, log_mass = em.normalise(log_responsibilities)
    moments = em.maximise(samples, share)
    B, K, D = moments.mean.shape
    eye = torch.eye(D, dtype=share.dtype, device=share.device)
    # what has collapsed gets a variance that is nothing next to the spread of all particles
    covariance = em.covariances(moments)[:, :D, :D] + torch.finfo(share.dtype).eps * eye
    factor, jitter = robust_cholesky(covariance)
    features = moments.centred.clone()  # (c, 1)
    features[:, :D] = torch.linalg.solve_triangular(factor, moments.centred[:, :D], upper=False)
    scale = (log_responsibilities - 0.5 * log_mass.unsqueeze(-1)).exp().view(B * K, 1, -1)
    return (scale * features).view(B, K * (D + 1), -1).mT, jitter
