"""Every estimator keeps the contract; the reparameterisation gradient is exact on a system that is solved."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces import Box

from mbrl_agent.contract.estimators import RULES, check_bias
from mbrl_agent.contract.rules import check_all
from mbrl_agent.dynamics.base import DynamicsModel, FitReport, Score
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.resampling import RESAMPLERS, NoResampling
from mbrl_agent.search.estimators import ESTIMATORS, reparameterization
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction
from tests.support.memories import MEMORYLESS

DTYPE = torch.float64
A, B, STD = 0.9, 0.7, 0.3  # x' = A x + B u + STD eps
MEAN0, STD0, GAIN = 1.0, 0.5, -0.4  # x_0 ~ N(MEAN0, STD0^2), u = GAIN x + offset
HORIZON, ACTION_COST = 4, 0.2

every_estimator = pytest.mark.parametrize("name", ESTIMATORS.names())


class LinearDynamics(DynamicsModel):
    """x' = A x + B u + STD eps in one dimension."""

    noise_dims = 1

    def predict(self, state, action, extra_noise=None):
        return Prediction(A * state + B * action, torch.full_like(state, STD))

    def fit(self, transitions, generator):
        return FitReport(0.0, torch.zeros(1))

    def score(self, transitions):
        return Score(0.0, [0.0])


class AffinePolicy(SearchPolicy):
    """u = gain x + offset, unbounded: the theory is exact for it."""

    def __init__(self) -> None:
        box = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        super().__init__(box, spaces.Box(-1, 1, (1,), np.float32))
        self.gain = torch.nn.Parameter(torch.tensor([GAIN], dtype=DTYPE))
        self.offset = torch.nn.Parameter(torch.tensor([0.1], dtype=DTYPE))

    def controller(self, parameters):
        gain, offset = parameters["gain"].unsqueeze(-2), parameters["offset"].unsqueeze(-2)
        return lambda state: gain * state + offset

    def initial_parameters(self, states, replicates, generator):
        return {key: value.expand(replicates, 1) for key, value in self.parameter_dict().items()}


def cost(state, action):
    return state[..., 0] ** 2 + ACTION_COST * action[..., 0] ** 2


