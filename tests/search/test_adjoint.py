"""The adjoint sweep: expected cost and gradient are those of autograd through the plain rollout."""

import gc
import itertools
import weakref
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agent.dynamics.base import DynamicsModel, Predictor
from mbrl_agent.dynamics.ensemble import Ensemble, EnsembleModel
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy, squash
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import (
    RESAMPLERS,
    DetachedMixture,
    Gaussian,
    Interpolated,
    LiuWest,
    Mixture,
    Resampler,
    Tangent,
)
from mbrl_agent.resampling.base import equal_weights
from mbrl_agent.resampling.ot_interpolated import OtInterpolated
from mbrl_agent.resampling.scored_mixture import ScoredMixture
from mbrl_agent.search.adjoint import value_and_gradient
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Prediction, Resampled

MEMBERS = 3
VARIANTS: list[Resampler] = [
    *(cls() for cls in RESAMPLERS.classes.values()),
    Gaussian(moments="predictions"),
    *(Interpolated(ratio=r, moments=m) for r in (0.0, 0.8, 1.0) for m in ("particles", "predictions")),
    *(LiuWest(ratio=r, moments=m) for r in (0.0, 0.8, 1.0) for m in ("particles", "predictions")),
    Mixture(components=2, em_iterations=1, cost_weights="uniform"),
    Mixture(components=2, detach_responsibilities=True),
    DetachedMixture(components=2, shrinkage=0.0),
    Tangent(components=1),
    OtInterpolated(ratio=0.8, moments="predictions"),
    OtInterpolated(straight_through=True),
    ScoredMixture(components=2),
]
every_variant = pytest.mark.parametrize("resampler", VARIANTS, ids=repr)
every_resampler = pytest.mark.parametrize("name", RESAMPLERS.names())
every_policy = pytest.mark.parametrize("policy", POLICIES.names())
both_propagations = pytest.mark.parametrize("propagation", ["fixed", "per-step"])


def cost_of_both(state, action):
    """Depends on every dimension, asymmetrically, and couples state and action."""
    scale = torch.linspace(0.4, 0.9, state.shape[-1], dtype=state.dtype)
    distance = (scale * (state - 0.3)).square().sum(-1)
    return 1 - (-0.5 * distance - 0.1 * action.sum(-1)).exp() + 0.05 * (action * state[..., :1]).sum(-1)


def cost_of_state(state, action):
    return 1 - (-0.5 * (state - 0.3).square().sum(-1)).exp()


def cost_of_action(state, action):
    return (action - 0.2).square().sum(-1)


def cost_with_constant_action(state, action):
    return cost_of_state(state, action) + (action.detach() > 0).any(-1)


def cost_without_slope(state, action):
    return (state[..., 0] > 0).to(state.dtype)


COSTS = [cost_of_both, cost_of_state, cost_of_action, cost_with_constant_action]


