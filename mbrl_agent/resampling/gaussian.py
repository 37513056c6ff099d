"""Gaussian resampling: fit one Gaussian to all particles and draw every particle afresh from it."""

# annotations are evaluated: subclasses in other files inherit those of __init__, and documentation reads them

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from mbrl_agent.gaussians.moments import gaussian_redraw, gaussian_redraw_vjp
from mbrl_agent.options.validation import require_choice, require_flag
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack


@dataclass(frozen=True)
class Gaussian(Resampler):
    """Replace the particles by draws from the Gaussian that has their mean and covariance.

    Also called: moment matching by particles (Deep PILCO), Gaussian resampling (PIPPS).

        mu = sum_i x_i / P,  Sigma = sum_i (x_i - mu)(x_i - mu)^T / (P - 1),
        z_i = mu + L eps_i,  L L^T = Sigma,  eps_i ~ N(0, I).

    All of it is differentiated, through the Cholesky factor too: the gradient then flows through
    averages over the particles instead of along single trajectories, which tames it.

    Raises:
        ValueError: `moments` is neither "particles" nor "predictions".
        TypeError: `moments` is not a string, or `wrap` not a truth value.

    Reference:
        Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic
        systems?", section 3 and Fig. 3a; with `moments="predictions"`, Algorithm 1 for one component.

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> Gaussian()(prediction, particles, torch.zeros(3, 1), None).particles.squeeze(-1)
        tensor([2., 2., 2.])
    """

    name: ClassVar[str] = "gaussian"
    mixes_particles: ClassVar[bool] = True

    moments: Literal["particles", "predictions"] = "particles"
    """Fit to the sampled particles, or to each particle's predicted mean and variance (less noise)."""
    wrap: bool = False
    """Whether angles are fitted on the turn of their circular mean, and then given their own turn back."""

    def __post_init__(self) -> None:
        require_choice(self.called("moments"), self.moments, ("particles", "predictions"))
        require_flag(self.called("wrap"), self.wrap)

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Draw all particles from the fitted Gaussian, with equal weights. See `Resampler.__call__`."""
        draw, jitter = gaussian_redraw(
            self.moments, prediction, particles, self.prepare(noise, prediction, particles)
        )
        return Resampled(draw, equal_weights(draw), jitter=jitter)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with the derivative written out. See `Resampler.vjp`."""
        prepared = self.prepare(noise, prediction, particles)
        draw, jitter, redraw = gaussian_redraw_vjp(self.moments, prediction, particles, prepared)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            return (*redraw(by_particles), None)

        return Resampled(draw, equal_weights(draw), jitter=jitter), pull_back

    def prepare(self, noise: Tensor, prediction: Prediction, particles: Tensor) -> Tensor:
        """Return the noise (*R, P, D) that particles are drawn with; other ways to draw have their own."""
        return noise
