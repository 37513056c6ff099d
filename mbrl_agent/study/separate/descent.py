"""Improve policies in a frozen model: with Adam and clipping as the search does, or by plain descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.randomness import derive_generator
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import GradientStep
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.study.gradients.sampling import Tick, silent
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.separate.options import ADAM, SEARCH, SeparateOptions
from mbrl_agent.types import Parameters


@dataclass(frozen=True)
class Descent:
    """What some gradient steps did to R policies.

    Attributes:
        parameters: At the end, with the leading axis R.
        norms: (steps, R), of the gradients before clipping.
        skipped: (R), steps that were not taken since something was not finite.
    """

    parameters: dict[str, Tensor]
    norms: Tensor
    skipped: Tensor


def descend(
    scene: Scene,
    resampler: Resampler,
    starts: Parameters,
    optimizer: str,
    options: SeparateOptions,
    tick: Tick = silent,
) -> Descent:
    """Take gradient steps, each with fresh noise, which is the same for whatever resampler and cost.

    Args:
        scene: Model, cost, initial states, horizon.
        resampler: What happens to the particles between two steps.
        starts: Policies, with the leading axis R.
        optimizer: "adam" or "sgd".
        options: Steps, rates, particles, seed.
        tick: Progress, in steps.
    """
    resampler = resampler.for_task(scene.policy.features.angle_dims, scene.dynamics.functions)
    first = _simulation(scene, resampler, starts, options, 0)
    step: GradientStep | PlainStep
    if optimizer == ADAM:
        step = GradientStep(Reparameterization(), starts, first, options.learning_rate, SEARCH.max_grad_norm)
    else:
        step = PlainStep(Reparameterization(), starts, first, options.sgd_rate)
    norms, skipped = [], []
    for number in range(options.steps):
        if number:
            step.renew(_simulation(scene, resampler, starts, options, number))
        result = step()
        norms.append(result.grad_norm)
        skipped.append(~result.finite)
        tick(1)
    return Descent(step.parameters, torch.stack(norms), torch.stack(skipped).sum(0))


def _simulation(
    scene: Scene, resampler: Resampler, starts: Parameters, options: SeparateOptions, number: int
) -> Simulation:
    """Make the rollout of a step: initial particles and model noise depend on the seed and the step alone."""
    generator = derive_generator(options.seed, "separate", number)
    start = scene.start.sample(len(next(iter(starts.values()))), options.particles, generator)
    noise = Noise.draw(scene.dynamics, resampler, start, scene.horizon, generator)
    noise = noise.for_policy(scene.policy.noise_dims, generator)
    return Simulation(scene.policy, scene.dynamics, scene.cost, resampler, start, noise, scene.terminated)


@dataclass(frozen=True)
class PlainResult:
    """As `StepResult`, of one plain step: (R) each."""

    grad_norm: Tensor
    finite: Tensor


class PlainStep:
    """theta <- theta - rate * gradient; a policy stays where it is if the result would not be finite.

    Args:
        estimator: The gradient estimator.
        parameters: Where to start, with a leading axis R; copied.
        simulation: The rollout.
        rate: Step size.
    """

    def __init__(
        self, estimator: Estimator, parameters: Parameters, simulation: Simulation, rate: float
    ) -> None:
        self.parameters = {name: value.detach().clone() for name, value in parameters.items()}
        self._estimator, self._simulation, self._rate = estimator, simulation, rate

    def renew(self, simulation: Simulation) -> None:
        """Take another simulation."""
        self._simulation = simulation

    def __call__(self) -> PlainResult:
        """Take one step."""
        gradient = self._estimator(self.parameters, self._simulation).gradient
        norm = torch.stack([value.double().flatten(1).square().sum(1) for value in gradient.values()]).sum(0)
        moved = {name: value - self._rate * gradient[name] for name, value in self.parameters.items()}
        finite = torch.stack([value.flatten(1).isfinite().all(1) for value in moved.values()]).all(0)
        self.parameters = {
            name: torch.where(finite.view(-1, *[1] * (value.ndim - 1)), moved[name], value)
            for name, value in self.parameters.items()
        }
        return PlainResult(norm.sqrt(), finite)