def exact_cost(gain: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Expected cost from the exact recursion of mean and variance."""
    mean, variance, total = torch.tensor(MEAN0, dtype=DTYPE), torch.tensor(STD0**2, dtype=DTYPE), 0.0
    for _ in range(HORIZON):
        action = (gain * mean + offset) ** 2 + gain**2 * variance
        mean, variance = (A + B * gain) * mean + B * offset, (A + B * gain) ** 2 * variance + STD**2
        total = total + mean**2 + variance + ACTION_COST * action
    return total


def simulate(replicates: int, particles: int, resampler=None, seed: int = 0) -> Simulation:
    g = torch.Generator().manual_seed(seed)
    start = MEAN0 + STD0 * torch.randn(replicates, particles, 1, generator=g, dtype=DTYPE)
    dynamics, resampler = LinearDynamics(), resampler or NoResampling()
    return Simulation(
        AffinePolicy(), dynamics, cost, resampler, start, Noise.draw(dynamics, resampler, start, HORIZON, g)
    )


def parameters(replicates: int) -> dict[str, torch.Tensor]:
    return AffinePolicy().initial_parameters(None, replicates, None)


# the contract ----------------------------------------------------------------------------------------------


@every_estimator
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_contract(name, rule):
    check_all([rule], ESTIMATORS.resolve(name), name)


# a system that is solved -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reparameterization"])
def test_the_mean_of_many_estimates_is_the_exact_gradient(name):
    gain = torch.tensor(GAIN, dtype=DTYPE, requires_grad=True)
    offset = torch.tensor(0.1, dtype=DTYPE, requires_grad=True)
    exact = torch.autograd.grad(exact_cost(gain, offset), [gain, offset])
    estimate = ESTIMATORS.resolve(name)(parameters(2000), simulate(2000, 20))
    for value, truth in zip(estimate.gradient.values(), exact, strict=True):
        error = (value.mean() - truth).abs() / (value.std() / 2000**0.5)
        assert float(error) < 4
        assert float(truth.abs() / (value.std() / 2000**0.5)) > 8  # it could have been told from zero
    torch.testing.assert_close(
        estimate.expected_cost.mean(), exact_cost(gain, offset).detach(), rtol=0.03, atol=0.0
    )


# reparameterization ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Jittery(NoResampling):
    """Claims that each step needed jitter in the second replicate."""

    def __call__(self, prediction, particles, noise, state):
        resampled = super().__call__(prediction, particles, noise, state)
        return replace(resampled, jitter=torch.tensor([0.0, 1e-3], dtype=DTYPE))


def test_reparameterization_adds_up_the_segments_of_a_long_rollout(monkeypatch):
    simulation = simulate(2, 12, Jittery())
    whole = Reparameterization()(parameters(2), simulation)
    assert whole.diagnostics["jitter"].tolist() == [0, HORIZON]
    segmented = functools.partial(reparameterization.value_and_gradient, recorded_rows=1)
    monkeypatch.setattr(reparameterization, "value_and_gradient", segmented)
    parts = Reparameterization()(parameters(2), simulation)
    torch.testing.assert_close(parts.expected_cost, whole.expected_cost)
    assert parts.diagnostics["jitter"].tolist() == [0, HORIZON]
    for key, value in whole.gradient.items():
        torch.testing.assert_close(parts.gradient[key], value)


def test_reparameterization_works_with_every_resampler():
    for name in RESAMPLERS.names():
        Reparameterization().validate(RESAMPLERS.resolve(name))


@pytest.mark.parametrize("name", [n for n in RESAMPLERS.names() if RESAMPLERS.resolve(n).exact_gradient])
def test_reparameterization_differentiates_the_rollout(name):
    simulation, values = simulate(2, 18, RESAMPLERS.resolve(name)), parameters(2)
    gradient = Reparameterization()(values, simulation).gradient
    for key in values:
        for replicate in range(2):
            step = 1e-5
            shifted = []
            for sign in (1, -1):
                moved = {k: v.clone() for k, v in values.items()}
                moved[key][replicate] += sign * step
                shifted.append(simulation(moved).expected_cost())
            numeric = (shifted[0] - shifted[1]) / (2 * step)
            torch.testing.assert_close(gradient[key][replicate, 0], numeric[replicate], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("weights", ["node", "coordinate"])
def test_other_weights_of_total_propagation_are_right_on_average(weights):
    check_all([check_bias], TotalPropagation(weights=weights), weights)


def each_gradient(policy, values, states, by_action):
    """The gradient of each particle, (P, N), by autograd of the controller, without replicates."""
    rows = []
    for state, by in zip(states, by_action, strict=True):
        leaves = {key: value.clone().requires_grad_() for key, value in values.items()}
        action = policy.controller(leaves)(state.unsqueeze(0))
        found = torch.autograd.grad((action * by).sum(), list(leaves.values()))
        rows.append(torch.cat([value.flatten() for value in found]))
    return torch.stack(rows)


def make_policy(name: str, actions: int) -> SearchPolicy:
    torch.manual_seed(0)
    box, bounds = Box(-9, 9, (4,)), Box(-1, 1, (actions,))
    policy = POLICIES.get(name).policy_class(box, bounds, angle_dims=(2,)).double()
    policy.restandardize(torch.randn(30, 4, dtype=DTYPE) + 2)
    return policy


@pytest.mark.parametrize("weights", ["step", "coordinate"])
@pytest.mark.parametrize("actions", [1, 2])
@pytest.mark.parametrize("name", MEMORYLESS)
def test_moments_of_total_propagation_are_those_of_each_particles_gradient(name, actions, weights):
    policy, g = make_policy(name, actions), torch.Generator().manual_seed(0)
    state, by_action = torch.randn(20, 4, generator=g, dtype=DTYPE), torch.randn(20, actions, generator=g)
    by_action = by_action.to(DTYPE)
    values = {k: v[0] for k, v in policy.initial_parameters(state, 1, g).items()}
    each = each_gradient(policy, values, state, by_action)
    expected = each.var(0) if weights == "coordinate" else each.var(0).sum(0, keepdim=True)
    jacobian = policy.jacobian(values)(state)
    mean, variance = TotalPropagation(weights=weights)._moments(by_action, jacobian, values)
    torch.testing.assert_close(mean, each.mean(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(variance, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weights", ["step", "node", "coordinate"])
@pytest.mark.parametrize("name", MEMORYLESS)
def test_total_propagation_is_that_of_derivatives_written_down(name, weights, monkeypatch):
    policy, g = make_policy(name, 1), torch.Generator().manual_seed(0)
    start = torch.randn(2, 20, 4, generator=g, dtype=DTYPE)
    dynamics = Ensemble(hidden=(8,)).build(AngleFeatures(4, (2,)), 1, g).double()
    dynamics.target_std.fill_(0.3)
    noise = Noise.draw(dynamics, NoResampling(), start, 5, g)
    simulation = Simulation(policy, dynamics, cost, NoResampling(), start, noise)
    values = policy.initial_parameters(start[0], 2, g)
    found = TotalPropagation(weights=weights)(values, simulation)
    monkeypatch.setattr(type(policy), "jacobian", SearchPolicy.jacobian)
    expected = TotalPropagation(weights=weights)(values, simulation)
    for key, value in expected.gradient.items():
        assert float(value.abs().max()) > 1e-3
        torch.testing.assert_close(found.gradient[key], value, rtol=1e-9, atol=1e-12)


def test_a_policy_never_inherits_the_jacobian_of_another():
    class Halved(LinearPolicy):
        def controller(self, parameters):
            whole = super().controller(parameters)
            return lambda state: 0.5 * whole(state)

    policy, state = Halved(Box(-9, 9, (4,)), Box(-1, 1, (1,))), torch.zeros(3, 4)
    found = policy.jacobian(policy.parameter_dict())(state).sum(torch.ones(3, 1))
    torch.testing.assert_close(found["bias"], torch.tensor([3 * 0.5 * 1.5]))  # squash'(0) = 3/2
