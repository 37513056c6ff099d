"""No resampling: every particle goes on from its own sampled prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack


@dataclass(frozen=True)
class NoResampling(Resampler):
    """Leave the particles as they were sampled: z_i = x_i.

    Also called: trajectory sampling (PETS), plain particle rollouts, the reparameterisation gradient
    "without resampling". The predicted distribution is exact for the model, but the gradient is a
    product of the particles' own Jacobians over time, and explodes where the model is chaotic.

    Reference:
        Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic
        systems?", the baseline of section 3.
    """

    name: ClassVar[str] = "none"
    mixes_particles: ClassVar[bool] = False

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Return the particles unchanged, with equal weights. See `Resampler.__call__`."""
        return Resampled(particles, equal_weights(particles))

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Do the same; derivatives pass unchanged. See `Resampler.vjp`."""

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            return None, None, by_particles, None

        return self(prediction, particles, noise, state), pull_back
