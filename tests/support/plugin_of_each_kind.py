"""A plug-in with a class of each kind, as a user would write it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mbrl_agent import (
    DynamicsModel,
    DynamicsOptions,
    Estimator,
    PolicyOptions,
    Prediction,
    Reparameterization,
    Resampled,
    Resampler,
    SearchPolicy,
    equal_weights,
)
from mbrl_agent.costs import TaskCost
from mbrl_agent.dynamics.base import FitReport, Score


@dataclass(frozen=True)
class Shrink(Resampler):
    """Move the particles towards their mean."""

    name: ClassVar[str] = "mine"
    mixes_particles: ClassVar[bool] = True

    amount: float = 0.1
    """How far, 0 to 1."""

    def __call__(self, prediction, particles, noise, state):
        moved = torch.lerp(particles, particles.mean(-2, keepdim=True), self.amount)
        return Resampled(moved, equal_weights(moved))


@dataclass(frozen=True)
class Pathwise(Estimator):
    """The reparameterisation gradient by another name."""

    name: ClassVar[str] = "pathwise"

    def __call__(self, parameters, simulation):
        return Reparameterization()(parameters, simulation)


class LinearModel(DynamicsModel):
    """x' = x + A (features, action, 1), by least squares."""

    def __init__(self, features, action_dims):
        super().__init__()
        self.features = features
        self.noise_dims = features.state_dims
        inputs = features.feature_dims + action_dims + 1
        self.register_buffer("matrix", torch.zeros(inputs, features.state_dims, dtype=torch.float32))
        self.register_buffer("std", torch.zeros(features.state_dims, dtype=torch.float32))

    def predict(self, state, action, extra_noise=None):
        mean = state + self._inputs(state, action) @ self.matrix
        return Prediction(mean, self.std.expand_as(mean))

    def fit(self, transitions, generator):
        values = [value.to(self.matrix) for value in vars(transitions).values()]
        if not len(transitions) or not all(bool(value.isfinite().all()) for value in values):
            raise ValueError("there must be transitions, and they must be finite")
        states, actions, after = values
        inputs, change = self._inputs(states, actions), after - states
        gram = inputs.mT @ inputs + 1e-4 * torch.eye(inputs.shape[-1]).to(inputs)
        self.matrix.copy_(torch.linalg.solve(gram, inputs.mT @ change))
        error = change - inputs @ self.matrix
        self.std.copy_(error.square().mean(0).sqrt() + 1e-4)
        return FitReport(float(self.std.log().mean()), self.std.log())

    def score(self, transitions):
        states, actions, after = (value.to(self.matrix) for value in vars(transitions).values())
        error = self.predict(states, actions).mean - after
        return Score(float(self.std.log().mean()), error.square().mean(0).sqrt().tolist())

    def _inputs(self, state, action):
        return torch.cat([self.features(state), action, torch.ones_like(action[..., :1])], -1)


@dataclass(frozen=True)
class LeastSquares(DynamicsOptions):
    """Linear regression."""

    name: ClassVar[str] = "least-squares"

    def build(self, features, action_dims, generator, targets=None):
        return LinearModel(features, action_dims)


class CubicPolicy(SearchPolicy):
    """tanh(s + gain s^3) of a linear function s, with a parameter that is not called weights."""

    def __init__(self, observation_space, action_space, lr_schedule=None, angle_dims=(), gain=1.0):
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        self.gain = gain
        self.slope = nn.Parameter(torch.zeros(self.features.feature_dims, self.action_dims))
        self.offset = nn.Parameter(torch.zeros(self.action_dims))

    def controller(self, parameters):
        slope, offset, see = parameters["slope"], parameters["offset"].unsqueeze(-2), self.standardized

        def act(state):
            s = see(state) @ slope + offset
            return torch.tanh(s + self.gain * s**3)

        return act

    def initial_parameters(self, states, replicates, generator):
        slope = 0.5 * self.draw_normal((replicates, *self.slope.shape), generator)
        return {"slope": slope, "offset": torch.zeros_like(slope[:, 0])}

    def change_inputs(self, parameters, factor, shift):
        slope, offset = parameters["slope"], parameters["offset"]
        return {"slope": factor.unsqueeze(-1) * slope, "offset": offset + shift @ slope}


@dataclass(frozen=True)
class Cubic(PolicyOptions):
    """A linear function and its cube."""

    name: ClassVar[str] = "cubic"
    policy_class: ClassVar[type[SearchPolicy]] = CubicPolicy

    gain: float = 1.0
    """Of the cube."""


@dataclass(frozen=True)
class Distance(TaskCost):
    """Squared distance from the origin."""

    name: ClassVar[str] = "distance"

    effort: float = 0.01
    """Weight of the squared actions."""

    def __call__(self, state, action):
        return state.square().sum(-1) + self.effort * action.square().sum(-1)
