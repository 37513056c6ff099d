"""The agent and the command lines give the same, whatever the user has set for other code."""

import contextlib
import warnings

import gymnasium
import numpy as np
import pytest
import torch

import envs  # noqa: F401
from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.agent.library_defaults import library_defaults
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.run import cli
from mbrl_agent.study.__main__ import main as study
from tests.support.tiny_run import flags


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta device": lambda: default_device("meta"),
    "meta device context": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "anomaly mode": lambda: torch.autograd.set_detect_anomaly(True),
    "deterministic": deterministic,
    "NumPy raises": lambda: np.errstate(all="raise"),
    "NumPy prints as it did": lambda: np.printoptions(legacy="1.13", precision=2),
}


def settings() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_anomaly_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        tuple(np.geterr().items()),
        torch.get_num_threads(),
    )


def learned() -> tuple[list[np.ndarray], np.ndarray]:
    """The parameters and an action of an agent that does everything that one can do."""
    env = gymnasium.make("CartPoleSwingUp-v0")
    search = SearchOptions(steps=2, num_particles=20, candidates=2, horizon=4)
    model = Ensemble(fit_steps=5, hidden=(8,))
    agent = ParticlePILCO("RbfPolicy", env, seed=0, search=search, dynamics=model, gradient_probe=2)
    agent.learn(30)
    agent.set_env(env)
    agent.add_episode(np.zeros((3, 4)), np.zeros((2, 1)), np.zeros(2))
    agent.fit()
    agent.improve()
    action, _ = agent.predict(np.ones((1, 4), np.float32))
    return [value.detach().numpy() for value in agent.policy.parameters()], action


@pytest.fixture(scope="module")
def plain():
    return learned()


@pytest.mark.parametrize("name", SETTINGS)
def test_an_agent_does_not_care(name, plain):
    with SETTINGS[name]():
        before = settings()
        parameters, action = learned()
        assert settings() == before
    np.testing.assert_array_equal(action, plain[1])
    for value, expected in zip(parameters, plain[0], strict=True):
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", ["float64", "meta device", "inference_mode"])
def test_a_load_does_not_care(name, plain, tmp_path):
    agent = ParticlePILCO("LinearPolicy", gymnasium.make("CartPoleSwingUp-v0"), seed=0)
    agent.save(tmp_path / "agent.zip")
    expected = agent.predict(np.ones(4, np.float32))[0]
    with SETTINGS[name]():
        loaded = ParticlePILCO.load(tmp_path / "agent.zip")
        np.testing.assert_array_equal(loaded.predict(np.ones(4, np.float32))[0], expected)


def test_all_at_once_for_the_command_lines(tmp_path, capsys):
    words = flags(logdir=tmp_path / "runs", trials=2, eval_episodes=1, threads=2)
    hostile = ("float64", "meta device", "inference_mode", "anomaly mode", "NumPy raises")
    with contextlib.ExitStack() as stack:
        for name in hostile:
            stack.enter_context(SETTINGS[name]())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        before = settings()
        assert cli.main(words) == 0
        assert settings() == before
        (run,) = (tmp_path / "runs").iterdir()
        for source in (["--run", str(run)], ["--untrained", "--horizon", "3", "--out", str(tmp_path)]):
            small = ["--particles", "20", "--resampling", "none", "gaussian", "--threads", "2"]
            assert study(["trajectories", *source, *small]) == 0
            assert settings() == before
    assert capsys.readouterr().err == ""


def test_settings_are_restored_after_an_error():
    def fail() -> None:
        with library_defaults():
            raise ZeroDivisionError

    with SETTINGS["float64"](), SETTINGS["no_grad"]():
        before = settings()
        with pytest.raises(ZeroDivisionError):
            fail()
        assert settings() == before
