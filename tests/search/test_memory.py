"""What a policy remembers travels with its particle, and so do derivatives by what it remembered."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.policies.mlp import MlpPolicy
from mbrl_agent.policies.recurrent import RecurrentPolicy
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.search.adjoint import value_and_gradient
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.gradient_step import GradientStep
from mbrl_agent.search.memory_check import check_memory
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction

D, U, H, P, T = 3, 2, 4, 8, 5
KEEPING = ["kernel-tangent", "none", "own-residual", "tangent"]


def cost(state, action):
    assert state.shape[-1] == D
    assert action.shape[-1] == U
    return 1 - (-0.2 * state.square().sum(-1) - 0.1 * action.sum(-1)).exp()


def ends(state):
    assert state.shape[-1] == D
    return state[..., 0] > 1.0


def make(resampling: str = "none", terminated=None, propagation: str = "per-step", policy=None):
    """A simulation of two replicates with parameters of their own."""
    g = torch.Generator().manual_seed(0)
    model = (
        Ensemble(members=2, hidden=(6,), propagation=propagation).build(AngleFeatures(D, (1,)), U, g).double()
    )
    for parameter in model.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=g, dtype=torch.float64)
    model.target_std.fill_(0.4)
    if policy is None:
        box = spaces.Box(-np.inf, np.inf, (D,), np.float32), spaces.Box(-1, 1, (U,), np.float32)
        policy = RecurrentPolicy(*box, angle_dims=(1,), copied_dims=(2,), hidden=H).double()
    start = torch.randn(2, P, D, generator=g, dtype=torch.float64)
    parameters = policy.initial_parameters(start[0], 2, g)
    parameters = {
        k: v + 0.3 * torch.randn(v.shape, generator=g, dtype=v.dtype) for k, v in parameters.items()
    }
    resampler = RESAMPLERS.resolve(resampling)
    noise = Noise.draw(model, resampler, start, T, g)
    return Simulation(policy, model, cost, resampler, start, noise, terminated), parameters


def test_a_rollout_is_what_stepping_by_hand_gives():
    simulation, parameters = make()
    trajectory = simulation(parameters)
    act, predict = simulation.policy.controller(parameters), simulation.dynamics.predictor()
    state, memory = simulation.initial_particles, torch.zeros(2, P, H, dtype=torch.float64)
    for step, noise in enumerate(simulation.noise.model):
        action, memory = act(torch.cat([state, memory], -1)).split([U, H], -1)
        torch.testing.assert_close(trajectory.actions[step], action)
        prediction = predict(state, action, noise[..., D:])
        torch.testing.assert_close(trajectory.prediction.std[step], prediction.std)
        state = prediction.mean + prediction.std * noise[..., :D]
        torch.testing.assert_close(trajectory.states[step + 1], state)


def test_actions_depend_on_what_was_before():
    """Two particles in the same state at the last step, with different pasts, act differently."""
    simulation, parameters = make()
    trajectory = simulation(parameters)
    act = simulation.policy.controller(parameters)
    forgotten = act(torch.cat([trajectory.states[-2], torch.zeros(2, P, H, dtype=torch.float64)], -1))
    assert float((trajectory.actions[-1] - forgotten[..., :U]).abs().min()) > 1e-4


def test_memories_of_particles_do_not_meet():
    simulation, parameters = make()
    before = simulation(parameters)
    start = simulation.initial_particles.clone()
    start[1, 3] += 1.0
    after = replace(simulation, initial_particles=start)(parameters)
    others = torch.ones(2, P, dtype=torch.bool)
    others[1, 3] = False
    torch.testing.assert_close(after.actions[:, others], before.actions[:, others], rtol=0, atol=1e-12)
    assert float((after.actions[-1, 1, 3] - before.actions[-1, 1, 3]).abs().max()) > 1e-6


@pytest.mark.parametrize("rows", [10**6, 1])
@pytest.mark.parametrize("terminated", [None, ends])
@pytest.mark.parametrize("resampling", KEEPING)
def test_the_adjoint_is_autograd(resampling, terminated, rows):
    """In one segment of time, and in as many as there are steps."""
    simulation, parameters = make(resampling, terminated)
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    total = simulation(leaves).expected_cost().sum()
    expected = torch.autograd.grad(total, list(leaves.values()))
    parts, found = value_and_gradient(parameters, simulation, recorded_rows=rows)
    torch.testing.assert_close(sum(part.expected_cost() for part in parts).sum(), total.detach())
    assert parts[0].states.shape[-1] == D
    assert parts[0].actions.shape[-1] == U
    if terminated:
        assert 0 < int(parts[-1].ended[-1].sum()) < 2 * P
    for name, value in zip(leaves, expected, strict=True):
        assert float(value.norm()) > 1e-4
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11)


def test_the_gradient_is_that_of_finite_differences():
    simulation, parameters = make()
    _, gradient = value_and_gradient(parameters, simulation)
    g = torch.Generator().manual_seed(4)
    direction = {k: torch.randn(v.shape, generator=g, dtype=v.dtype) for k, v in parameters.items()}

    def at(step: float) -> torch.Tensor:
        return simulation({k: v + step * direction[k] for k, v in parameters.items()}).expected_cost()

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    found = sum((gradient[k] * direction[k]).flatten(1).sum(1) for k in parameters)
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-8)


def test_a_policy_without_a_memory_is_simulated_as_it_is():
    box = spaces.Box(-np.inf, np.inf, (D,), np.float32), spaces.Box(-1, 1, (U,), np.float32)
    simulation, _ = make(policy=LinearPolicy(*box).double())
    assert simulation.with_memory() is simulation


def test_what_works_with_a_memory():
    """Strategies that keep particles, and estimators that differentiate the whole rollout."""
    policy = make()[0].policy
    none, reparameterization = RESAMPLERS.resolve("none"), ESTIMATORS.resolve("reparameterization")
    for name in KEEPING:
        check_memory(policy, RESAMPLERS.resolve(name), reparameterization)
    for name in ("exact-gaussian", "gaussian", "interpolated", "liu-west", "mixture"):
        with pytest.raises(ValueError, match=r"'kernel-tangent', .*'none', .*'tangent'"):
            check_memory(policy, RESAMPLERS.resolve(name), reparameterization)
    for name in ("likelihood-ratio", "total-propagation", "gaussian-shaping"):
        with pytest.raises(ValueError, match=r"through what it remembers: use .*'reparameterization'"):
            check_memory(policy, none, ESTIMATORS.resolve(name))


class Rail(DynamicsModel):
    """A mass without friction, (x, v), which is pushed."""

    noise_dims = 2

    def predict(self, state, action, extra_noise=None):
        (x, v), u = state.unbind(-1), action[..., 0]
        mean = torch.stack([x + 0.4 * v + 0.08 * u, v + 0.4 * u], -1)
        return Prediction(mean, torch.full_like(mean, 0.01))

    def fit(self, transitions, generator):
        raise NotImplementedError

    def score(self, transitions):
        raise NotImplementedError


def cost_after_learning(policy) -> float:
    """Of 20 steps that a policy has learned in to bring the mass from x = 1 to rest at the origin."""
    g, none, model = torch.Generator().manual_seed(0), RESAMPLERS.resolve("none"), Rail()
    start = torch.tensor([1.0, 0.0]) + 0.1 * torch.randn(2, 20, 2, generator=g)
    noise = Noise.draw(model, none, start, 20, g)
    simulation = Simulation(policy, model, lambda s, u: 1 - (-2 * s[..., 0] ** 2).exp(), none, start, noise)
    step = GradientStep(
        Reparameterization(), policy.initial_parameters(start[0], 2, g), simulation, 0.05, 1.0
    )
    return min(float(step().expected_cost.min()) for _ in range(100))


def test_a_memory_damps_what_position_alone_cannot():
    """A force that depends on the position alone takes no energy from the mass."""
    box = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(-1, 1, (1,), np.float32)
    memoryless = MlpPolicy(*box, hidden=(8,))
    memoryless.feature_scale[1] = 0.0  # does not see the velocity
    assert cost_after_learning(RecurrentPolicy(*box, copied_dims=(1,), hidden=8)) < 2.5
    assert cost_after_learning(memoryless) > 4.5