def make(
    resampler: Resampler | str = "gaussian",
    policy: str | SearchPolicy = "rbf",
    propagation: str = "fixed",
    replicates: tuple[int, ...] = (2,),
    dims: int = 2,
    angles: tuple[int, ...] = (1,),
    action_dims: int = 2,
    horizon: int = 3,
    cost=cost_of_both,
    dynamics: DynamicsModel | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> tuple[Simulation, dict[str, torch.Tensor]]:
    """A simulation and policy parameters, random throughout."""
    if isinstance(resampler, str):
        resampler = RESAMPLERS.resolve(resampler)
    g = torch.Generator().manual_seed(seed)
    if dynamics is None:
        options = Ensemble(members=MEMBERS, hidden=(6, 5), propagation=propagation)
        dynamics = options.build(AngleFeatures(dims, angles), action_dims, g).to(dtype)
        for parameter in dynamics.parameters():
            parameter.data = 0.4 * torch.randn(parameter.shape, generator=g, dtype=dtype)
        dynamics.target_std.copy_(torch.linspace(0.3, 0.6, dims))
    if isinstance(policy, str):
        small = {"rbf": {"centers": 4}, "mlp": {"hidden": (5,)}, "linear": {}}.get(policy, {})
        policy = POLICIES.get(policy).policy_class(*boxes(dims, action_dims), angle_dims=angles, **small)
    count = int(np.prod(replicates, dtype=int))
    flat = policy.to(dtype).initial_parameters(torch.randn(20, dims, generator=g, dtype=dtype), count, g)
    parameters = {key: value.reshape(*replicates, *value.shape[1:]) for key, value in flat.items()}
    fewest = resampler.min_particles(dims)
    particles = next(n for n in range(2 * MEMBERS, 1000, 2 * MEMBERS) if n >= fewest)
    start = torch.randn(*replicates, particles, dims, generator=g, dtype=dtype)
    noise = Noise.draw(dynamics, resampler, start, horizon, g)
    return Simulation(policy, dynamics, cost, resampler, start, noise), parameters


def boxes(dims: int, action_dims: int) -> tuple[spaces.Box, spaces.Box]:
    return spaces.Box(-np.inf, np.inf, (dims,), np.float32), spaces.Box(-1, 1, (action_dims,), np.float32)


def reference(parameters, simulation) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The plain formulation: a tape of the whole rollout."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    expected_cost = simulation(leaves).expected_cost()
    found = torch.autograd.grad(expected_cost.sum(), list(leaves.values()), materialize_grads=True)
    return expected_cost.detach(), dict(zip(leaves, found, strict=True))


def adjoint(parameters, simulation, **options) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    trajectories, gradient = value_and_gradient(parameters, simulation, **options)
    return sum(part.expected_cost() for part in trajectories), gradient


def assert_same(found, expected, tolerance: float) -> None:
    """Expected costs and gradients agree, relative to the norm of each."""
    assert found[1].keys() == expected[1].keys()
    pairs = [(found[0], expected[0]), *((found[1][name], value) for name, value in expected[1].items())]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert not ours.requires_grad
        error, size = float((ours - theirs).norm()), float(theirs.norm())
        assert error <= tolerance * size, f"relative error {error / size if size else error:.1e}"


def assert_slopes(gradient) -> None:
    """There is something to be wrong about."""
    assert all(float(value.norm()) > 1e-4 for value in gradient.values())


# every combination of strategies ---------------------------------------------------------------------------


@every_variant
@both_propagations
def test_equals_autograd(resampler, propagation):
    simulation, parameters = make(resampler, propagation=propagation)
    expected = reference(parameters, simulation)
    assert_slopes(expected[1])
    assert_same(adjoint(parameters, simulation), expected, 1e-10)


@every_resampler
@every_policy
@both_propagations
def test_equals_autograd_with_every_policy(name, policy, propagation):
    simulation, parameters = make(name, policy, propagation)
    expected = reference(parameters, simulation)
    assert_slopes(expected[1])
    assert_same(adjoint(parameters, simulation), expected, 1e-10)


@every_resampler
@every_policy
def test_equals_autograd_in_single_precision(name, policy):
    simulation, parameters = make(name, policy, dtype=torch.float32)
    assert_same(adjoint(parameters, simulation), reference(parameters, simulation), 1e-5)


@every_resampler
@pytest.mark.parametrize("replicates", [(), (1,), (3,), (2, 3)])
def test_equals_autograd_with_replicates(name, replicates):
    simulation, parameters = make(name, replicates=replicates, propagation="per-step")
    assert_same(adjoint(parameters, simulation), reference(parameters, simulation), 1e-10)


@every_resampler
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.__name__)
def test_equals_autograd_with_every_kind_of_cost(name, cost):
    simulation, parameters = make(name, cost=cost)
    expected = reference(parameters, simulation)
    assert_slopes(expected[1])
    assert_same(adjoint(parameters, simulation), expected, 1e-10)


@every_resampler
def test_a_cost_without_slope_leaves_the_weights(name):
    simulation, parameters = make(name, cost=cost_without_slope)
    found = adjoint(parameters, simulation)
    if name not in ("mixture", "scored-mixture"):
        assert all(not value.any() for value in found[1].values())
        return
    assert_slopes(found[1])
    assert_same(found, reference(parameters, simulation), 1e-10)


@settings(max_examples=40)
@given(
    layout=st.integers(1, 4).flatmap(
        lambda dims: st.tuples(st.just(dims), st.lists(st.integers(0, dims - 1), unique=True))
    ),
    action_dims=st.integers(1, 3),
    horizon=st.integers(1, 5),
    replicates=st.lists(st.integers(1, 3), max_size=2),
    steps_a_segment=st.integers(1, 6),
    resampler=st.sampled_from(VARIANTS),
    policy=st.sampled_from(POLICIES.names()),
    propagation=st.sampled_from(["fixed", "per-step"]),
)
def test_equals_autograd_whatever_the_shapes(
    layout, action_dims, horizon, replicates, steps_a_segment, resampler, policy, propagation
):
    dims, angles = layout
    simulation, parameters = make(
        resampler,
        policy,
        propagation,
        replicates=tuple(replicates),
        dims=dims,
        angles=tuple(angles),
        action_dims=action_dims,
        horizon=horizon,
    )
    rows = steps_a_segment * simulation.initial_particles[..., 0].numel()
    found = adjoint(parameters, simulation, recorded_rows=rows)
    assert_same(found, reference(parameters, simulation), 1e-8)


