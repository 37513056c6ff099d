"""The particle rollout: shapes, purity, exact gradients, independent replicates."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import RESAMPLERS, Mixture
from mbrl_agent.search.rollout import Noise, Simulation, rollout
from mbrl_agent.types import Trajectory

D, U, T, MEMBERS = 2, 1, 3, 3
DTYPE = torch.float64

every_resampler = pytest.mark.parametrize("name", RESAMPLERS.names())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cost(state, action):
    """Depends on every dimension, asymmetrically, so that nothing cancels."""
    return 1 - (-0.5 * ((state[..., 0] - 0.3) ** 2 + 0.5 * state[..., 1] ** 2) - 0.1 * action[..., 0]).exp()


def particles_for(resampler) -> int:
    """The fewest that split over the ensemble's members and suit the strategy."""
    fewest = resampler.min_particles(D)
    return next(n for n in range(MEMBERS, 1000, MEMBERS) if n >= fewest and n % 2 == 0)


def make(name: str = "gaussian", replicates: tuple[int, ...] = (2,), seed: int = 0, **options):
    """A simulation and policy parameters, random throughout, in float64."""
    resampler = RESAMPLERS.resolve(name)
    g = generator(seed)
    dynamics = Ensemble(members=MEMBERS, hidden=(6,), **options).build(AngleFeatures(D, (1,)), U, g).to(DTYPE)
    for parameter in dynamics.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=g, dtype=DTYPE)
    dynamics.target_std.fill_(0.5)
    box = spaces.Box(-np.inf, np.inf, (D,), np.float32)
    policy = RbfPolicy(box, spaces.Box(-1, 1, (U,), np.float32), angle_dims=(1,), centers=4).to(DTYPE)
    count = int(np.prod(replicates, dtype=int))
    flat = policy.initial_parameters(torch.randn(20, D, generator=g, dtype=DTYPE), count, g)
    parameters = {key: value.reshape(*replicates, *value.shape[1:]) for key, value in flat.items()}
    start = torch.randn(*replicates, particles_for(resampler), D, generator=g, dtype=DTYPE)
    noise = Noise.draw(dynamics, resampler, start, T, g)
    return Simulation(policy, dynamics, cost, resampler, start, noise), parameters


def tensors(trajectory: Trajectory) -> list[torch.Tensor]:
    t = trajectory
    return [t.states, t.actions, t.costs, t.weights, t.prediction.mean, t.prediction.std]


# shapes and values -----------------------------------------------------------------------------------------


@every_resampler
@pytest.mark.parametrize("replicates", [(), (2,), (2, 3)])
def test_shapes(name, replicates):
    simulation, parameters = make(name, replicates)
    t = simulation(parameters)
    P = simulation.initial_particles.shape[-2]
    assert t.states.shape == (T + 1, *replicates, P, D)
    assert t.actions.shape == (T, *replicates, P, U)
    assert t.costs.shape == t.weights.shape == (T, *replicates, P)
    assert t.prediction.mean.shape == t.prediction.std.shape == (T, *replicates, P, D)
    assert t.expected_costs().shape == (T, *replicates)
    assert t.expected_cost().shape == t.jittered().shape == replicates
    torch.testing.assert_close(t.weights.sum(-1), torch.ones(T, *replicates, dtype=DTYPE))
    assert torch.equal(t.states[0], simulation.initial_particles)


def test_the_noise_has_the_columns_that_are_consumed():
    simulation, _ = make("gaussian", propagation="per-step")
    assert simulation.noise.model.shape == (T, 2, simulation.initial_particles.shape[-2], D + 1)
    assert simulation.noise.resampling.shape == (T, 2, simulation.initial_particles.shape[-2], D)
    again = Noise.draw(
        simulation.dynamics, simulation.resampler, simulation.initial_particles, T, generator(1)
    )
    flat = torch.cat([again.model.flatten(), again.resampling.flatten()])
    assert len(flat.unique()) == len(flat)  # no number is used twice
    assert abs(float(flat.mean())) < 0.3
    assert 0.7 < float(flat.std()) < 1.3


@every_resampler
def test_each_step_is_policy_dynamics_resampler_cost(name):
    simulation, parameters = make(name)
    t = simulation(parameters)
    controller, carried = simulation.policy.controller(parameters), None
    for step in range(T):
        state = t.states[step]
        torch.testing.assert_close(t.actions[step], controller(state))
        prediction = simulation.dynamics.predict(state, t.actions[step])
        torch.testing.assert_close(t.prediction.mean[step], prediction.mean)
        torch.testing.assert_close(t.prediction.std[step], prediction.std)
        sample = prediction.mean + prediction.std * simulation.noise.model[step]
        resampled = simulation.resampler(prediction, sample, simulation.noise.resampling[step], carried)
        carried = resampled.state
        torch.testing.assert_close(t.states[step + 1], resampled.particles)
        torch.testing.assert_close(t.weights[step], resampled.weights)
        torch.testing.assert_close(t.costs[step], cost(t.states[step + 1], t.actions[step]))


def test_expected_cost_is_the_weighted_sum():
    simulation, parameters = make("mixture")
    t = simulation(parameters)
    assert float(t.weights.std()) > 0  # the components' masses differ
    total = torch.zeros(2, dtype=DTYPE)
    for step in range(T):
        for i in range(t.costs.shape[-1]):
            total += t.weights[step, :, i] * t.costs[step, :, i]
    torch.testing.assert_close(t.expected_cost(), total)


