"""The particle rollout: policy + dynamics + resampler + cost + noise -> Trajectory. Nothing else.

A pure function of tensors: the same arguments give the same trajectory, bitwise, and all of it is
differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.policies.base import Controller, SearchPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.tasks import Cost
from mbrl_agent.types import Parameters, Prediction, Trajectory


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


def identity(state: Tensor) -> Tensor:
    """Leave the particles between two steps as they are."""
    return state


def rollout(
    policy: Controller,
    dynamics: DynamicsModel,
    cost: Cost,
    resampler: Resampler,
    initial_particles: Tensor,
    noise: Noise,
    cut: Callable[[Tensor], Tensor] = identity,
) -> Trajectory:
    """Propagate particles through the model for as many steps as there is noise for.

    Args:
        policy: States -> actions, at fixed parameters.
        dynamics: The model.
        cost: Differentiable cost of a predicted state and the action that led to it.
        resampler: What happens to the particles between two steps.
        initial_particles: (*R, P, D).
        noise: T steps of standard-normal numbers.
        cut: Applied to the particles at the start of each step; an estimator that must break the
            flow of gradients from step to step does it here.
    """
    dims = initial_particles.shape[-1]
    states, actions, costs, weights, means, stds, jitters = [initial_particles], [], [], [], [], [], []
    carried: Any = None
    for model_noise, resampling_noise in zip(noise.model, noise.resampling, strict=True):
        state = cut(states[-1])
        action = policy(state)
        prediction = dynamics.predict(
            state, action, model_noise[..., dims:] if model_noise.shape[-1] > dims else None
        )
        sample = torch.addcmul(prediction.mean, prediction.std, model_noise[..., :dims])
        resampled = resampler(prediction, sample, resampling_noise, carried)
        carried = resampled.state
        states.append(resampled.particles)
        actions.append(action)
        costs.append(cost(resampled.particles, action))
        weights.append(resampled.weights)
        means.append(prediction.mean)
        stds.append(prediction.std)
        if resampled.jitter is not None:
            jitters.append(resampled.jitter)
    return Trajectory(
        states=torch.stack(states),
        actions=torch.stack(actions),
        costs=torch.stack(costs),
        weights=torch.stack(weights),
        prediction=Prediction(torch.stack(means), torch.stack(stds)),
        jitter=torch.stack(jitters) if jitters else None,
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

    def __call__(self, parameters: Parameters, cut: Callable[[Tensor], Tensor] = identity) -> Trajectory:
        """Run it at the given parameters, whose leading replicate axes are those of the particles."""
        controller = self.policy.controller(parameters)
        return rollout(
            controller, self.dynamics, self.cost, self.resampler, self.initial_particles, self.noise, cut
        )
