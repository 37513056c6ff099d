"""A change of units, or of the zero point, changes nothing but rounding: data, model, search and policy."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies import POLICIES
from mbrl_agent.resampling import Gaussian
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.initial_states import InitialStates
from mbrl_agent.search.policy_search import PolicySearch, SearchOptions
from mbrl_agent.types import Transitions

D, U, P = 3, 1, 20
ANGLES = (1,)
SMALL = {"rbf": {"centers": 6}, "mlp": {"hidden": (6,)}, "recurrent": {"hidden": 5}}
SCALES = [(1e-4, 1e4), (1e4, 1e-4), (1.0, 1e-3)]
every_policy = pytest.mark.parametrize("name", POLICIES.names())


def data(dtype: torch.dtype) -> Transitions:
    """Position, angle and velocity, which are pushed and damped."""
    g = torch.Generator().manual_seed(0)
    states = torch.randn(40, D, generator=g, dtype=dtype) * torch.tensor([1.0, 2.0, 0.5], dtype=dtype)
    actions = torch.rand(40, U, generator=g, dtype=dtype) * 2 - 1
    theta, v = states[:, 1], states[:, 2]
    change = torch.stack([0.1 * v, 0.2 * theta.sin() + 0.1 * v, 0.3 * actions[:, 0] - 0.2 * v], -1)
    return Transitions(states, actions, states + change + 0.02 * torch.randn(40, D, generator=g, dtype=dtype))


def learned(name: str, scale: tuple[float, float], offset: tuple[float, float], dtype: torch.dtype):
    """Fit and search with position and velocity in other units; parameters and a rollout, in the old ones."""
    factor = torch.tensor([scale[0], 1.0, scale[1]], dtype=torch.float64)
    shift = torch.tensor([offset[0] * scale[0], 0.0, offset[1] * scale[1]], dtype=torch.float64)
    plain = data(torch.float64)
    states, after = plain.states * factor + shift, plain.next_states * factor + shift
    model = Ensemble(members=2, hidden=(8,), fit_steps=15).build(
        AngleFeatures(D, ANGLES), U, torch.Generator().manual_seed(1)
    )
    model.to(dtype).fit(Transitions(states, plain.actions, after), torch.Generator().manual_seed(2))
    box = spaces.Box(-np.inf, np.inf, (D,), np.float64)
    options = SMALL.get(name, {})
    policy = POLICIES.get(name).policy_class(box, spaces.Box(-1, 1, (U,)), angle_dims=ANGLES, **options)
    policy.to(dtype).restandardize(states)

    def cost(state, action):
        x, theta, v = ((state.double() - shift) / factor).unbind(-1)
        return (x**2 + 1 - theta.cos() + v**2).to(state.dtype)

    start = InitialStates(shift.to(dtype), (0.3 * factor).to(dtype))
    search = PolicySearch(
        SearchOptions(steps=4, num_particles=P, candidates=2),
        policy,
        model,
        cost,
        Gaussian(),
        Reparameterization(),
        start,
        horizon=5,
    )
    g = torch.Generator().manual_seed(3)
    found = search.improve(policy.initial_parameters(states.to(dtype), 2, g), g).parameters
    trajectory = search.simulation(2, g)(found)
    return found, (trajectory.states.double() - shift) / factor, trajectory.actions


@every_policy
@pytest.mark.parametrize("scale", SCALES)
def test_what_is_learned_does_not_depend_on_the_units(name, scale):
    expected, states, actions = learned(name, (1.0, 1.0), (0.0, 0.0), torch.float64)
    found, rescaled, same = learned(name, scale, (0.0, 0.0), torch.float64)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rescaled, states, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(same, actions, rtol=1e-6, atol=1e-6)


@every_policy
@pytest.mark.parametrize("scale", [(1.0, 1.0), (1e-4, 1e4)])
@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"), [(torch.float64, 1e5, 1e-5), (torch.float32, 5e3, 2e-2)]
)
def test_what_is_learned_does_not_depend_on_the_zero_point(name, scale, dtype, offset, tolerance):
    """In single precision 5,000 +- 1 is resolved to 0.0005: a policy and a model are not worse than that."""
    expected, states, actions = learned(name, scale, (0.0, 0.0), dtype)
    found, moved, same = learned(name, scale, (offset, -offset), dtype)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(moved, states, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(same, actions, rtol=tolerance, atol=tolerance)


@pytest.fixture
def other_defaults():
    """Torch's default dtype and device are the user's, and not what the package works with."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")  # holds no numbers: nothing that is made there could be used
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


def made(name: str, transitions: Transitions, generator: torch.Generator):
    """A policy and a model, drawn and fitted."""
    box = spaces.Box(-np.inf, np.inf, (D,), np.float64)
    torch.manual_seed(0)
    cls, options = POLICIES.get(name).policy_class, SMALL.get(name, {})
    policy = cls(box, spaces.Box(-1, 1, (U,)), angle_dims=ANGLES, **options)
    policy.restandardize(transitions.states)
    candidates = policy.initial_parameters(transitions.states, 2, generator)
    candidates = policy.restandardize(transitions.states[:20], candidates)
    model = Ensemble(members=2, hidden=(8,), fit_steps=3).build(AngleFeatures(D, ANGLES), U, generator)
    report = model.fit(transitions, generator)
    score = model.score(transitions)
    return policy.state_dict() | model.state_dict() | candidates | {"curve": report.curve}, score


@pytest.fixture
def transitions():
    return data(torch.float64)


@pytest.fixture
def expected(name, transitions):
    return made(name, transitions, torch.Generator().manual_seed(3))


@every_policy
def test_torchs_defaults_do_not_matter(name, transitions, expected, request):
    g = torch.Generator().manual_seed(3)
    request.getfixturevalue("other_defaults")
    tensors, score = made(name, transitions, g)
    assert score == expected[1]
    for key, value in expected[0].items():
        assert tensors[key].dtype == torch.float32
        assert torch.equal(tensors[key], value)
