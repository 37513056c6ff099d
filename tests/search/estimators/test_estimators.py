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
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import RESAMPLERS, NoResampling
from mbrl_agent.search.estimators import ESTIMATORS, reparameterization
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction

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


@pytest.mark.parametrize("policy_class", [RbfPolicy, LinearPolicy])
@pytest.mark.parametrize("leading", [(), (3,)])
def test_the_jacobian_of_a_policy_is_that_of_autograd(policy_class, leading):
    torch.manual_seed(0)
    policy = policy_class(Box(-9, 9, (4,)), Box(-1, 1, (2,)), angle_dims=(2,)).double()
    policy.restandardize(torch.randn(30, 4, dtype=torch.float64) + 2)
    values = {
        name: torch.randn(*leading, *value.shape, dtype=torch.float64)
        for name, value in policy.parameter_dict().items()
    }
    state = torch.randn(5, *leading, 7, 4, dtype=torch.float64)
    own, general = (
        policy.jacobian(values, state, len(leading)),
        SearchPolicy.jacobian(policy, values, state, len(leading)),
    )
    for name, value in general.items():
        assert value.shape == (5, *leading, 7, 2, *policy.parameter_dict()[name].shape)
        torch.testing.assert_close(own[name], value)


@pytest.mark.parametrize("weights", ["node", "coordinate"])
def test_other_weights_of_total_propagation_are_right_on_average(weights):
    check_all([check_bias], TotalPropagation(weights=weights), weights)


@pytest.mark.parametrize("weights", ["step", "coordinate"])
def test_moments_of_total_propagation_are_those_of_each_particles_gradient(weights):
    """Of one action they are products of matrices, of several they are taken from the gradients."""
    torch.manual_seed(0)
    estimator = TotalPropagation(weights=weights)
    by_action, jacobian = torch.randn(3, 50, 1, dtype=DTYPE), torch.randn(3, 50, 1, 7, dtype=DTYPE)
    fast = estimator._moments(by_action, jacobian, estimator._squares(jacobian.unsqueeze(0))[0])
    for found, expected in zip(fast, estimator._moments(by_action, jacobian, None), strict=True):
        torch.testing.assert_close(found, expected)
