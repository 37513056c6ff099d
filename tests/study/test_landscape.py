"""Landscapes: many replicates at once are the same as one estimate after the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import envs  # noqa: F401
from mbrl_agent.policies.rbf import Rbf
from mbrl_agent.randomness import derive_generator
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.study.gradients import sampling as sampling_module
from mbrl_agent.study.gradients.directions import along, random_directions
from mbrl_agent.study.gradients.landscape import landscape, value_landscape
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import untrained_scene
from mbrl_agent.study.strategies import parse_strategy

DELTA = np.array([0.0, 1.5])
SAMPLING = Sampling(particles=12, repeats=2, seed=4)


@pytest.fixture(scope="module")
def scene():
    return untrained_scene(seed=0, horizon=3).double()


@pytest.fixture(scope="module")
def direction(scene):
    return random_directions(scene.parameters, "weights", 1, torch.Generator().manual_seed(0))[0]


def slow_gradients(scene, strategy, parameters, point):
    """One rollout after the other, from the random numbers of `batches`."""
    generator = derive_generator(SAMPLING.seed, "landscape 0", point * 2**20)
    start = scene.start.sample(SAMPLING.repeats, SAMPLING.particles, generator)
    noise = Noise.draw(scene.dynamics, strategy.resampler, start, scene.horizon, generator)
    gradients, costs = [], []
    for index in range(SAMPLING.repeats):
        own = Noise(noise.model[:, index], noise.resampling[:, index])
        simulation = Simulation(
            scene.policy, scene.dynamics, scene.cost, strategy.resampler, start[index], own
        )
        estimate = strategy.estimator(parameters, simulation)
        gradients.append(np.concatenate([g.numpy().ravel() for g in estimate.gradient.values()]))
        costs.append(float(estimate.expected_cost))
    return np.array(gradients), np.array(costs)


@pytest.mark.parametrize(
    "text", ["none", "gaussian", "interpolated:0.5", "mixture:2,2", "detached-mixture:2"]
)
def test_it_is_the_slow_computation(scene, direction, text):
    strategy = parse_strategy(text)
    result = landscape(scene, strategy, direction, DELTA, SAMPLING)
    parameters = dict(scene.parameters)
    parameters["weights"] = parameters["weights"] + DELTA[1] * direction["weights"]
    gradients, costs = slow_gradients(scene, strategy, parameters, point=1)
    np.testing.assert_allclose(result.variance[1], np.trace(np.cov(gradients.T)), rtol=1e-5)
    np.testing.assert_allclose(result.gradient_norm[1], np.linalg.norm(gradients.mean(0)), rtol=1e-5)
    np.testing.assert_allclose(result.expected_cost[1], costs.mean(), rtol=1e-6)
    np.testing.assert_allclose(result.expected_cost_se[1], costs.std(ddof=1) / 2**0.5, rtol=1e-5)
    assert result.nonfinite.sum() == 0


@pytest.mark.parametrize("estimator", ["total-propagation", "likelihood-ratio"])
def test_other_estimators(scene, direction, estimator):
    strategy = parse_strategy("none", estimator)
    result = landscape(scene, strategy, direction, DELTA, SAMPLING)
    gradients, _ = slow_gradients(scene, strategy, scene.parameters, 0)
    np.testing.assert_allclose(result.variance[0], gradients.var(0, ddof=1).sum(), rtol=1e-5)


def test_the_size_of_a_pass_changes_nothing(scene, direction, monkeypatch):
    strategy = parse_strategy("gaussian")
    sampling = Sampling(particles=12, repeats=18)
    whole = landscape(scene, strategy, direction, DELTA, sampling)
    monkeypatch.setattr(sampling_module, "MAX_ROWS", 1)
    done = []
    cut = landscape(scene, strategy, direction, DELTA, sampling, tick=done.append)
    np.testing.assert_allclose(cut.variance, whole.variance, rtol=1e-9)
    assert done == [16, 2, 16, 2]


def test_another_seed_gives_other_noise(scene, direction):
    strategy = parse_strategy("none")
    first = landscape(scene, strategy, direction, DELTA, SAMPLING)
    other = landscape(scene, strategy, direction, DELTA, replace(SAMPLING, seed=5))
    assert (first.variance != other.variance).all()


def test_what_is_not_finite_is_counted_and_infinite(scene, direction):
    def cost(state, action):
        broken = scene.cost(state, action)
        return torch.where(state[..., 0] > state[..., 0].mean(), broken, broken * torch.nan)

    result = landscape(replace(scene, cost=cost), parse_strategy("none"), direction, DELTA, SAMPLING)
    assert np.isinf(result.variance).all()
    assert np.isinf(result.gradient_norm).all()
    assert result.nonfinite.tolist() == [2, 2]


def test_a_value_landscape_has_the_same_noise_everywhere(scene, direction):
    delta = np.array([0.0, 1.0, 1.0])
    values = value_landscape(scene, direction, delta, 12, 4, torch.Generator().manual_seed(0))
    assert values.particles.shape == (3, 4)
    np.testing.assert_allclose(values.particles[1], values.particles[2], rtol=1e-9)
    assert (values.particles[0] != values.particles[1]).any()
    assert values.mean.shape == (3,)


def test_float64(scene):
    assert all(value.dtype == torch.float64 for value in scene.parameters.values())
    assert scene.start.sample(1, 2, torch.Generator()).dtype == torch.float64


def test_points_of_a_line_reach_the_policy(scene, direction):
    points = along(scene.parameters, direction, torch.tensor([0.0, 1.0]))
    state = scene.start.sample(2, 3, torch.Generator())
    action = scene.policy.controller(points)(state)
    own = scene.policy.controller(scene.parameters)(state[0])
    torch.testing.assert_close(action[0], own)


@pytest.mark.parametrize("values", [{"repeats": 1}, {"particles": 0}, {"seed": -1}])
def test_mistakes(values):
    with pytest.raises(ValueError, match="at least"):
        Sampling(**values)


def test_a_policy_with_dropout_is_looked_at_as_a_search_improves_it():
    """The variance is that of the search's gradient; what is deployed has no dropout, nor have its values."""
    made = {rate: untrained_scene(seed=0, horizon=3, policy=Rbf(dropout=rate)) for rate in (0.0, 0.5)}
    strategy, generator = parse_strategy("none"), torch.Generator()
    variance, values = {}, {}
    for rate, scene in made.items():
        direction = random_directions(scene.parameters, "weights", 1, generator.manual_seed(0))[0]
        variance[rate] = landscape(scene, strategy, direction, DELTA, SAMPLING).variance
        values[rate] = value_landscape(scene, direction, DELTA, 12, 2, generator.manual_seed(0))
    assert (variance[0.5] != variance[0.0]).all()
    np.testing.assert_array_equal(values[0.5].mean, values[0.0].mean)
