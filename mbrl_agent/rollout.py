"""The particle rollout: policy + dynamics + resampler + cost + noise -> Trajectory. Nothing else.

A pure function of tensors: the same arguments give the same trajectory, bitwise, and all of it is
differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.tasks import Cost
from mbrl_agent.types import Parameters, Prediction, Resampled, Trajectory


@dataclass(frozen=True)
class Noise:
    """All the randomness of a rollout, standard normal.

    Attributes:
        model: (T, *R, P, dynamics.noise_dims), which outcome of each prediction a particle gets.
        resampling: (T, *R, P, resampler.noise_dims(D)).
    """

    model: Tensor
    resampling: Tensor

    @classmethod
    def draw(
        cls,
        dynamics: DynamicsModel,
        resampler: Resampler,
        initial_particles: Tensor,
        horizon: int,
        generator: torch.Generator,
    ) -> Noise:
        """Fresh noise for a rollout of `horizon` steps from `initial_particles` (*R, P, D)."""
        *shape, dims = initial_particles.shape

        def normal(columns: int) -> Tensor:
            size = (horizon, *shape, columns)
            return torch.randn(
                size, generator=generator, dtype=initial_particles.dtype, device=initial_particles.device
            )

        return cls(normal(dynamics.noise_dims), normal(resampler.noise_dims(dims)))

    def __len__(self) -> int:
        """T."""
        return len(self.model)

    def split(self, steps: int) -> list[Noise]:
        """The noise of successive segments of at most this many steps."""
        pairs = zip(torch.split(self.model, steps), torch.split(self.resampling, steps), strict=True)
        return [Noise(model, resampling) for model, resampling in pairs]


def rollout(
    policy: Callable[[Tensor], Tensor],
    predict: Callable[[Tensor, Tensor, Tensor | None], Prediction],
    cost: Cost,
    resample: Callable[[Prediction, Tensor, Tensor, Tensor | None], Resampled],
    initial_particles: Tensor,
    noise: Noise,
    carried: Tensor | None = None,
) -> Trajectory:
    """Propagate particles through the model for as many steps as there is noise for.

    Args:
        policy: States -> actions, at fixed parameters.
        predict: The model, as `DynamicsModel.predict`.
        cost: Differentiable cost of a predicted state and the action that led to it.
        resample: What happens to the particles between two steps, as `Resampler.__call__`.
        initial_particles: (*R, P, D).
        noise: T steps of standard-normal numbers.
        carried: What the resampler carried to these particles, where they are not the first.
    """
    dims = initial_particles.shape[-1]
    states, actions, weights, means, stds, jitters = [initial_particles], [], [], [], [], []
    for model_noise, resampling_noise in zip(noise.model, noise.resampling, strict=True):
        state = states[-1]
        action = policy(state)
        extra_noise = model_noise[..., dims:] if model_noise.shape[-1] > dims else None
        prediction = predict(state, action, extra_noise)
        sample = torch.addcmul(prediction.mean, prediction.std, model_noise[..., :dims])
        resampled = resample(prediction, sample, resampling_noise, carried)
        carried = resampled.state
        states.append(resampled.particles)
        actions.append(action)
        weights.append(resampled.weights)
        means.append(prediction.mean)
        stds.append(prediction.std)
        if resampled.jitter is not None:
            jitters.append(resampled.jitter)
    after, chosen = torch.stack(states[1:]), torch.stack(actions)
    return Trajectory(
        states=torch.cat([initial_particles.unsqueeze(0), after]),
        actions=chosen,
        costs=cost(after, chosen),  # of all steps at once
        weights=torch.stack(weights),
        prediction=Prediction(torch.stack(means), torch.stack(stds)),
        jitter=torch.stack(jitters) if jitters else None,
        carried=carried,
    )


@dataclass(frozen=True)
class Simulation:
    """A rollout as a function of the policy's parameters: all else, the noise included, is held fixed.

    Attributes:
        policy: Gives the controller at any parameters.
        dynamics: The model.
        cost: Differentiable cost.
        resampler: What happens to the particles between two steps.
        initial_particles: (*R, P, D).
        noise: T steps of standard-normal numbers.
    """

    policy: SearchPolicy
    dynamics: DynamicsModel
    cost: Cost
    resampler: Resampler
    initial_particles: Tensor
    noise: Noise

    def __call__(self, parameters: Parameters) -> Trajectory:
        """Run it at the given parameters, whose leading replicate axes are those of the particles."""
        return rollout(
            self.policy.controller(parameters),
            self.dynamics.predictor(),
            self.cost,
            self.resampler,
            self.initial_particles,
            self.noise,
        )
