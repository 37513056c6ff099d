"""Runs that observe a part of the state and remember: every command on them, and mistakes."""

import numpy as np
import pytest

from mbrl_agent import ParticlePILCO
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.environment import Environment, make_env, make_vector_env
from mbrl_agent.run.evaluation import evaluate
from mbrl_agent.run.experiment import open_run
from mbrl_agent.run.open_agent import open_agent
from tests.support.programs import error_line, run
from tests.support.tiny_run import quick_figures, tiny

POSITIONS = {"observe": (0, 2), "history": 3}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """The directory of a tiny run that observes positions."""
    made = tiny(tmp_path_factory.mktemp("positions"), **POSITIONS)
    with quick_figures():
        made.run()
    return made.directory


def test_the_agent_sees_positions(directory):
    agent = ParticlePILCO.load(directory / "agent.zip")
    assert agent.observation_space.shape == (8,)
    assert agent.task.angle_dims == (1, 3, 5)
    assert len(agent.task.copied_dims) == 6


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--episodes", 2),
        ("evaluate", "--episodes", 2, "--env", "CartPoleSwingUp-v0", "--env.noise-scale", 2),
        ("inspect", "--out", "OUT"),
        ("watch", "--gif", "OUT.gif"),
        ("export", "--out", "OUT", "--format", "numpy"),
    ],
)
def test_commands_on_it(words, directory, tmp_path, capsys):
    name, *rest = words
    rest = [str(word).replace("OUT", str(tmp_path / "out")) for word in rest]
    with quick_figures():
        assert run(capsys, name, directory, *rest)


def test_another_environment_is_observed_alike(directory):
    environment = open_agent(directory).environment("CartPoleSwingUp-v0", max_episode_steps=5)
    assert (environment.observed, environment.history, environment.max_episode_steps) == ((0, 2), 3, 5)


def test_a_batch_is_what_its_environments_are():
    environment = Environment("CartPoleSwingUp-v0", observed=(2, 0), history=2)
    batch, single = make_vector_env(environment, 3), make_env(environment)
    states, _ = batch.reset(seed=5)
    expected, _ = single.reset(seed=6)
    for number in range(3):
        np.testing.assert_array_equal(states[1], expected)
        action = np.full((3, 1), 0.3 * number, np.float32)
        states, expected = batch.step(action)[0], single.step(action[1])[0]
    batch.close()


def test_evaluation_in_a_batch_is_that_of_single_episodes(directory):
    agent, environment = ParticlePILCO.load(directory / "agent.zip"), TrainConfig(**POSITIONS).environment
    found = evaluate(lambda states: agent.predict(states)[0], environment, 2, seed=3)
    env = make_env(environment)
    state, _ = env.reset(seed=4)
    total, done = 0.0, False
    while not done:
        state, reward, terminated, truncated, _ = env.step(agent.predict(state)[0])
        total, done = total + float(reward), terminated or truncated
    assert found.returns[1] == pytest.approx(total, rel=1e-4)


def test_it_is_resumed(directory, tmp_path):
    config = TrainConfig.load(directory / "config.yaml")
    assert (config.observe, config.history) == ((0, 2), 3)
    with quick_figures():
        short = tiny(tmp_path, trials=2, **POSITIONS)
        short.run()
    config = TrainConfig.load(short.directory / "config.yaml").updated({"trials": 3})
    again = open_run(short.directory, config)
    with quick_figures():
        again.run()
    one, other = (ParticlePILCO.load(path / "agent.zip") for path in (directory, short.directory))
    for name, value in one.policy.state_dict().items():
        assert np.array_equal(value, other.policy.state_dict()[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--observe", "0,9"),
            "observed 0,9: an observation has dimensions 0 to 3",
        ),
        (("--observe", "0,0"), "--observe: must be indices from 0, each once, got 0,0"),
        (("--observe", "-1"), "--observe"),
        (("--observe", "x"), "--observe: expected"),
        (("--history", "0"), "--history: must be at least 1, got 0"),
        (("--env", "CartPole-v1", "--history", "2"), "actions must be a Box with one axis"),
        (("--env", "Pendulum-v1", "--history", "2"), "--cost"),
        (("--observe", "1,3"), "cost depends on dimension 0, 2 of its observations"),
        (("--observe", "0,2", "--dynamics", "simulator"), "dynamics"),
    ],
)
def test_mistakes(words, message, tmp_path, capsys):
    assert message in error_line(capsys, "train", *words, "--logdir", tmp_path)
