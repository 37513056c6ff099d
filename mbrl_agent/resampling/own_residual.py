"""A control: the particles keep their values, and their derivatives flow through the moments alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from mbrl_agent.gaussians.moments import standardised_residuals
from mbrl_agent.resampling.gaussian import Gaussian
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import PullBack


@dataclass(frozen=True)
class OwnResidual(Gaussian):
    """Redraw each particle from the fitted Gaussian with its own standardised residual as the noise.

        z_i = mu + L sg[L^-1 (x_i - mu)],  L L^T = Sigma,

    with mu and Sigma as in `Gaussian`, and sg held constant in the backward pass. In value z_i = x_i: the
    predicted distribution is that of `NoResampling`. The derivative is that of a draw from the Gaussian which
    happens to be x_i. It is no contraction of the derivatives, as `Tangent` is, and its direction can be
    wrong: it is here to be compared with.

    Raises:
        ValueError: `moments` is neither "particles" nor "predictions".
        TypeError: `moments` is not a string, or `wrap` not a truth value.

    Reference:
        McGill's prob_mbrl had it first, as a way to match moments with the particles' own noise.

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> OwnResidual()(prediction, particles, torch.zeros(3, 1), None).particles.squeeze(-1)
        tensor([0., 2., 4.])
    """

    name: ClassVar[str] = "own-residual"
    mixes_particles: ClassVar[bool] = False

    @property
    def exact_gradient(self) -> bool:
        """False: the values are those of the particles, the derivatives are not."""
        return False

    def min_particles(self, state_dims: int) -> int:
        """Require as many as a covariance needs."""
        return state_dims + 2

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Return the particles with other derivatives, with equal weights. See `Resampler.__call__`."""
        found = super().__call__(prediction, particles, noise, state)
        kept = particles.detach() + (found.particles - found.particles.detach())  # without rounding
        return replace(found, particles=kept)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with the derivative written out. See `Resampler.vjp`."""
        found, pull_back = super().vjp(prediction, particles, noise, state)
        return replace(found, particles=particles), pull_back

    def prepare(self, noise: Tensor, prediction: Prediction, particles: Tensor) -> Tensor:
        """Return the standardised residuals (*R, P, D); the noise is not looked at."""
        return standardised_residuals(self.moments, prediction, particles)
