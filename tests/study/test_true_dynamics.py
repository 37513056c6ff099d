"""The environment's own physics as a model."""

import gymnasium
import numpy as np
import pytest
import torch

import envs  # noqa: F401
from mbrl_agent.study.gradients.scene import untrained_scene
from mbrl_agent.study.gradients.true_dynamics import TrueDynamics


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
    model = TrueDynamics(dynamics, 4, noise_std=0.02)
    state = torch.tensor(start).expand(3, 5, 4)
    prediction = model.predict(state, torch.full((3, 5, 1), action, dtype=torch.float64))
    np.testing.assert_allclose(prediction.mean[1, 2], info["state"], atol=1e-12)
    assert prediction.mean.shape == prediction.std.shape == (3, 5, 4)
    assert (prediction.std == 0.02).all()


def test_it_is_differentiable_and_keeps_the_dtype(dynamics):
    model = TrueDynamics(dynamics, 4)
    for dtype in (torch.float32, torch.float64):
        state = torch.randn(2, 4, dtype=dtype, requires_grad=True)
        action = torch.zeros(2, 1, dtype=dtype, requires_grad=True)
        mean = model.predict(state, action).mean
        assert mean.dtype == dtype
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(mean.sum(), (state, action)))


def test_it_is_neither_fitted_nor_judged(dynamics):
    model = TrueDynamics(dynamics, 4)
    with pytest.raises(NotImplementedError):
        model.fit(None, None)
    with pytest.raises(NotImplementedError):
        model.score(None)
    with pytest.raises(ValueError, match="noise_std must not be negative"):
        TrueDynamics(dynamics, 4, noise_std=-1.0)


def test_an_environment_without_dynamics_is_refused():
    with pytest.raises(ValueError, match="does not offer its dynamics"):
        untrained_scene("Pendulum-v1")
