"""A linear-Gaussian system with a quadratic cost, of which the gradient is known in closed form.

x' = A x + B u + s * noise, u = K x + k, cost x'^T Q x' + c u^2: mean and covariance of the state follow
exactly, and so does the gradient of the expected cost by K and k.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agent.contract.rules import generator
from mbrl_agent.dynamics.base import DynamicsModel, FitReport, Score
from mbrl_agent.policies.base import Controller, SearchPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Parameters, Prediction, Terminated, Transitions

HORIZON, PARTICLES = 4, 100
TRANSITION = torch.tensor([[1.0, 0.3], [-0.2, 0.9]], dtype=torch.float64)
INPUT = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
STD = torch.tensor([0.3, 0.4], dtype=torch.float64)
START_MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
START_STD = torch.tensor([0.3, 0.2], dtype=torch.float64)
STATE_COST = torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=torch.float64)
ACTION_COST = 0.1
PARAMETERS = {
    "gain": torch.tensor([[-0.3], [-0.6]], dtype=torch.float64),
    "offset": torch.tensor([0.2], dtype=torch.float64),
}


class LinearModel(DynamicsModel):
    """The system itself as a model, which needs no fit."""

    noise_dims = 2

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict the next states; see `DynamicsModel.predict`."""
        mean = state @ TRANSITION.T.to(state) + action @ INPUT.T.to(state)
        return Prediction(mean, STD.to(state).expand_as(mean))

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Refuse: nothing is fitted."""
        raise NotImplementedError("the linear model is known")

    def score(self, transitions: Transitions) -> Score:
        """Refuse: nothing is scored."""
        raise NotImplementedError("the linear model is known")


class AffinePolicy(SearchPolicy):
    """u = x @ gain + offset, without bounds: the theory is exact for it."""

    def __init__(self) -> None:
        super().__init__(spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1, 1, (1,)))

    def controller(self, parameters: Parameters) -> Controller:
        """Return the policy at the given parameters; see `SearchPolicy.controller`."""
        return lambda state: state @ parameters["gain"] + parameters["offset"].unsqueeze(-2)

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Refuse: they are known."""
        raise NotImplementedError("the parameters are known")


def quadratic_cost(state: Tensor, action: Tensor) -> Tensor:
    """x^T Q x + c u^2."""
    return ((state @ STATE_COST.to(state)) * state).sum(-1) + ACTION_COST * action.square().sum(-1)


def copies(replicates: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return the parameters with a leading replicate axis."""
    return {
        key: value.to(dtype).expand(replicates, *value.shape).clone() for key, value in PARAMETERS.items()
    }


def exact_gradient() -> dict[str, Tensor]:
    """Return the gradient of the expected cost, by the recursion of mean and covariance."""
    leaves = {name: value.clone().requires_grad_() for name, value in PARAMETERS.items()}
    mean, covariance = START_MEAN, torch.diag(START_STD**2)
    total = torch.zeros((), dtype=torch.float64)
    for _ in range(HORIZON):
        gain, offset = leaves["gain"].T, leaves["offset"]
        action_mean = gain @ mean + offset
        total = total + ACTION_COST * (action_mean.square().sum() + (gain @ covariance @ gain.T).trace())
        closed_loop = TRANSITION + INPUT @ gain
        mean = closed_loop @ mean + INPUT @ offset
        covariance = closed_loop @ covariance @ closed_loop.T + torch.diag(STD**2)
        total = total + mean @ STATE_COST @ mean + (STATE_COST @ covariance).trace()
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def simulate(
    replicates: int,
    resampler: Resampler,
    particles: int = PARTICLES,
    dtype: torch.dtype = torch.float64,
    terminated: Terminated | None = None,
) -> Simulation:
    """Make a rollout of independent replicates as a function of the parameters."""
    source = generator(0)
    normal = torch.randn(replicates, particles, 2, generator=source, dtype=torch.float64)
    start = (START_MEAN + START_STD * normal).to(dtype)
    model = LinearModel()
    noise = Noise.draw(model, resampler, start, HORIZON, source)
    return Simulation(AffinePolicy(), model, quadratic_cost, resampler, start, noise, terminated)


def replicate(simulation: Simulation, index: int) -> Simulation:
    """One replicate of a rollout alone."""
    noise = Noise(simulation.noise.model[:, index], simulation.noise.resampling[:, index])
    return Simulation(
        simulation.policy,
        simulation.dynamics,
        simulation.cost,
        simulation.resampler,
        simulation.initial_particles[index],
        noise,
        simulation.terminated,
    )
