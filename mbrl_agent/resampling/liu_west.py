"""Liu-West resampling: shrink the particles towards their mean and fill the lost spread up with noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from mbrl_agent.gaussians.moments import centred, gaussian_redraw, gaussian_redraw_vjp
from mbrl_agent.options.validation import require_choice, require_flag, require_fraction
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack, total


@dataclass(frozen=True)
class LiuWest(Resampler):
    """Interpolate between the Gaussian redraw and the particle so that the covariance is preserved.

    Also called: kernel smoothing with shrinkage; the Liu-West step of a particle filter, here without
    the filter's importance weights.

        z'_i = mu + a (x_i - mu) + sqrt(1 - a^2) L eps_i,

    with mu, L and eps_i as in `Gaussian`. As x and eps are uncorrelated, z' has mean mu and covariance
    a^2 Sigma + (1 - a^2) Sigma = Sigma for every a. a = 0 is Gaussian resampling, a = 1 no resampling.
    `Interpolated` is the paper's knob between the two; it shrinks the covariance as well, so that less
    spread and less memory act at once. Here the memory alone is turned: the direct path dz'_i/dx_i is a.

    The formula is Liu and West's; its use between predicted steps, to separate the two effects, is
    derived here and not in the paper.

    Raises:
        ValueError: `ratio` is outside [0, 1] or not finite; `moments` is unknown.
        TypeError: `ratio` is not a number, `moments` not a string, or `wrap` not a truth value.

    Reference:
        Liu, West (2001), Combined Parameter and State Estimation in Simulation-Based Filtering.

    Example:
        >>> particles = torch.tensor([[0.0], [2.0], [4.0]])
        >>> prediction = Prediction(mean=particles, std=torch.zeros(3, 1))
        >>> LiuWest(ratio=0.5)(prediction, particles, torch.zeros(3, 1), None).particles.squeeze(-1)
        tensor([1., 2., 3.])
    """

    name: ClassVar[str] = "liu-west"
    mixes_particles: ClassVar[bool] = True

    ratio: float = 0.5
    """Share a of a particle's own deviation, 0 to 1: 0 is fully resampled, 1 keeps the particles."""
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
        """Shrink each particle and add noise, with equal weights. See `Resampler.__call__`."""
        draw, jitter = gaussian_redraw(self.moments, prediction, particles, noise)
        moved = self._move(prediction, particles, draw)
        return Resampled(moved, equal_weights(moved), jitter=jitter)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same, with the derivative written out. See `Resampler.vjp`."""
        draw, jitter, redraw = gaussian_redraw_vjp(self.moments, prediction, particles, noise)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            by_mean, by_std, by_own = redraw(self._fresh * by_particles)
            by_centre = self._centre * by_particles.mean(-2, keepdim=True)
            by_own = total(by_own, self.ratio * by_particles)
            if self.moments == "particles":
                return by_mean, by_std, total(by_own, by_centre), None
            return total(by_mean, by_centre), by_std, by_own, None

        moved = self._move(prediction, particles, draw)
        return Resampled(moved, equal_weights(moved), jitter=jitter), pull_back

    def _move(self, prediction: Prediction, particles: Tensor, draw: Tensor) -> Tensor:
        """Write a x + sqrt(1 - a^2) z + (1 - a - sqrt(1 - a^2)) mu as differences from x or z.

        Both ends are then exact to the last bit, and so is a dimension in which x, z and mu are the same.
        """
        mean, own = centred(particles if self.moments == "particles" else prediction.mean)
        own = own if self.moments == "particles" else particles - mean
        if self.ratio < 0.5:
            return draw + self.ratio * own - (1 - self._fresh) * (draw - mean)
        return particles - (1 - self.ratio) * own + self._fresh * (draw - mean)

    @property
    def _fresh(self) -> float:
        """Share of the redraw."""
        return math.sqrt(1 - self.ratio**2)

    @property
    def _centre(self) -> float:
        """Share of the mean, which the other two shares leave."""
        return 1 - self.ratio - self._fresh
