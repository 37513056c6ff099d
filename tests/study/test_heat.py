"""What resampling does to a prediction: energy that is kept without it, cost under the same noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mbrl_agent.run.environment import Environment, make_env
from mbrl_agent.study.gradients.heat import heats
from mbrl_agent.study.gradients.landscape import Landscape
from mbrl_agent.study.gradients.over_seeds import SeedLine, rows_of, seeds_text
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import true_energy, untrained_scene
from mbrl_agent.study.strategies import parse_strategy

SAMPLING = Sampling(particles=40, repeats=2, seed=1)


@pytest.fixture(scope="module")
def free():
    """A double pendulum without friction, model noise and action, thrown up to where it is chaotic."""
    scene = untrained_scene(Environment("AcrobotSwingUp-v0"), horizon=20, noise_std=0.0).double()
    still = {name: torch.zeros_like(value) for name, value in scene.parameters.items() if "weight" in name}
    mean = torch.tensor([1.5, 0.0, 1.0, 0.0], dtype=torch.float64)
    start = replace(scene.start, mean=mean, std=torch.full((4,), 0.3, dtype=torch.float64))
    return replace(scene, parameters={**scene.parameters, **still}, start=start)


def test_without_resampling_a_conservative_plant_keeps_its_energy(free):
    (heat,) = heats(free, [parse_strategy("none")], {}, (0.0,), SAMPLING)
    np.testing.assert_allclose(heat.energy, heat.energy[:, :1].repeat(21, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(heat.cost_change, 0.0)
    assert np.ptp(heat.energy[:, 0]) > 0.1


def test_redraws_change_energy_and_cost(free):
    none, gaussian = heats(free, [parse_strategy(t) for t in ("none", "gaussian")], {}, (0.0,), SAMPLING)
    assert np.abs(gaussian.energy_mean - gaussian.energy_mean[0]).max() > 0.1
    np.testing.assert_allclose(gaussian.cost_change, gaussian.cost - none.cost)
    assert np.abs(gaussian.cost_change).max() > 1e-3
    assert gaussian.energy_mean[0] == none.energy_mean[0]  # the same initial particles


def test_an_energy_that_is_something_else_is_none():
    env = make_env("CartPoleSwingUp-v0")
    assert true_energy(env) is not None
    for other in (3.0, lambda: 1.0, lambda state: state, lambda state: 1.0):
        env.unwrapped.energy = other
        assert true_energy(env) is None


def line(seed, horizon, *variance):
    values = np.array(variance)
    zeros = np.zeros(len(values))
    whole = np.isfinite(values)
    entry = Landscape("gaussian", 0, zeros, values, np.stack([zeros] * 3), zeros, zeros, zeros, 1 - whole)
    return SeedLine(seed, horizon, entry)


def test_several_seeds_are_a_median_and_the_largest():
    lines = [line(0, 30, 1.0, 10.0), line(1, 30, 1.0, 1e3), line(2, 30, 1.0, np.inf), line(0, 60, 1.0, 1e6)]
    first, second = rows_of(lines)
    assert (first.horizon, first.lines, first.nonfinite) == (30, 3, 1)
    assert first.median == 0.0
    assert first.largest[1] == pytest.approx(3)
    assert first.worst == np.inf
    assert second.largest == pytest.approx((6, 6, 6))
    text = seeds_text([first, second])
    assert "gaussian" in text
    assert " 3.0 " in text
