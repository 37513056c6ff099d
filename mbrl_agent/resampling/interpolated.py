"""Interpolated resampling: part of the way from each particle to its Gaussian redraw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbrl_agent.gaussians.moments import gaussian_redraw, gaussian_redraw_vjp
from mbrl_agent.options.validation import require_choice, require_flag, require_fraction
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack, total


@dataclass(frozen=True)
class Interpolated(Resampler):
    """Interpolate between the Gaussian redraw z_i and the sampled particle x_i.

        z'_i = (1 - r) z_i + r x_i,

    with z_i as in `Gaussian`. r = 0 is Gaussian resampling, r = 1 is no resampling; the variance of the
    gradient grows gradually in between. z and x are uncorrelated given the moments, so the step also
    shrinks the covariance, by r^2 + (1 - r)^2 (one half at r = 0.5), and keeps the mean.

    Raises:
        ValueError: `ratio` is outside [0, 1] or not finite; `moments` is unknown.
        TypeError: `ratio` is not a number, `moments` not a string, or `wrap` not a truth value.

    Reference:
        Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic
        systems?", section 3 and Fig. 3.

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> Interpolated(ratio=0.5)(prediction, particles, torch.zeros(3, 1), None).particles.squeeze(-1)
        tensor([1., 2., 3.])
    """

    name: ClassVar[str] = "interpolated"
    mixes_particles: ClassVar[bool] = True

    ratio: float = 0.5
    """Share r of the old particle, 0 to 1: 0 is fully resampled, 1 keeps the particles."""
    moments: Literal["particles", "predictions"] = "particles"
    """Fit to the sampled particles, or to each particle's predicted mean and variance (less noise)."""
    wrap: bool = False
    """Whether angles are fitted on the turn of their circular mean, and then given their own turn back."""

    def __post_init__(self) -> None:
        require_fraction(self.called("ratio"), self.ratio)
        require_choice(self.called("moments"), self.moments, ("particles", "predictions"))
        require_flag(self.called("wrap"), self.wrap)

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Move each particle towards its redraw, with equal weights. See `Resampler.__call__`."""
        prepared = self.prepare(noise, prediction, particles)
        draw, jitter = gaussian_redraw(self.moments, prediction, particles, prepared)
        return Resampled(torch.lerp(draw, particles, self.ratio), equal_weights(draw), jitter=jitter)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with the derivative written out. See `Resampler.vjp`."""
        prepared = self.prepare(noise, prediction, particles)
        draw, jitter, redraw = gaussian_redraw_vjp(self.moments, prediction, particles, prepared)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            by_mean, by_std, by_own = redraw((1 - self.ratio) * by_particles)
            return by_mean, by_std, total(by_own, self.ratio * by_particles), None

        moved = torch.lerp(draw, particles, self.ratio)
        return Resampled(moved, equal_weights(moved), jitter=jitter), pull_back

    def prepare(self, noise: Tensor, prediction: Prediction, particles: Tensor) -> Tensor:
        """Return the noise (*R, P, D) that particles are drawn with; other ways to pair have their own."""
        return noise
