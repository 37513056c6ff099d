"""Policies that are noisy while they are improved: every gradient is that of the noisy rollout, and a search
compares and deploys them without noise."""

from dataclasses import replace

import pytest
import torch

from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import NoResampling
from mbrl_agent.search.adjoint import value_and_gradient
from mbrl_agent.search.estimators.likelihood_ratio import LikelihoodRatio
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.search.gradient_step import GradientStep
from mbrl_agent.search.rollout import Noise, Simulation
from tests.search.test_adjoint import adjoint, assert_same, assert_slopes, boxes, make, reference


def noisy(resampler="none", dropout=0.4, horizon=4, **options) -> tuple[Simulation, dict]:
    policy = RbfPolicy(*boxes(2, 2), angle_dims=(1,), centers=4, dropout=dropout)
    simulation, parameters = make(resampler, policy, horizon=horizon, **options)
    noise = simulation.noise.for_policy(policy.noise_dims, torch.Generator().manual_seed(9))
    return replace(simulation, noise=noise), parameters


def ends(state):
    return state[..., 0] > 0.8


@pytest.mark.parametrize("terminated", [None, ends], ids=["endless", "ends"])
@pytest.mark.parametrize("resampler", ["none", "gaussian", "detached-mixture"])
def test_the_adjoint_sweep_is_autograd_through_the_rollout(resampler, terminated):
    simulation, parameters = noisy(resampler)
    simulation = replace(simulation, terminated=terminated)
    expected = reference(parameters, simulation)
    assert_same(adjoint(parameters, simulation), expected, 1e-9)
    assert_slopes(expected[1])
    rows = simulation.initial_particles[..., 0].numel()
    assert_same(adjoint(parameters, simulation, recorded_rows=2 * rows), expected, 1e-9)  # in two segments


def test_the_gradient_is_that_of_finite_differences_under_the_same_masks():
    simulation, parameters = noisy("gaussian", replicates=())
    gradient = value_and_gradient(parameters, simulation)[1]
    for name, value in parameters.items():
        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=value.dtype)
        ahead, behind = (
            simulation(parameters | {name: value + step * direction}).expected_cost()
            for step in (1e-6, -1e-6)
        )
        slope = float((ahead - behind) / 2e-6)
        assert slope == pytest.approx(float((gradient[name] * direction).sum()), rel=1e-6)


def test_it_is_another_rollout_than_without():
    simulation, parameters = noisy()
    plain = replace(simulation, noise=replace(simulation.noise, policy=None))
    assert not torch.allclose(simulation(parameters).actions, plain(parameters).actions, atol=1e-2)


@pytest.mark.parametrize("terminated", [None, ends], ids=["endless", "ends"])
@pytest.mark.parametrize("weights", ["step", "coordinate"])
def test_total_propagation_is_that_of_derivatives_written_down(weights, terminated, monkeypatch):
    simulation, parameters = noisy()
    simulation = replace(simulation, terminated=terminated)
    found = TotalPropagation(weights=weights)(parameters, simulation)
    monkeypatch.setattr(RbfPolicy, "jacobian", SearchPolicy.jacobian)
    monkeypatch.setattr(RbfPolicy, "differentiable_controller", SearchPolicy.differentiable_controller)
    expected = TotalPropagation(weights=weights)(parameters, simulation)
    assert_slopes(expected.gradient)
    for name, value in expected.gradient.items():
        torch.testing.assert_close(found.gradient[name], value, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("estimator", [LikelihoodRatio(), TotalPropagation()], ids=lambda e: e.name)
def test_estimators_agree_on_average(estimator):
    """The mean of many estimates is that of the pathwise gradient, which finite differences confirm."""
    simulation, one = noisy(replicates=(1,), horizon=3)
    count, particles = 1500, 30
    parameters = {name: value.expand(count, *value.shape[1:]) for name, value in one.items()}
    g = torch.Generator().manual_seed(3)
    start = torch.randn(count, particles, 2, generator=g, dtype=torch.float64)
    noise = Noise.draw(simulation.dynamics, NoResampling(), start, 3, g).for_policy(4, g)
    many = replace(simulation, initial_particles=start, noise=noise)
    found = estimator(parameters, many).gradient
    expected = Reparameterization()(parameters, many).gradient
    for name, value in expected.items():
        difference = (found[name] - value).flatten(1)
        error = difference.std(0) / count**0.5
        bias = 0.1 * value.flatten(1).mean(0).abs().max() if estimator.name == "total-propagation" else 0.0
        assert bool((difference.mean(0).abs() < 4.5 * error + bias).all())


def test_a_step_takes_over_fresh_masks_in_place():
    (simulation, parameters), other = noisy("gaussian", replicates=(2,)), noisy("gaussian", seed=5)[0]
    other = replace(other, noise=other.noise.for_policy(4, torch.Generator().manual_seed(77)))
    step, storage = (
        GradientStep(Reparameterization(), parameters, simulation, 0.1, 1.0),
        simulation.noise.policy,
    )
    step.renew(other)
    assert torch.equal(storage, other.noise.policy)
    fresh = replace(other, dynamics=simulation.dynamics)
    assert torch.equal(step().expected_cost, Reparameterization()(parameters, fresh).expected_cost)


def test_segments_of_noise_hold_that_of_the_policy():
    noise = noisy()[0].noise
    parts = noise.split(3)
    assert [len(part) for part in parts] == [3, 1]
    assert torch.equal(torch.cat([part.policy for part in parts]), noise.policy)
    assert replace(noise, policy=None).split(3)[0].policy is None
