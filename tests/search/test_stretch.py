"""How derivatives grow: exactly on linear systems, under every strategy that keeps affine fields."""

import gymnasium
import numpy as np
import pytest
import torch

from mbrl_agent.dynamics.simulator import SimulatorModel
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.randomness import derive_generator
from mbrl_agent.resampling import ExactGaussian, KernelTangent, NoResampling, Tangent
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.search.stretch import log_stretch

A = torch.tensor([[1.2, 0.4], [-0.3, 0.9]], dtype=torch.float64)
T, P = 6, 40


def policy():
    spaces = [gymnasium.spaces.Box(-1, 1, (size,)) for size in (2, 1)]
    return LinearPolicy(*spaces, lambda progress: 0.0).double()


def simulation(step, resampler, horizon=T):
    model = SimulatorModel(AngleFeatures(2, ()), step, 0.1).double()
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1, P, 2, generator=generator, dtype=torch.float64)
    noise = Noise.draw(model, resampler, start, horizon, generator)
    return Simulation(policy(), model, lambda state, action: state.square().sum(-1), resampler, start, noise)


def silent(made):
    """Parameters of a policy that does nothing."""
    drawn = made.policy.initial_parameters(made.initial_particles[0], 1, derive_generator(0, "policy"))
    return {name: torch.zeros_like(value) for name, value in drawn.items()}


@pytest.mark.parametrize(
    "resampler", [NoResampling(), Tangent(components=1), KernelTangent(), ExactGaussian()]
)
def test_of_a_linear_system_it_is_the_singular_value_of_a_power(resampler):
    made = simulation(lambda state, action: state @ A.T, resampler)
    found = log_stretch(silent(made), made)
    assert found.shape == (T, 1, P)
    for t in range(T):
        exact = np.linalg.svd(np.linalg.matrix_power(A.numpy(), T - t), compute_uv=False)[0]
        np.testing.assert_allclose(found[t].exp(), exact, rtol=1e-6)


def test_it_is_each_particle_s_own_where_nothing_is_resampled():
    made = simulation(lambda state, action: state + 0.5 * state.sin(), NoResampling(), 1)
    own = torch.abs(1 + 0.5 * made.initial_particles.cos()).amax(-1)
    torch.testing.assert_close(log_stretch(silent(made), made)[0].exp(), own)


def test_the_policy_is_part_of_the_loop():
    gain = torch.tensor([[0.5], [0.0]], dtype=torch.float64)
    made = simulation(lambda state, action: state + action @ gain.T, NoResampling(), 1)
    parameters = made.policy.initial_parameters(made.initial_particles[0], 1, derive_generator(1, "policy"))
    state = made.initial_particles.clone().requires_grad_()
    action = made.policy.controller(parameters)(state)
    (by_state,) = torch.autograd.grad(action.sum(), state)
    loop = torch.eye(2, dtype=torch.float64) + gain @ by_state.unsqueeze(-2)
    torch.testing.assert_close(log_stretch(parameters, made)[0].exp(), torch.linalg.svdvals(loop)[..., 0])


def test_what_overflows_is_infinite():
    made = simulation(lambda state, action: state * 1e200, NoResampling(), 3)
    assert torch.isinf(log_stretch(silent(made), made)[0]).all()
