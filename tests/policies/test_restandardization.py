"""When the standardisation of the features changes, a policy stays the same function of a state."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import DifferentiableController, SearchPolicy, squash
from mbrl_agent.policies.rbf import RbfPolicy
from tests.support.memories import with_memory

D, U = 4, 2
OBSERVATIONS = spaces.Box(-np.inf, np.inf, (D,), np.float64)
ACTIONS = spaces.Box(-1, 1, (U,), np.float32)
SMALL = {"rbf": {"centers": 5}, "mlp": {"hidden": (5, 4)}, "recurrent": {"hidden": 5}}
every_policy = pytest.mark.parametrize("name", POLICIES.names())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str, angles: tuple[int, ...] = (1,)) -> SearchPolicy:
    torch.manual_seed(0)
    cls, options = POLICIES.get(name).policy_class, SMALL.get(name, {})
    return cls(OBSERVATIONS, ACTIONS, angle_dims=angles, **options).double()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def visited(*sizes: float, seed: int = 0, count: int = 20) -> torch.Tensor:
    """Around 3, of the given spreads; 0 for a dimension that does not vary."""
    return 3.0 + normal(count, D, seed=seed) * torch.tensor(sizes, dtype=torch.float64)


@every_policy
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    before=st.tuples(*[st.floats(1e-4, 1e4)] * D),
    after=st.tuples(*[st.floats(1e-4, 1e4)] * D),
    angles=st.sets(st.integers(0, D - 1)),
)
def test_what_was_learned_is_kept(name, before, after, angles):
    policy = make(name, tuple(angles))
    policy.restandardize(visited(*before))
    candidates = policy.initial_parameters(visited(*before), 3, generator())
    states = with_memory(policy, visited(*before, seed=5, count=7).expand(3, 7, D))
    own, others = policy(states[0]), policy.controller(candidates)(states)
    more = torch.cat([visited(*before), 1.0 + visited(*after, seed=1)])
    changed = policy.restandardize(more, candidates)
    assert list(changed) == list(candidates)
    torch.testing.assert_close(policy(states[0]), own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(policy.controller(changed)(states), others, rtol=1e-5, atol=1e-5)
    varied = torch.std(policy.features(more), 0)
    plain = len(policy.features.plain_dims)
    torch.testing.assert_close(policy.feature_scale[:plain], 1 / varied[:plain])
    torch.testing.assert_close(policy.feature_scale[plain:], 1 / varied[plain:].clamp_min(0.1))


@every_policy
@pytest.mark.parametrize("spread", [1e-4, 1.0, 1e4])
def test_what_was_learned_survives_single_precision(name, spread):
    """Where new data are spread 10,000 times as far as what the policy has learned from."""
    policy = make(name, ()).float()
    narrow = visited(1.0, 1.0, 1.0, 1.0) * spread
    policy.restandardize(narrow)
    candidates = policy.initial_parameters(narrow, 3, generator())
    states = with_memory(policy, (visited(1, 1, 1, 1, seed=5, count=7) * spread).float().expand(3, 7, D))
    expected = policy.controller(candidates)(states)
    wide = visited(1e4, 1e4, 1e4, 1e4, seed=1) * spread
    changed = policy.restandardize(torch.cat([narrow, wide]), candidates)
    own = policy.differentiable_controller(changed).vjp(states)[0]
    for actions in (policy.controller(changed)(states), own):
        torch.testing.assert_close(actions, expected, rtol=0.0, atol=0.005)


@every_policy
@pytest.mark.parametrize("constant", [[2], [1], [1, 2, 3], [0, 1, 2, 3]])
def test_a_feature_that_had_never_varied_and_now_does(name, constant):
    """The policy ignored it, and does where it has its old value, until a search knows better."""
    policy = make(name)
    sizes = np.ones(D)
    sizes[constant] = 0.0
    before = visited(*sizes)
    policy.restandardize(before)
    candidates = policy.initial_parameters(before, 3, generator())
    states = with_memory(policy, visited(*sizes, seed=5).expand(3, 20, D))
    others = policy.controller(candidates)(states)
    elsewhere = states.clone()
    elsewhere[..., constant] += 5.0
    assert torch.equal(policy.controller(candidates)(elsewhere), others)
    more = torch.cat([before, visited(1, 0.5, 100, 1e-3, seed=1)])
    changed = policy.restandardize(more, candidates)
    assert bool((policy.feature_scale > 0).all())
    torch.testing.assert_close(policy.controller(changed)(states), others)
    assert not torch.allclose(policy.controller(changed)(elsewhere), others, atol=1e-3)


@every_policy
def test_rounding_is_no_variation(name):
    """Of a dimension that is computed, or that was single precision once."""
    policy = make(name, angles=(3,)).float()
    states = visited(1, 1, 1, 0)
    states[:, 1] = 293.15 + 1e-13 * torch.arange(20, dtype=torch.float64)
    states[:, 2] = (0.1 + 1e-8 * normal(20)).float().double()
    states[:, 3] += 1e-14 * normal(20)
    policy.restandardize(states)
    assert (policy.feature_scale > 0).tolist() == [True, False, False, False, False]


@every_policy
def test_restandardizing_to_the_same_states_changes_nothing(name):
    policy, states = make(name).float(), visited(1, 2, 0, 1e3)
    policy.restandardize(states)
    candidates = policy.initial_parameters(states, 2, generator())
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    changed = policy.restandardize(states, candidates)
    assert all(torch.equal(policy.state_dict()[key], value) for key, value in before.items())
    assert all(torch.equal(changed[key], value) for key, value in candidates.items())


@every_policy
@pytest.mark.parametrize("offset", [0.0, 101325.0])
def test_small_variation_of_a_large_number_is_seen_in_single_precision(name, offset):
    plain, moved = make(name, ()).float(), make(name, ()).float()
    states = visited(1, 1, 1, 1)
    plain.restandardize(states)
    moved.restandardize(states + offset)
    parameters = plain.initial_parameters(states, 2, generator())
    expected = plain.controller(parameters)(with_memory(plain, states.float()))
    found = moved.controller(parameters)(with_memory(moved, (states + offset).float()))
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.05)  # resolved to 0.008
    exact = moved.double().controller({key: value.double() for key, value in parameters.items()})
    found = exact(with_memory(moved, states + offset))
    torch.testing.assert_close(found, expected.double(), rtol=0.0, atol=0.01)


@every_policy
@pytest.mark.parametrize("angles", [(), (1,), (3, 0)])
def test_the_own_derivative_is_autograds(name, angles):
    policy = make(name, angles)
    states = visited(1e-3, 1.0, 0.0, 1e3)
    policy.restandardize(states)
    parameters = policy.initial_parameters(states, 2, generator())
    state = with_memory(policy, visited(1e-3, 1.0, 1.0, 1e3, seed=4).expand(2, 20, D))
    by_action = normal(2, 20, U + policy.memory_dims, seed=3)
    own = policy.differentiable_controller(parameters)
    general = DifferentiableController(policy.controller, parameters)
    (found,), (expected,) = (c.vjp(state)[1](by_action) for c in (own, general))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert not found[..., 2].any()  # has never varied
    for key, value in general.gradient().items():
        torch.testing.assert_close(own.gradient()[key], value, rtol=1e-9, atol=1e-9)


def test_rbf_far_away_is_zero_and_its_derivative_finite():
    """An exponent is a small difference of large numbers there, and could come out as anything."""
    policy = make("rbf", ()).float()
    policy.restandardize(visited(1, 1, 1, 1))
    parameters = policy.initial_parameters(visited(1, 1, 1, 1), 1, generator())
    parameters["log_lengthscales"] = parameters["log_lengthscales"] - math.log(100)
    far = normal(1, 400, D).float() * torch.logspace(2, 12, 400).unsqueeze(-1)
    for controller in (
        policy.differentiable_controller(parameters),
        DifferentiableController(policy.controller, parameters),
    ):
        action, pull_back = controller.vjp(far)
        assert not action.any()
        (by_state,) = pull_back(torch.ones_like(action))
        assert not by_state.any()
        assert all(not value.any() for value in controller.gradient().values())


class Raw(SearchPolicy):
    """A policy of a user's own, who knows of features alone."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(D, U))

    def controller(self, parameters):
        return lambda state: squash(self.features(state) @ parameters["gain"])

    def initial_parameters(self, states, replicates, generator):
        return {"gain": torch.randn(replicates, D, U, generator=generator) / states.std(0).unsqueeze(-1)}


def test_a_policy_that_takes_raw_features_is_left_alone():
    policy = Raw(OBSERVATIONS, ACTIONS)
    states = visited(1, 2, 3, 0.5)
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    assert policy.restandardize(states) is None
    candidates = policy.initial_parameters(states.float(), 2, generator())
    changed = policy.restandardize(2 * states, candidates)
    assert all(torch.equal(changed[key], value) for key, value in candidates.items())
    assert all(torch.equal(policy.state_dict()[key], value) for key, value in before.items())


class Mirrored(RbfPolicy):
    """One that changes what a policy of the package does."""

    def controller(self, parameters):
        act = super().controller(parameters)
        return lambda state: -act(state)


def test_a_subclass_keeps_what_it_has_learned_too():
    policy = Mirrored(OBSERVATIONS, ACTIONS, centers=5).double()
    states = visited(1, 2, 3, 0.5)
    before = policy(states)
    policy.restandardize(states)
    torch.testing.assert_close(policy(states), before, rtol=1e-5, atol=1e-5)