def test_without_resampling_a_particle_keeps_its_member():
    simulation, parameters = make("none")
    before = simulation(parameters).states
    with torch.no_grad():
        simulation.dynamics.weights[0][1] += 0.1
    changed = (simulation(parameters).states != before).any(-1).any(0)
    owner = torch.arange(before.shape[-2]) // (before.shape[-2] // MEMBERS)
    assert torch.equal(changed, (owner == 1).expand(2, -1))


def test_per_step_propagation_changes_the_members_of_a_particle():
    simulation, parameters = make("none", propagation="per-step")
    before = simulation(parameters).states
    with torch.no_grad():
        simulation.dynamics.weights[0][1] += 0.1
    changed = (simulation(parameters).states[1] != before[1]).any(-1)
    P = before.shape[-2]
    assert changed.sum(-1).tolist() == [P // MEMBERS] * 2
    second = torch.isclose(simulation(parameters).states[2], before[2]).all(-1)
    assert bool((~second & ~changed).any())  # untouched by the first step, touched by the second


# purity ----------------------------------------------------------------------------------------------------


@every_resampler
def test_it_repeats_bitwise_and_uses_no_global_random_numbers(name):
    simulation, parameters = make(name)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = tensors(simulation(parameters))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = tensors(simulation(parameters))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_arguments_are_left_alone():
    simulation, parameters = make("mixture")
    held = [simulation.initial_particles, simulation.noise.model, simulation.noise.resampling]
    held += [*parameters.values(), *simulation.dynamics.state_dict().values()]
    copies = [tensor.clone() for tensor in held]
    simulation(parameters)
    assert all(torch.equal(a, b) for a, b in zip(held, copies, strict=True))


# replicates ------------------------------------------------------------------------------------------------


@every_resampler
def test_replicates_do_not_touch_each_other(name):
    simulation, parameters = make(name, (3,))
    before = tensors(simulation(parameters))
    moved = {key: value.clone() for key, value in parameters.items()}
    moved["weights"][1] += 0.1
    after = tensors(simulation(moved))
    for a, b in zip(before[:3], after[:3], strict=True):
        assert torch.equal(a[:, [0, 2]], b[:, [0, 2]])
        assert not torch.equal(a[1:, 1], b[1:, 1])


@every_resampler
def test_replicates_are_separate_rollouts(name):
    simulation, parameters = make(name, (3,))
    together = tensors(simulation(parameters))
    for i in range(3):
        noise = Noise(simulation.noise.model[:, i], simulation.noise.resampling[:, i])
        alone = rollout(
            simulation.policy.controller({key: value[i] for key, value in parameters.items()}),
            simulation.dynamics.predict,
            cost,
            simulation.resampler,
            simulation.initial_particles[i],
            noise,
        )
        for a, b in zip(together, tensors(alone), strict=True):
            torch.testing.assert_close(a[:, i], b)


# gradients -------------------------------------------------------------------------------------------------

EXACT = [name for name in RESAMPLERS.names() if RESAMPLERS.resolve(name).exact_gradient]
EXACT += [Mixture(components=2, cost_weights="uniform")]


@pytest.mark.parametrize("name", EXACT, ids=str)
def test_the_gradient_is_that_of_finite_differences(name):
    """With common random numbers the whole rollout is a smooth function of the policy's parameters."""
    simulation, parameters = make(name, (2,))
    leaves = {key: value.requires_grad_() for key, value in parameters.items()}
    gradient = torch.autograd.grad(simulation(leaves).expected_cost().sum(), list(leaves.values()))
    for seed in range(3):
        g = generator(seed)
        direction = {key: torch.randn(value.shape, generator=g, dtype=DTYPE) for key, value in leaves.items()}
        slope = sum((a * b).flatten(1).sum(1) for a, b in zip(gradient, direction.values(), strict=True))
        step = 1e-5

        def shifted(by: float, direction=direction) -> torch.Tensor:
            with torch.no_grad():
                return simulation({k: v + by * direction[k] for k, v in leaves.items()}).expected_cost()

        numeric = (shifted(step) - shifted(-step)) / (2 * step)
        torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-8)
        assert float(numeric.abs().min()) > 1e-4  # there is a slope to be wrong about


def test_jitter_is_counted_by_replicate():
    simulation, parameters = make("gaussian", (2,))
    assert simulation(parameters).jittered().tolist() == [0, 0]
    base = simulation(parameters)
    jitter = torch.tensor([[0.0, 1e-3], [0.0, 0.0], [1e-3, 1e-3]])
    counted = Trajectory(base.states, base.actions, base.costs, base.weights, base.prediction, jitter)
    assert counted.jittered().tolist() == [1, 2]


@pytest.mark.parametrize("noisy", [False, True])
def test_noise_of_replicates_is_joined_and_shared(noisy):
    def draw(replicates):
        parts = [torch.randn(3, replicates, 5, columns) for columns in (2, 4, 1)]
        return Noise(*parts) if noisy else Noise(*parts[:2])

    one, two = draw(1), draw(2)
    joined = Noise.side_by_side([two, one])
    assert torch.equal(joined.model, torch.cat([two.model, one.model], dim=1))
    assert torch.equal(joined.resampling[:, 2], one.resampling[:, 0])
    shared = one.shared(3)
    assert shared.model.shape == (3, 3, 5, 2)
    assert torch.equal(shared.resampling[:, 1], one.resampling[:, 0])
    for noise in (joined, shared):
        assert (noise.policy is not None) == noisy
    if noisy:
        assert torch.equal(joined.policy[:, 2], shared.policy[:, 2])
