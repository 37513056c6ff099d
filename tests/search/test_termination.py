"""Particles that end: they stand still and pay on, nobody sees them, and every gradient is right."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mbrl_agent.dynamics.ensemble import EnsembleModel
from mbrl_agent.resampling import DetachedMixture, Mixture, NoResampling
from mbrl_agent.search.rollout import Noise
from mbrl_agent.search.termination import survivors, times_paid
from tests.search.test_adjoint import VARIANTS, Bang, Model, Shifted, adjoint, assert_same, make, reference

DTYPE = torch.float64
every_variant = pytest.mark.parametrize("resampler", [*VARIANTS, Shifted()], ids=repr)


def beyond(limit: float):
    return lambda state: state[..., 0] > limit


def ending(resampler, quantile=0.8, limit=None, **options):
    """A noisy simulation in which some particles end, at different steps, and others go on."""
    simulation, parameters = make(resampler, horizon=5, **options)
    model, shape = simulation.dynamics, simulation.initial_particles.shape
    if isinstance(model, EnsembleModel):
        model.target_std.mul_(4)
    g = torch.Generator().manual_seed(2)
    start = torch.randn(*shape[:-2], 4 * shape[-2], shape[-1], generator=g, dtype=DTYPE)
    noise = Noise.draw(model, resampler, start, 5, g)
    simulation = replace(simulation, initial_particles=start, noise=noise)
    if limit is None:
        limit = float(simulation(parameters).states[1:, ..., 0].quantile(quantile))
    return replace(simulation, terminated=beyond(limit)), parameters


def some_end(simulation, parameters) -> torch.Tensor:
    ended = simulation(parameters).ended
    assert bool((ended[-1].any(-1) & ~ended[-1].all(-1)).any())
    assert len(ended.sum((1, 2)).unique()) > 2  # not all at once
    return ended


# the rollout -----------------------------------------------------------------------------------------------


@every_variant
def test_who_has_ended_stands_still_and_pays(resampler):
    simulation, parameters = ending(resampler)
    ended, t = some_end(simulation, parameters), simulation(parameters)
    assert not bool(ended[0].any())  # an episode ends after a step, not before the first
    torch.testing.assert_close(t.weights.sum(-1), torch.ones(t.weights.shape[:-1], dtype=DTYPE))
    for step in range(len(t.costs)):
        assert torch.equal(ended[step + 1], ended[step] | simulation.terminated(t.states[step + 1]))
        still = ended[step]
        assert torch.equal(t.states[step + 1][still], t.states[step][still])
        if step:
            for values in (t.actions, t.costs, t.weights):
                assert torch.equal(values[step][still], values[step - 1][still])


def test_without_resampling_every_particle_runs_as_it_would_alone():
    simulation, parameters = ending(NoResampling())
    t, free = simulation(parameters), replace(simulation, terminated=None)(parameters)
    for step in range(len(t.costs) + 1):
        going_on = ~t.ended[step]
        assert torch.equal(t.states[step][going_on], free.states[step][going_on])
    first = simulation.terminated(free.states[1:]).int().argmax(0)  # at which step each one falls, if it does
    falls = simulation.terminated(free.states[1:]).any(0)
    last = torch.where(falls, first, len(t.costs) - 1)
    expected = torch.stack([
        free.costs[: int(s) + 1, r, p].sum() + (len(t.costs) - 1 - s) * free.costs[s, r, p]
        for (r, p), s in np.ndenumerate(last.numpy())
    ]).view(last.shape)  # fmt: skip
    torch.testing.assert_close(t.costs.sum(0), expected)


@every_variant
def test_a_limit_that_nobody_reaches_changes_nothing(resampler):
    simulation, parameters = ending(resampler, limit=1e9)
    assert_same(
        adjoint(parameters, simulation),
        reference(parameters, replace(simulation, terminated=None)),
        1e-10,
    )


@every_variant
def test_after_all_have_ended_everything_is_finite_and_constant(resampler):
    simulation, parameters = ending(resampler, limit=-1e9)
    found, expected = adjoint(parameters, simulation), reference(parameters, simulation)
    assert_same(found, expected, 1e-10)
    one_step = replace(simulation, noise=simulation.noise.split(1)[0], terminated=None)
    cost, gradient = reference(parameters, one_step)
    assert_same(found, (5 * cost, {name: 5 * value for name, value in gradient.items()}), 1e-10)


class Fragile(Model):
    """Not defined where particles have ended."""

    def predict(self, state, action, extra_noise=None):
        prediction = super().predict(state, action, extra_noise)
        return replace(prediction, mean=prediction.mean.where(state[..., :1] <= 0.5, torch.nan))


@every_variant
def test_nobody_sees_those_who_have_ended(resampler):
    """Where one that has ended is seen by model or strategy, everything turns into nan."""
    simulation, parameters = ending(resampler, limit=0.5, dynamics=Fragile())
    start = torch.minimum(simulation.initial_particles, torch.tensor(0.5, dtype=DTYPE))
    simulation = replace(simulation, initial_particles=start)
    assert bool(simulation(parameters).ended[1].any())
    cost, gradient = adjoint(parameters, simulation)
    assert bool(cost.isfinite().all())
    assert all(bool(value.isfinite().all()) for value in gradient.values())


def test_the_slots_of_the_ended_are_dealt_out_by_weight():
    ended = torch.tensor([True, False, True, True, False, True, True, False])
    weights = torch.tensor([0.1, 0.3, 0.1, 0.0, 0.2, 0.1, 0.1, 0.1])
    index = survivors(ended, weights)
    assert index[~ended].tolist() == [1, 4, 7]
    assert sorted(index[ended].tolist()) == [1, 1, 4, 4, 7] or sorted(index[ended].tolist()) == [
        1,
        1,
        1,
        4,
        7,
    ]
    assert survivors(torch.zeros(8, dtype=torch.bool), weights).tolist() == list(range(8))
    alone = torch.tensor([[True, True, False, True], [True] * 4])
    found = survivors(alone, torch.full((2, 4), 0.25))
    assert found[0].tolist() == [2, 2, 2, 2]
    assert bool(((found[1] >= 0) & (found[1] < 4)).all())


@pytest.mark.parametrize("components", [2, 3])
def test_labels_follow_the_particles(components):
    state = torch.randn(2, components, 6)
    index = torch.tensor([[0, 1, 1, 1, 4, 5], [3, 3, 3, 3, 4, 3]])
    carried = DetachedMixture(components=components).carry(state, index)
    for r in range(2):
        assert torch.equal(carried[r], state[r][:, index[r]])
    log_weights = torch.randn(2, components)
    assert Mixture(components=components).carry(log_weights, index) is log_weights


def test_steps_that_were_not_taken_are_paid_at_the_end():
    ended = torch.tensor([[False, False], [False, True], [False, True], [True, True]])
    assert times_paid(ended).tolist() == [[1, 3], [1, 0], [1, 0]]
    assert times_paid(ended, 2).tolist() == [[1, 5], [1, 0], [3, 0]]


# the gradient ----------------------------------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize("propagation", ["fixed", "per-step"])
def test_the_adjoint_sweep_equals_autograd(resampler, propagation):
    simulation, parameters = ending(resampler, propagation=propagation)
    some_end(simulation, parameters)
    expected = reference(parameters, simulation)
    assert_same(adjoint(parameters, simulation), expected, 1e-10)
    rows = simulation.initial_particles[..., 0].numel()
    for steps in (1, 2):
        assert_same(adjoint(parameters, simulation, recorded_rows=steps * rows), expected, 1e-10)


class NoQuestions(TorchDispatchMode):
    """Refuses what would wait for a value, or makes a shape depend on one; neither can be captured."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.masked_select.default,
        )
        return func(*args, **(kwargs or {}))