# segments --------------------------------------------------------------------------------------------------


@every_resampler
@pytest.mark.parametrize(("steps", "lengths"), [(0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (4, [4, 1])])
def test_segments_make_no_difference(name, steps, lengths):
    simulation, parameters = make(name, horizon=5)
    rows = steps * simulation.initial_particles[..., 0].numel()
    whole, gradient = value_and_gradient(parameters, simulation)
    parts, in_parts = value_and_gradient(parameters, simulation, recorded_rows=rows)
    assert len(whole) == 1
    assert [len(part.costs) for part in parts] == lengths
    assert torch.equal(torch.cat([part.costs for part in parts]), whole[0].costs)
    assert torch.equal(torch.cat([part.weights for part in parts]), whole[0].weights)
    for part, following in itertools.pairwise(parts):
        assert torch.equal(part.states[-1], following.states[0])
    for key, value in gradient.items():
        torch.testing.assert_close(in_parts[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_no_more_steps_are_on_record_than_asked_for(steps):
    class Counted(Predictor):
        open, most = 0, 0

        def vjp(self, state, action, extra_noise=None):
            prediction, pull_back = super().vjp(state, action, extra_noise)
            record = [pull_back]
            weakref.finalize(pull_back, self.closed)
            Counted.open += 1
            Counted.most = max(Counted.most, Counted.open)
            return prediction, record.pop()

        def closed(self):
            Counted.open -= 1

    simulation, parameters = make("gaussian", horizon=5)
    counted = Counted(simulation.dynamics.predict)
    simulation.dynamics.predictor = lambda: counted
    rows = steps * simulation.initial_particles[..., 0].numel()
    value_and_gradient(parameters, simulation, recorded_rows=rows)
    # in a run without a record one more is alive: that which is about to be dropped
    assert min(steps, 5) <= Counted.most <= min(steps, 5) + 1
    assert Counted.open == 0


# what users bring ------------------------------------------------------------------------------------------


class Model(DynamicsModel):
    """Without a derivative of its own; every particle's noise depends on its state."""

    def __init__(self, by_action: float = 0.4, noisy: bool = True) -> None:
        super().__init__()
        self.noise_dims, self.by_action, self.noisy = 2, by_action, noisy

    def predict(self, state, action, extra_noise=None):
        push = self.by_action * action.sum(-1, keepdim=True) if self.by_action else 0.0
        mean = state + 0.3 * state.flip(-1).sin() + push
        return Prediction(mean, 0.1 + 0.1 * state.cos() ** 2 if self.noisy else torch.full_like(mean, 0.2))

    def fit(self, transitions, generator):
        raise NotImplementedError

    score = fit


class Bang(SearchPolicy):
    """Without a derivative of its own; one parameter is not used, one is a single number."""

    def __init__(self) -> None:
        super().__init__(*boxes(2, 2))
        self.gain = torch.nn.Parameter(torch.tensor([0.3, -0.2]))
        self.offset = torch.nn.Parameter(torch.tensor(0.1))
        self.unused = torch.nn.Parameter(torch.ones(3))

    def controller(self, parameters):
        gain = parameters["gain"].exp().unsqueeze(-2)  # what is prepared once
        offset = parameters["offset"][..., None, None]
        return lambda state: (gain * state + offset).tanh()

    def initial_parameters(self, states, replicates, generator):
        like = self.parameter_dict()
        draws = {
            key: torch.randn(replicates, *value.shape, generator=generator) for key, value in like.items()
        }
        return {key: value.to(states.dtype) for key, value in draws.items()}


@dataclass(frozen=True)
class Shifted(Resampler):
    """Without a derivative of its own; everything that it is given counts, and it carries a state."""

    name: ClassVar[str] = "shifted"
    mixes_particles: ClassVar[bool] = True

    def __call__(self, prediction, particles, noise, state):
        memory = particles.mean(-2) if state is None else 0.5 * state + 0.2 * particles.sin().mean(-2)
        moved = 0.7 * particles + 0.2 * prediction.mean.cos() + prediction.std * noise + memory.unsqueeze(-2)
        weights = (moved.sum(-1) + 0.3 * memory.sum(-1, keepdim=True)).softmax(-1)
        return Resampled(moved, weights, state=memory)


@dataclass(frozen=True)
class Labelled(Resampler):
    """Carries whole numbers, which have no derivative."""

    name: ClassVar[str] = "labelled"
    mixes_particles: ClassVar[bool] = True

    def __call__(self, prediction, particles, noise, state):
        labels = (particles[..., 0] > 0).long() if state is None else 1 - state
        moved = particles + 0.1 * labels.unsqueeze(-1) * noise * prediction.std
        return Resampled(moved, equal_weights(moved), state=labels)


@dataclass(frozen=True)
class Cut(Resampler):
    """Breaks the way back: every step stands for itself."""

    name: ClassVar[str] = "cut"
    mixes_particles: ClassVar[bool] = False

    def __call__(self, prediction, particles, noise, state):
        return Resampled(particles.detach(), equal_weights(particles))


@dataclass(frozen=True)
class OnlyNoise(Resampler):
    """Forgets the means."""

    name: ClassVar[str] = "only-noise"
    mixes_particles: ClassVar[bool] = False

    def __call__(self, prediction, particles, noise, state):
        return Resampled(prediction.std * noise, equal_weights(particles))


@pytest.mark.parametrize("resampler", [Shifted(), Labelled(), Cut(), OnlyNoise()], ids=lambda r: r.name)
@pytest.mark.parametrize("policy", ["rbf", Bang()], ids=["rbf", "bang"])
@pytest.mark.parametrize("dynamics", [None, Model(), Model(noisy=False)], ids=["ensemble", "model", "plain"])
@pytest.mark.parametrize("steps", [1, 100])
def test_strategies_without_derivatives_of_their_own(resampler, policy, dynamics, steps):
    simulation, parameters = make(resampler, policy, dynamics=dynamics, horizon=4)
    rows = steps * simulation.initial_particles[..., 0].numel()
    found = adjoint(parameters, simulation, recorded_rows=rows)
    assert_same(found, reference(parameters, simulation), 1e-10)
    assert_slopes({key: value for key, value in found[1].items() if key != "unused"})


@pytest.mark.parametrize("policy", ["rbf", "mlp"])
@pytest.mark.parametrize("cost", [cost_of_action, cost_of_both], ids=lambda cost: cost.__name__)
def test_a_model_that_does_not_see_the_action(policy, cost):
    simulation, parameters = make("gaussian", policy, dynamics=Model(by_action=0.0), cost=cost)
    assert_same(adjoint(parameters, simulation), reference(parameters, simulation), 1e-10)


@pytest.mark.parametrize("policy", POLICIES.names())
def test_nothing_depends_on_the_action(policy):
    simulation, parameters = make("none", policy, dynamics=Model(by_action=0.0), cost=cost_of_state)
    assert all(not value.any() for value in adjoint(parameters, simulation)[1].values())


class Careful(RbfPolicy):
    """Changes the function, and inherits a derivative."""

    def controller(self, parameters):
        full = super().controller(parameters)
        return lambda state: 0.5 * squash(full(state))


@dataclass(frozen=True)
class Doubled(Gaussian):
    """Changes the function, and inherits a derivative."""

    name: ClassVar[str] = "doubled"

    def __call__(self, prediction, particles, noise, state):
        resampled = super().__call__(prediction, particles, noise, state)
        return replace(resampled, particles=2 * resampled.particles)


class Damped(EnsembleModel):
    """Changes the function, and inherits a derivative."""

    def predict(self, state, action, extra_noise=None):
        prediction = super().predict(state, action, extra_noise)
        return Prediction(0.5 * prediction.mean, prediction.std)


def test_a_subclass_that_changes_the_function_gets_the_derivative_of_what_it_does():
    policy = Careful(*boxes(2, 2), angle_dims=(1,), centers=4)
    plain = make()[0].dynamics
    damped = Damped(plain.options, plain.features, 2, torch.Generator()).double()
    damped.load_state_dict(plain.state_dict())
    for changes in ({"policy": policy}, {"resampler": Doubled()}, {"dynamics": damped}):
        simulation, parameters = make(**changes)
        found, (usual, same) = adjoint(parameters, simulation), make()
        assert_same(found, reference(parameters, simulation), 1e-10)
        state, action = simulation.initial_particles, torch.zeros(2, 6, 2, dtype=torch.float64)
        if "policy" in changes:
            before = usual.policy.controller(same)(state)
            torch.testing.assert_close(policy.controller(same)(state), 0.5 * squash(before))
        if "dynamics" in changes:
            mean = damped.predictor()(state, action).mean
            torch.testing.assert_close(mean, 0.5 * plain.predict(state, action).mean)
        assert not torch.allclose(found[0], adjoint(same, usual)[0])


# hard cases ------------------------------------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize("collapsed", [(0,), (0, 1)])
def test_clouds_that_have_collapsed(resampler, collapsed):
    """All particles start at one point, in one dimension or in all, and the model adds no noise."""
    simulation, parameters = make(resampler, dynamics=Still(), horizon=3, angles=())
    simulation.initial_particles[..., list(collapsed)] = 0.25
    found, expected = adjoint(parameters, simulation), reference(parameters, simulation)
    assert all(bool(value.isfinite().all()) for value in found[1].values())
    assert_same(found, expected, 1e-6 if resampler.name in ("mixture", "detached-mixture") else 1e-9)


class Still(Model):
    """Without noise; the action depends on the state, so dimensions collapse but do not stay so."""

    def predict(self, state, action, extra_noise=None):
        return Prediction(state + 0.1 * action, torch.zeros_like(state))


@every_variant
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_replicate(resampler, bad):
    simulation, parameters = make(resampler, replicates=(3,))
    cost, gradient = adjoint(parameters, simulation)
    simulation.initial_particles[1, 4, 0] = bad
    broken_cost, broken = adjoint(parameters, simulation)
    assert not broken_cost[1].isfinite()
    assert torch.equal(broken_cost[[0, 2]], cost[[0, 2]])
    for key, value in gradient.items():
        assert not broken[key][1].isfinite().all()
        torch.testing.assert_close(broken[key][[0, 2]], value[[0, 2]], rtol=1e-12, atol=1e-12)


@every_policy
def test_parameters_may_share_their_memory(policy):
    """As where a probe repeats one policy: stride 0 along the replicates."""
    simulation, parameters = make("gaussian", policy, replicates=(3,))
    shared = {key: value[:1].expand_as(value) for key, value in parameters.items()}
    before = {key: value.clone() for key, value in shared.items()}
    found = adjoint(shared, simulation)
    assert_same(found, reference(shared, simulation), 1e-10)
    assert all(torch.equal(before[key], value) for key, value in shared.items())
    for value in found[1].values():
        assert not torch.allclose(value[0], value[1])  # the noise differs, and so do the results


@every_resampler
@every_policy
def test_arguments_are_left_alone(name, policy):
    simulation, parameters = make(name, policy, propagation="per-step")
    held = [simulation.initial_particles, simulation.noise.model, simulation.noise.resampling]
    held += [*parameters.values(), *simulation.dynamics.state_dict().values()]
    copies = [tensor.clone() for tensor in held]
    value_and_gradient(parameters, simulation, recorded_rows=1)
    assert all(torch.equal(a, b) for a, b in zip(held, copies, strict=True))
    assert not any(tensor.requires_grad for tensor in held)


@every_policy
def test_parameters_that_require_gradients_are_only_read(policy):
    simulation, parameters = make("gaussian", policy)
    expected = adjoint(parameters, simulation)
    leaves = {key: torch.nn.Parameter(value) for key, value in parameters.items()}
    assert_same(adjoint(leaves, simulation), expected, 0.0)
    assert all(leaf.grad is None for leaf in leaves.values())


@every_resampler
def test_it_works_with_gradients_on_and_off(name):
    simulation, parameters = make(name)
    expected = adjoint(parameters, simulation)
    with torch.no_grad():
        assert_same(adjoint(parameters, simulation), expected, 0.0)


@every_resampler
@every_policy
def test_nothing_of_the_way_back_outlives_the_call(name, policy):
    """No reference cycles: with the garbage collector off, tapes and records go when the sweep ends."""
    simulation, parameters = make(name, policy)
    value_and_gradient(parameters, simulation, recorded_rows=1)
    gc.disable()
    gc.freeze()  # what there is already need not be searched
    try:
        for _ in range(3):
            value_and_gradient(parameters, simulation, recorded_rows=1)
        assert not any(type(thing) is torch.Tensor for thing in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.enable()
