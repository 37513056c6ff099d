"""The energy of a plant is read where it holds, and whatever else has that name is left alone."""

import gymnasium
import pytest
import torch
from gymnasium import wrappers
from stable_baselines3.common.vec_env import DummyVecEnv

import envs  # noqa: F401
from mbrl_agent.agent.energy import offered_energy


def vectorized(wrap=lambda env: env, **attributes):
    env = gymnasium.make("CartPoleSwingUp-v0")
    for name, value in attributes.items():
        setattr(env.unwrapped, name, value)
    return DummyVecEnv([lambda: wrap(env)])


def test_it_is_the_plant_s():
    energy = offered_energy(vectorized(), 4)
    moving = torch.tensor([[0.0, 2.0, torch.pi / 2, 0.0]])
    assert energy is not None
    assert float(energy(moving)) == pytest.approx(0.5 * (0.5 + 0.5) * 2.0**2, rel=1e-5)


def test_behind_a_wrapper_that_changes_observations_it_does_not_hold():
    def reordered(env):
        return wrappers.TransformObservation(env, lambda o: o[[2, 3, 0, 1]], env.observation_space)

    assert offered_energy(vectorized(reordered), 4) is None


@pytest.mark.parametrize("value", [None, 3.0, lambda: 1.0, lambda state: state, lambda state: 1 / 0])
def test_what_is_something_else_is_none(value):
    assert offered_energy(vectorized(energy=value), 4) is None
