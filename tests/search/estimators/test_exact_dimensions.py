"""Dimensions that are predicted exactly have no density: every estimator leaves them out."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import NoResampling
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.estimators.credit import log_density
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction, Transitions

D, U, P, T, R = 4, 1, 40, 5, 2
GOAL, CLOCK = 2, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(goal: float | None) -> Transitions:
    """A pushed position and its velocity, a goal, and a clock."""
    g = generator()
    states = torch.randn(40, D, generator=g, dtype=torch.float64)
    states[:, CLOCK] = torch.arange(40) % 10
    if goal is not None:
        states[:, GOAL] = goal
    actions = torch.rand(40, U, generator=g, dtype=torch.float64) * 2 - 1
    after = states.clone()
    after[:, :2] += 0.3 * states[:, 1:2] + actions + 0.1 * torch.randn(40, 2, generator=g)
    after[:, CLOCK] += 1
    return Transitions(states, actions, after)


def simulation(goal: float | None, seed: int = 0) -> tuple[Simulation, dict[str, torch.Tensor]]:
    transitions, g = data(goal), generator(seed)
    model = Ensemble(members=2, hidden=(8,), fit_steps=20).build(AngleFeatures(D), U, generator())
    model.fit(transitions, generator())
    box = spaces.Box(-np.inf, np.inf, (D,), np.float64)
    policy = RbfPolicy(box, spaces.Box(-1, 1, (U,)), centers=5)
    policy.restandardize(transitions.states)
    parameters = policy.initial_parameters(transitions.states, R, generator(1))
    start = torch.randn(R, P, D, generator=g)
    start[..., CLOCK] = 0.0
    if goal is not None:
        start[..., GOAL] = goal

    def cost(state, action):
        return 1 - torch.exp(-((state[..., 0] - state[..., GOAL]) ** 2))

    noise = Noise.draw(model, NoResampling(), start, T, g)
    return Simulation(policy, model, cost, NoResampling(), start, noise), parameters


@pytest.mark.parametrize("name", ESTIMATORS.names())
@pytest.mark.parametrize("goal", [None, 0.1])
def test_every_estimator_is_finite_and_points_the_same_way(name, goal):
    """Averaged over many rollouts it agrees with the pathwise gradient, as far as its own noise lets it."""
    found, expected = [], []
    for seed in range(24):
        rollout, parameters = simulation(goal, seed)
        estimate = ESTIMATORS.resolve(name)(parameters, rollout)
        assert bool(estimate.expected_cost.isfinite().all())
        assert all(bool(value.isfinite().all()) for value in estimate.gradient.values())
        pathwise = ESTIMATORS.resolve("reparameterization")(parameters, rollout)
        found.append(estimate.gradient["weights"].flatten())
        expected.append(pathwise.gradient["weights"].flatten())
    one, other = torch.stack(found), torch.stack(expected)
    error = (one.var(0) / len(one)).sqrt()
    within_noise = bool(((one.mean(0) - other.mean(0)).abs() < 4 * error).all())
    assert within_noise or float(torch.cosine_similarity(one.mean(0), other.mean(0), dim=0)) > 0.8


def test_the_density_is_that_of_the_other_dimensions():
    g = generator()
    mean, state = torch.randn(2, 5, 3, generator=g), torch.randn(2, 5, 3, generator=g)
    std = torch.rand(2, 5, 3, generator=g) + 0.5
    std[..., 1] = 0.0
    state[..., 1] = mean[..., 1]
    leaf = mean.clone().requires_grad_()
    found = log_density(Prediction(leaf, std), state)
    others = [0, 2]
    normal = torch.distributions.Normal(mean[..., others], std[..., others])
    torch.testing.assert_close(found, normal.log_prob(state[..., others]).sum(-1))
    (by_mean,) = torch.autograd.grad(found.sum(), leaf)
    assert bool(by_mean.isfinite().all())
    assert not by_mean[..., 1].any()
