"""Scenes start where the task says, end where it says, and know their environment's attributes."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers

from mbrl_agent.resampling import Gaussian
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.experiment import state_labels
from mbrl_agent.search.initial_states import SampledStates, StateSet
from mbrl_agent.study.__main__ import main
from mbrl_agent.study.gradients.bimodal import Modes, forward_errors
from mbrl_agent.study.gradients.sampling import Sampling, batches
from mbrl_agent.study.gradients.scene import true_step, untrained_scene
from mbrl_agent.study.strategies import parse_strategy

HANGING = np.array([[0.0, 0.0, 3.1, 0.0], [0.1, 0.0, 3.2, 0.0], [-0.1, 0.1, 3.0, 0.0]])
ID = "SceneTest-v0"


def sampler(count, generator):
    return torch.as_tensor(HANGING)[torch.randint(3, (count,), generator=generator)]


def registered(**attributes):
    """A cart-pole that offers its task in another way."""

    def make():
        env = gymnasium.make("envs:CartPoleSwingUp-v0").unwrapped
        for name, value in attributes.items():
            setattr(env, name, value)
        return env

    gymnasium.register(ID, entry_point=make, max_episode_steps=4)


@pytest.fixture(autouse=True)
def unregistered():
    yield
    gymnasium.registry.pop(ID, None)


@pytest.mark.parametrize(("states", "kind"), [(HANGING, StateSet), (sampler, SampledStates)])
def test_a_scene_starts_and_ends_where_the_environment_says(states, kind):
    registered(initial_states=states, terminated=lambda state: state[..., 0].abs() > 0.3)
    scene = untrained_scene(ID)
    assert isinstance(scene.start, kind)
    for here, dtype in ((scene, torch.float32), (scene.double(), torch.float64)):
        points = {name: value[None] for name, value in here.parameters.items()}
        batch = next(batches(here, Gaussian(), points, Sampling(20, 2), "test"))
        trajectory = batch.simulation(batch.parameters)
        assert trajectory.states.dtype == dtype
        assert trajectory.ended is not None
        assert len(trajectory.states[0].reshape(-1, 4).unique(dim=0)) == 3


@pytest.mark.parametrize("states", [HANGING, sampler], ids=["states", "sampler"])
def test_a_bimodal_start_around_any_kind_of_states(states):
    registered(initial_states=states)
    scene = untrained_scene(ID)
    found = forward_errors(scene, [parse_strategy("none")], Modes(2, 2.0, 4.0), Sampling(20, 2))
    assert found[0].error.value == 0.0


def test_what_does_not_hold_behind_a_wrapper_is_not_used():
    env = make_env("CartPoleSwingUp-v0")
    assert true_step(env) is not None
    assert state_labels(env)[2] == "theta [rad]"
    order = wrappers.TransformObservation(env, lambda o: o[[2, 3, 0, 1]], env.observation_space)
    assert true_step(order) is None
    assert state_labels(order)[2] == "dimension 2"


def test_too_few_particles_for_an_estimator_are_a_line_of_text(tmp_path, capsys):
    command = ["landscape", "--untrained", "--resampling", "none", "--out", str(tmp_path / "out")]
    assert main([*command, "--estimator", "gaussian-shaping", "--particles", "13"]) == 2
    assert "needs at least 14 of them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
