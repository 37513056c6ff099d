"""The environment's own physics as a model."""

import math

import gymnasium
import numpy as np
import pytest
import torch

import envs  # noqa: F401
from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.simulator import Simulator, SimulatorModel
from mbrl_agent.features import AngleFeatures
from mbrl_agent.study.gradients.scene import untrained_scene
from mbrl_agent.types import Transitions

FEATURES = AngleFeatures(4, (2,))


@pytest.fixture(params=["single", "vector"])
def dynamics(request):
    if request.param == "single":
        return gymnasium.make("CartPoleSwingUp-v0").unwrapped.dynamics
    return gymnasium.make_vec("CartPoleSwingUp-v0", num_envs=2).unwrapped.dynamics


@pytest.mark.parametrize("action", [0.3, -0.7, 1.0, 3.0])
def test_it_is_a_step_of_the_environment(dynamics, action):
    env = gymnasium.make("CartPoleSwingUp-v0", noise_std=0.0)
    start = np.array([0.2, -0.5, 2.5, 1.0])
    env.reset(options={"state": start})
    *_, info = env.step(np.array([action], dtype=np.float64))
    model = SimulatorModel(FEATURES, dynamics, noise_std=0.02)
    state = torch.tensor(start).expand(3, 5, 4)
    prediction = model.predict(state, torch.full((3, 5, 1), action, dtype=torch.float64))
    np.testing.assert_allclose(prediction.mean[1, 2], info["state"], atol=1e-12)
    assert prediction.mean.shape == prediction.std.shape == (3, 5, 4)
    assert (prediction.std == torch.tensor(0.02)).all()


def test_it_is_differentiable_and_keeps_the_dtype(dynamics):
    model = SimulatorModel(FEATURES, dynamics)
    for dtype in (torch.float32, torch.float64):
        state = torch.randn(2, 4, dtype=dtype, requires_grad=True)
        action = torch.zeros(2, 1, dtype=dtype, requires_grad=True)
        mean = model.predict(state, action).mean
        assert mean.dtype == dtype
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(mean.sum(), (state, action)))


def transitions(env, angle_shift=0.0):
    states = torch.randn(200, 4, dtype=torch.float64)
    actions = torch.rand(200, 1, dtype=torch.float64) * 2 - 1
    after = env.unwrapped.dynamics(states, actions)
    noise = torch.tensor([0.1, 0.2, 0.05, 0.4], dtype=torch.float64) * torch.randn_like(after)
    shift = torch.tensor([0.0, 0.0, angle_shift, 0.0], dtype=torch.float64)
    return Transitions(states, actions, after + noise + shift)


@pytest.mark.parametrize("angle_shift", [0.0, 2 * math.pi])
def test_its_noise_is_what_the_equations_leave(angle_shift):
    torch.manual_seed(0)
    env = gymnasium.make("CartPoleSwingUp-v0")
    model = Simulator().build(FEATURES, 1, torch.Generator())
    model.attach(env.unwrapped.dynamics)
    report = model.fit(transitions(env, angle_shift), torch.Generator())
    np.testing.assert_allclose(model.noise_std, [0.1, 0.2, 0.05, 0.4], rtol=0.2)
    expected = np.mean(np.log([0.1, 0.2, 0.05, 0.4])) + 0.5 + 0.5 * np.log(2 * np.pi)
    assert report.train_nll == pytest.approx(expected, abs=0.1)
    np.testing.assert_allclose(model.score(transitions(env)).rmse, [0.1, 0.2, 0.05, 0.4], rtol=0.2)


def test_without_noise_it_is_exact():
    model = Simulator(noise=False).build(FEATURES, 1, torch.Generator())
    env = gymnasium.make("CartPoleSwingUp-v0")
    model.attach(env.unwrapped.dynamics)
    model.fit(transitions(env), torch.Generator())
    assert not model.predict(torch.zeros(3, 4), torch.zeros(3, 1)).std.any()


def test_a_negative_noise_is_refused():
    with pytest.raises(ValueError, match="noise_std must not be negative"):
        SimulatorModel(FEATURES, noise_std=-1.0)


def test_an_agent_learns_in_it_is_saved_and_goes_on(tmp_path):
    few = SearchOptions(steps=2, num_particles=10, candidates=2)
    agent = ParticlePILCO("rbf:centers=5", "CartPoleSwingUp-v0", dynamics="simulator", search=few, seed=0)
    agent.learn(60)
    assert agent.candidates is not None
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent")
    with pytest.raises(ValueError, match="give the agent an environment"):
        loaded.dynamics.predict(torch.zeros(1, 4), torch.zeros(1, 1))
    loaded.set_env("CartPoleSwingUp-v0")
    agent.learn(30, reset_num_timesteps=False)
    loaded.learn(30, reset_num_timesteps=False)
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, loaded.policy.state_dict()[name])


def test_an_agent_without_such_an_environment_is_refused():
    with pytest.raises(ValueError, match="needs an environment with an attribute `dynamics`"):
        ParticlePILCO("rbf", "Pendulum-v1", dynamics="simulator", cost=lambda state, action: state[..., 0])


def test_an_environment_without_dynamics_is_refused():
    with pytest.raises(ValueError, match="does not offer its dynamics"):
        untrained_scene("Pendulum-v1")