def test_nothing_depends_on_how_many_have_ended():
    simulation, parameters = ending(NoResampling())
    with NoQuestions():
        adjoint(parameters, simulation)


@pytest.mark.parametrize(
    ("policy", "replicates"),
    [("mlp", ()), ("linear", (2, 3)), (Bang(), (2, 3))],
    ids=["mlp", "linear", "bang"],
)
def test_the_adjoint_sweep_equals_autograd_with_every_policy(policy, replicates):
    for resampler in (NoResampling(), Mixture(components=2)):
        simulation, parameters = ending(resampler, policy=policy, replicates=replicates)
        assert_same(adjoint(parameters, simulation), reference(parameters, simulation), 1e-10)


@pytest.mark.parametrize("resampler", [r for r in VARIANTS if r.exact_gradient], ids=repr)
def test_the_gradient_is_that_of_finite_differences(resampler):
    simulation, parameters = ending(resampler)
    some_end(simulation, parameters)
    _, gradient = adjoint(parameters, simulation)
    g = torch.Generator().manual_seed(1)
    direction = {key: torch.randn(value.shape, generator=g, dtype=DTYPE) for key, value in parameters.items()}
    slope = sum((gradient[key] * value).flatten(1).sum(1) for key, value in direction.items())
    step = 1e-6

    def shifted(by: float) -> torch.Tensor:
        moved = {key: value + by * direction[key] for key, value in parameters.items()}
        return simulation(moved).expected_cost()

    numeric = (shifted(step) - shifted(-step)) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-7)
    assert float(numeric.abs().min()) > 1e-4
