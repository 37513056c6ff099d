"""Moment matching, and the particles that imitate it: ever more, redrawn from a Gaussian at every step."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.dynamics.gp import GpModel
from mbrl_agent.randomness import derive_generator
from mbrl_agent.resampling.gaussian import Gaussian
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.search.rollouts.moment_matching import MomentMatching, expectation, propagate
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.types import Parameters

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PredictedMoments:
    """Mean and standard deviation of the predicted states, and the gradient of the expected cost.

    Attributes:
        particles: P; 0 for moment matching.
        mean: (repeats, T + 1, D).
        std: (repeats, T + 1, D).
        cost: (repeats,), expected, summed over the horizon.
        gradient: (repeats, N), by all parameters.
    """

    particles: int
    mean: Array
    std: Array
    cost: Array
    gradient: Array

    def gradient_errors(self, exact: PredictedMoments) -> Array:
        """Return |g - g_mm| / |g_mm|, (repeats,)."""
        errors = np.linalg.norm(self.gradient - exact.gradient, axis=1)
        found: Array = errors / np.linalg.norm(exact.gradient)
        return found

    def bias(self, exact: PredictedMoments) -> float:
        """Return |mean of g - g_mm| / |g_mm|; what is left of it is noise where the repeats are few."""
        return float(
            np.linalg.norm(self.gradient.mean(0) - exact.gradient[0]) / np.linalg.norm(exact.gradient)
        )


def compare_moments(
    scene: Scene,
    counts: Sequence[int],
    repeats: int,
    seed: int,
    tick: Callable[[int], object] = lambda done: None,
) -> list[PredictedMoments]:
    """Carry the belief through the model by moment matching, and by particles redrawn at each step.

    The particles draw anew from the predictive variance at every step, whatever the run did: only so do they
    tend to moment matching.

    Args:
        scene: With Gaussian processes as the model.
        counts: Numbers of particles.
        repeats: Independent rollouts of each number.
        seed: Of their noise.
        tick: Progress, in rollouts.

    Returns:
        Moment matching, then one entry a number of particles.

    Raises:
        ValueError: The scene's model or policy does not know its moments.
    """
    model = scene.dynamics
    if not isinstance(model, GpModel):
        raise ValueError("moments: the run's model is not 'gp', the only one whose moments are known")
    independent = copy.copy(model)  # the same numbers, read otherwise
    independent.options = dataclasses.replace(model.options, propagation="independent")
    found = [_matched(scene)]
    for count in counts:
        rollouts = []
        for number in range(repeats):
            generator = derive_generator(seed, f"moments of {count} particles, {number}")
            rollouts.append(_sampled(scene, independent, count, generator))
            tick(1)
        found.append(PredictedMoments(count, *(np.stack(parts) for parts in zip(*rollouts, strict=True))))
    return found


def _matched(scene: Scene) -> PredictedMoments:
    """Predict by moment matching."""
    double = {name: value.double() for name, value in scene.parameters.items()}
    mean, covariance = scene.start.mean.double(), scene.start.covariance.double()
    expected = expectation(scene.cost, MomentMatching().cost_points, mean)
    start, model = (mean, covariance), scene.dynamics.moments()
    with torch.no_grad():
        beliefs = propagate(scene.policy, double, model, expected, start, scene.horizon)
    spread = beliefs.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    gradient = _gradient(scene, MomentMatching().gradient(Reparameterization(), scene.start), _empty(scene))
    mean_states, std_states, cost = (
        part.numpy()[None] for part in (beliefs.mean, spread, beliefs.costs.sum(0))
    )
    return PredictedMoments(0, mean_states, std_states, cost, gradient[None])


def _empty(scene: Scene) -> Simulation:
    """Make a simulation of which only the length and the parts are looked at."""
    start = scene.start.sample(1, 1, torch.Generator().manual_seed(0))
    noise = Noise(start.new_zeros(scene.horizon, 1, 1, 1), start.new_zeros(scene.horizon, 1, 1, 1))
    return Simulation(scene.policy, scene.dynamics, scene.cost, Gaussian(), start, noise)


def _sampled(
    scene: Scene, model: GpModel, count: int, generator: torch.Generator
) -> tuple[Array, Array, Array, Array]:
    """Return the mean, standard deviation, cost and gradient of one rollout of particles."""
    resampler = Gaussian()
    start = scene.start.sample(1, count, generator)
    noise = Noise.draw(model, resampler, start, scene.horizon, generator)
    simulation = Simulation(scene.policy, model, scene.cost, resampler, start, noise)
    with torch.no_grad():
        trajectory = simulation(_one(scene.parameters))
    states = trajectory.states[:, 0].double()
    cost = trajectory.expected_cost().double().numpy()[0]
    gradient = _gradient(scene, Reparameterization(), simulation)
    return states.mean(1).numpy(), states.std(1).numpy(), cost, gradient


def _gradient(scene: Scene, estimator: Estimator, simulation: Simulation) -> Array:
    """Return the gradient by all parameters, (N)."""
    parts = estimator(_one(scene.parameters), simulation).gradient.values()
    found: Array = torch.cat([part.double().flatten() for part in parts]).numpy()
    return found


def _one(parameters: Parameters) -> dict[str, Tensor]:
    """Compute the parameters with one replicate."""
    return {name: value.unsqueeze(0) for name, value in parameters.items()}
