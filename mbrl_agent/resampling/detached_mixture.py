"""Detached mixture resampling: redraw from a mixture of Gaussians that is clustered without gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.gaussians import em
from mbrl_agent.gaussians.clusters import label_shares, shrinkage_matrix, soft_clusters
from mbrl_agent.gaussians.labelled_redraw import Labelled, labelled_redraw_vjp
from mbrl_agent.options.validation import require_count, require_flag, require_not_negative
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack, on_tape


@dataclass(frozen=True)
class DetachedMixture(Resampler):
    """Redraw every particle from the component of a Gaussian mixture that it belongs to.

    A multimodal resampler that tames the gradients. Responsibilities r_ik come from a few EM steps on
    the particles x, WITHOUT gradient; given them, moments and draws are differentiated as usual:

        N_k = sum_i r_ik,  mu_k = sum_i r_ik x_i / N_k,  S_k = sum_i r_ik (x_i - mu_k)(x_i - mu_k)^T,
        Sigma_k = P / (P - 1) (S_k + nu S_pool / P) / (N_k + nu),  S_pool = sum_k S_k,
        k_i ~ r_i,  z_i = mu_{k_i} + L_{k_i} eps_i,  L_k L_k^T = Sigma_k,  eps_i ~ N(0, I).

    All particles keep equal weight: a mode's mass is the number of particles in it. A particle draws its
    own label, so that it stays in its mode. EM starts from the labels of the step before; at the first
    step from slices of the cloud across each dimension, of which the likeliest after 8 steps is taken.
    One component is exactly `Gaussian`.

    `Mixture`, which differentiates through EM, explodes: not because it is multimodal, but because small
    changes of particles move whole responsibilities, iteration after iteration. Cutting that path is
    what tames. The price is a biased gradient: how mass moves between the modes is not in it. Shrinking
    to the covariance within the components (nu) keeps few particles from spanning a needle.

    This strategy is not from the literature: it was derived and measured for this package, from the
    paper's Algorithm 1. Only its mixture and the question that it answers are the paper's.

    Raises:
        ValueError: `components` or `em_iterations` below 1; `shrinkage` negative or not finite.
        TypeError: An option of the wrong type.

    Reference:
        Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic
        systems?", section 4, for the mixture without the cut.

    Example:
        >>> particles = torch.tensor([[0.0], [1.0], [2.0], [90.0], [91.0], [92.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(6, 1))
        >>> strategy, noise = DetachedMixture(components=2, shrinkage=0), torch.zeros(6, 2)
        >>> resampled = strategy(prediction, particles, noise, None)
        >>> resampled.particles.squeeze(-1).sort().values
        tensor([ 1.0000,  1.0000,  1.0000, 91.0000, 91.0000, 91.0000])
    """

    name: ClassVar[str] = "detached-mixture"
    mixes_particles: ClassVar[bool] = True

    components: int = 3
    """Number of Gaussians K, at least 1."""
    em_iterations: int = 2
    """Number of EM iterations in each time step after the first (which takes 8), at least 1."""
    shrinkage: float = 6.0
    """Particles' worth nu of the pooled covariance that each component's covariance is shrunk to."""
    wrap: bool = False
    """Whether angles are fitted on the turn of their circular mean, and then given their own turn back."""

    def __post_init__(self) -> None:
        require_count(self.called("components"), self.components)
        require_count(self.called("em_iterations"), self.em_iterations)
        require_not_negative(self.called("shrinkage"), self.shrinkage)
        require_flag(self.called("wrap"), self.wrap)

    @property
    def exact_gradient(self) -> bool:
        """False, as the responsibilities are held constant; one component has none to hold."""
        return self.components == 1

    def noise_dims(self, state_dims: int) -> int:
        """Ask for one column more than the state has, for the labels."""
        return state_dims + 1

    def carry(self, state: Tensor, index: Tensor) -> Tensor:
        """Carry the labels (*R, K, P) with their particles. See `Resampler.carry`."""
        return state.take_along_dim(index.unsqueeze(-2), -1)

    def min_particles(self, state_dims: int) -> int:
        """Require as many particles a component as a single Gaussian needs, on average."""
        return self.components * super().min_particles(state_dims)

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Cluster, fit and draw, with equal weights. See `Resampler.__call__`.

        `state` are the log-shares of the drawn particles in the components, (*R, K, P).
        """
        outputs = on_tape(lambda values: self._redraw(values, noise, state), particles)
        return self._resampled(*outputs)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with the derivative written out. See `Resampler.vjp`."""
        outputs, redraw = self._redraw(particles, noise, state)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            return None, None, redraw(by_particles)[0], None

        return self._resampled(*outputs), pull_back

    def _redraw(
        self, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], PullBack]:
        """Draw: the draws, the labels' log-shares and jitter, and the pull-back by_draws -> by_particles."""
        return self.redraw(particles, noise, self.label(particles, noise, state))

    def label(self, particles: Tensor, noise: Tensor, state: Tensor | None) -> Labelled:
        """Cluster the particles (*R, P, D) and draw the label of each; state as in `Resampled`."""
        P, D = particles.shape[-2:]
        samples = em.standardise(particles.detach().reshape(-1, P, D))
        previous = None if state is None else state.reshape(-1, self.components, P)
        log_responsibilities = soft_clusters(
            samples, previous, self.components, self.em_iterations, self.shrinkage
        )
        is_label = draw_labels(log_responsibilities.exp(), noise[..., -1].reshape(-1, P))
        share, log_mass = em.normalise(log_responsibilities)
        matrix = shrinkage_matrix(log_mass, P, self.shrinkage)
        return Labelled(samples, share, log_mass, matrix, is_label)

    def redraw(
        self, particles: Tensor, noise: Tensor, labelled: Labelled
    ) -> tuple[tuple[Tensor, Tensor, Tensor], PullBack]:
        """Draw every particle from the component that is its label, see `labelled_redraw_vjp`.

        Returns:
            The draws (*R, P, D), the labels' log-shares (*R, K, P) and the jitter (*R); and the pull-back
            by_draws -> by_particles.
        """
        shape = particles.shape
        eps = noise[..., :-1].reshape(-1, *shape[-2:])
        (drawn, jitter), pull_back_flat = labelled_redraw_vjp(eps, labelled)
        labels = label_shares(labelled.is_label, particles.dtype).view(*shape[:-2], self.components, -1)

        def pull_back(by_draws: Tensor, *_: Tensor | None) -> Gradients:
            (by_particles,) = pull_back_flat(by_draws.reshape(eps.shape))
            return (None if by_particles is None else by_particles.view(shape),)

        return (drawn.view(shape), labels, jitter.view(shape[:-2])), pull_back

    def _resampled(self, drawn: Tensor, labels: Tensor, jitter: Tensor) -> Resampled:
        return Resampled(drawn, equal_weights(drawn), state=labels.detach(), jitter=jitter.detach())


def draw_labels(responsibilities: Tensor, noise: Tensor) -> Tensor:
    """Draw every particle's component by inverting its distribution function at Phi(noise).

    Args:
        responsibilities: r_ik, (B, K, P).
        noise: (B, P), standard normal.

    Returns:
        Whether k is the label of particle i, (B, K, P) bool, once True for every i.
    """
    uniform = torch.special.ndtr(noise).unsqueeze(-2)
    below = uniform < responsibilities[..., :-1, :].cumsum(-2)  # (B, K - 1, P), of P(k_i <= k)
    everywhere = torch.ones_like(uniform, dtype=torch.bool)
    return torch.cat([below, everywhere], -2) & ~torch.cat([~everywhere, below], -2)
