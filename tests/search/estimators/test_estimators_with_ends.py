"""Particles that end: every estimator's gradient is right, whatever noise the strategy asks for."""

import functools
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from mbrl_agent.resampling import NoResampling, Resampler
from mbrl_agent.resampling.base import equal_weights
from mbrl_agent.search.estimators import ESTIMATORS, total_propagation
from mbrl_agent.search.estimators.gaussian_shaping import GaussianShaping
from mbrl_agent.search.estimators.likelihood_ratio import LikelihoodRatio
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.estimators.total_propagation import TotalPropagation
from mbrl_agent.search.rollout import Noise
from mbrl_agent.types import Resampled
from tests.search.estimators.test_estimators import AffinePolicy, simulate
from tests.search.test_adjoint import assert_same, make
from tests.search.test_termination import Fragile, beyond, ending


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_total_propagation_lies_between_the_two_gradients_that_it_mixes(share, monkeypatch):
    simulation, parameters = ending(NoResampling())
    fixed = functools.partial(torch.full_like, fill_value=share)
    monkeypatch.setattr(total_propagation, "_share", lambda a, b: fixed(a))
    pure = LikelihoodRatio() if share else Reparameterization()
    found, expected = TotalPropagation()(parameters, simulation), pure(parameters, simulation)
    assert_same((found.expected_cost, found.gradient), (expected.expected_cost, expected.gradient), 1e-10)


def test_estimators_are_finite_where_the_model_is_not_defined():
    for name in ESTIMATORS.names():
        simulation, parameters = ending(NoResampling(), limit=0.5, dynamics=Fragile())
        simulation = replace(simulation, initial_particles=simulation.initial_particles.clamp(max=0.5))
        estimate = ESTIMATORS.resolve(name)(parameters, simulation)
        assert all(bool(value.isfinite().all()) for value in estimate.gradient.values()), name


def quadratic(state, action):
    return (state[..., 0] - 0.2) ** 2 + 0.3 * action[..., 0] ** 2 + 0.1 * state[..., 0] * action[..., 0]


@pytest.mark.parametrize("estimator", [LikelihoodRatio(), GaussianShaping()], ids=lambda e: e.name)
def test_the_mean_of_many_estimates_is_the_slope_of_the_expected_cost(estimator):
    """The expected cost is smooth in the parameters, though each particle ends or does not."""

    def task(replicates, particles, seed):
        return replace(simulate(replicates, particles, seed=seed), cost=quadratic, terminated=beyond(1.0))

    count = 2000
    values = {key: value.expand(count, 1) for key, value in AffinePolicy().parameter_dict().items()}
    estimate = estimator(values, task(count, 20, 1))
    base = AffinePolicy().parameter_dict()
    for key in base:
        slopes, step = [], 0.05
        for seed in range(8):
            big = task(1, 50_000, 100 + seed)
            costs = [
                big({k: v[None] + sign * step * (k == key) for k, v in base.items()}).expected_cost()
                for sign in (1, -1)
            ]
            slopes.append((costs[0] - costs[1]) / (2 * step))
        slopes = torch.cat(slopes)
        mean, found = slopes.mean(), estimate.gradient[key]
        error = (found.var() / count + slopes.var() / len(slopes)).sqrt()
        assert float((found.mean() - mean).abs() / error) < 4
        assert float(mean.abs() / error) > 8  # it could have been told from zero


@dataclass(frozen=True)
class Silent(NoResampling):
    """Asks for no random numbers."""

    name: ClassVar[str] = "silent"

    def noise_dims(self, state_dims):
        return 0


@dataclass(frozen=True)
class Chatty(Resampler):
    """Asks for more random numbers than a state has dimensions."""

    name: ClassVar[str] = "chatty"
    mixes_particles: ClassVar[bool] = False

    def __call__(self, prediction, particles, noise, state):
        return Resampled(particles, equal_weights(particles))

    def noise_dims(self, state_dims):
        return 3 * state_dims


@pytest.mark.parametrize("resampler", [Silent(), Chatty()], ids=lambda r: r.name)
@pytest.mark.parametrize("terminated", [None, beyond(0.9)], ids=["goes on", "ends"])
@pytest.mark.parametrize("name", ESTIMATORS.names())
def test_estimators_work_whatever_noise_a_strategy_asks_for(name, resampler, terminated):
    simulation, parameters = make(NoResampling(), horizon=4)
    start = simulation.initial_particles.repeat_interleave(4, -2)
    g = torch.Generator().manual_seed(1)
    noise = Noise.draw(simulation.dynamics, resampler, start, 4, g)
    simulation = replace(
        simulation, resampler=resampler, initial_particles=start, noise=noise, terminated=terminated
    )
    estimate = ESTIMATORS.resolve(name)(parameters, simulation)
    assert all(bool(value.isfinite().all()) for value in estimate.gradient.values())
    assert max(float(value.abs().max()) for value in estimate.gradient.values()) > 1e-3
