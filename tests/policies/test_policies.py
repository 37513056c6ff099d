"""Every policy: an SB3 policy, and beside that a pure function of its parameters."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from mbrl_agent.contract.policies import RULES
from mbrl_agent.contract.rules import check_all
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import DifferentiableController, SearchPolicy, squash
from mbrl_agent.policies.mlp import Mlp
from mbrl_agent.policies.rbf import STRIDE, Rbf
from tests.support.memories import MEMORYLESS

D, U = 3, 2
ANGLES = (1,)
OBSERVATIONS = spaces.Box(-np.inf, np.inf, (D,), np.float32)
UNIT = spaces.Box(-1, 1, (U,), np.float32)
BOUNDS = spaces.Box(np.array([-2, 1], np.float32), np.array([2, 5], np.float32))

every_policy = pytest.mark.parametrize("name", POLICIES.names())
every_memoryless = pytest.mark.parametrize("name", MEMORYLESS)
"""Functions of states alone; `test_recurrent.py` asks the same of those that remember."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(
    name: str, actions: spaces.Box = UNIT, dtype: torch.dtype = torch.float32, **options
) -> SearchPolicy:
    if name == "rbf":
        options = {"centers": 7} | options
    if name == "mlp":
        options = {"hidden": (5, 4)} | options
    torch.manual_seed(0)
    policy = POLICIES.get(name).policy_class(OBSERVATIONS, actions, angle_dims=ANGLES, **options)
    policy.restandardize(4 + states(20, seed=9).double())
    return policy.to(dtype)


def states(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 3 * torch.randn(*shape, D, generator=generator(seed), dtype=dtype)


def drawn(policy: SearchPolicy, replicates: int, dtype: torch.dtype = torch.float32, seed: int = 2):
    return policy.initial_parameters(states(30, dtype=dtype), replicates, generator(seed))


def features(policy: SearchPolicy, state: torch.Tensor) -> torch.Tensor:
    """The standardised features, by hand."""
    x, theta, z = state.unbind(-1)
    phi = torch.stack([x, z, theta.sin(), theta.cos()], -1)
    return (phi - policy.feature_mean) * policy.feature_scale


# as functions of their parameters --------------------------------------------------------------------------


@every_policy
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_contract(name, rule):
    check_all([rule], POLICIES.resolve(name), name)


@every_memoryless
def test_actions_use_all_of_the_unit_box(name):
    policy = make(name)
    parameters = drawn(policy, 5)
    louder = [parameters | {key: 10 * value} for key, value in parameters.items()]
    actions = torch.cat([policy.controller(each)(states(5, 200)) for each in louder])
    assert float(actions.max()) > 0.7
    assert float(actions.min()) < -0.7


@every_memoryless
def test_fresh_policies_act_differently_in_different_states(name):
    """Neither silent nor saturated everywhere."""
    policy = make(name)
    actions = policy.controller(drawn(policy, 8))(states(30).expand(8, 30, D))
    assert float(actions.std(1).mean()) > 0.1
    assert float((actions.abs() < 0.99).float().mean()) > 0.5


@every_memoryless
def test_gradients_are_exact(name):
    policy = make(name, dtype=torch.float64)
    parameters = drawn(policy, 2, torch.float64)
    assert all(value.dtype == torch.float64 for value in parameters.values())
    state = states(2, 3, dtype=torch.float64).requires_grad_()
    leaves = [value.requires_grad_() for value in parameters.values()]

    def act(state, *values):
        return policy.controller(dict(zip(parameters, values, strict=True)))(state)

    assert torch.autograd.gradcheck(act, (state, *leaves))


@every_memoryless
def test_a_full_turn_makes_no_difference(name):
    policy = make(name, dtype=torch.float64)
    state = states(1, 6, dtype=torch.float64)
    turned = state + 2 * math.pi * torch.eye(D, dtype=torch.float64)[1]
    controller = policy.controller(drawn(policy, 1, torch.float64))
    torch.testing.assert_close(controller(turned), controller(state))
    below, above = state.clone(), state.clone()
    below[..., 1], above[..., 1] = math.pi - 1e-7, -math.pi + 1e-7
    torch.testing.assert_close(controller(below), controller(above), atol=1e-5, rtol=0)


def both_controllers(policy, parameters):
    """With the policy's own derivative, and with that of autograd."""
    general = DifferentiableController(policy.controller, parameters)
    return policy.differentiable_controller(parameters), general


@every_memoryless
def test_the_general_derivative_is_that_of_the_controller(name):
    policy = make(name, dtype=torch.float64)
    parameters, state = drawn(policy, 2, torch.float64), states(2, 4, dtype=torch.float64)
    leaves = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    leaf = state.clone().requires_grad_()
    action = policy.controller(leaves)(leaf)
    by_action = torch.randn(action.shape, generator=generator(7), dtype=torch.float64)
    by_leaf, *by_leaves = torch.autograd.grad(action, [leaf, *leaves.values()], by_action)
    for controller in both_controllers(policy, parameters):
        (by_state,) = controller.vjp(state)[1](by_action)
        torch.testing.assert_close(by_state, by_leaf, rtol=1e-12, atol=1e-12)
        for found, expected in zip(controller.gradient().values(), by_leaves, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# as Stable-Baselines3 policies -----------------------------------------------------------------------------


@every_memoryless
@pytest.mark.parametrize("actions", [UNIT, BOUNDS])
def test_predict_is_forward_rescaled_to_the_bounds(name, actions):
    policy, state = make(name, actions), states(50)
    with torch.no_grad():
        unit = policy(state).numpy()
    batch, _ = policy.predict(state.numpy())
    expected = actions.low + (unit + 1) / 2 * (actions.high - actions.low)
    np.testing.assert_allclose(batch, expected, rtol=1e-5, atol=1e-6)
    single, hidden = policy.predict(state[0].numpy(), deterministic=True)
    assert hidden is None
    np.testing.assert_allclose(single, batch[0], rtol=1e-5, atol=1e-6)
    assert actions.contains(single.astype(np.float32))


@every_policy
def test_predict_takes_float64(name):
    policy, state = make(name), states(4)
    single_precision, _ = policy.predict(state.numpy())
    double, _ = policy.predict(state.double().numpy())
    np.testing.assert_array_equal(single_precision, double)


@every_memoryless
def test_set_parameters_copies(name):
    policy = make(name)
    parameters = {key: value[0] for key, value in drawn(policy, 1).items()}
    policy.set_parameters(parameters)
    expected = policy.controller(parameters)(states(4))
    torch.testing.assert_close(policy(states(4)), expected)
    for value in parameters.values():
        value.add_(1.0)
    torch.testing.assert_close(policy(states(4)), expected)


@every_policy
def test_options_make_the_class(name):
    options = POLICIES.resolve(name)
    assert issubclass(options.policy_class, SearchPolicy)
    assert issubclass(options.policy_class, BasePolicy)
    policy = options.policy_class(OBSERVATIONS, UNIT, angle_dims=ANGLES, **options.policy_kwargs())
    assert policy.predict(np.zeros(D, np.float32))[0].shape == (U,)


@every_policy
def test_nothing_of_a_policy_is_pickled_or_unpickled(name, tmp_path):
    policy = make(name)
    file = tmp_path / "policy.zip"
    with pytest.raises(NotImplementedError, match=r"ParticlePILCO\.save"):
        policy.save(str(file))
    assert not file.exists()
    BasePolicy.save(policy, str(file))  # what a hostile file would look like
    with pytest.raises(NotImplementedError, match=r"ParticlePILCO\.load"):
        type(policy).load(str(file))


# one by one ------------------------------------------------------------------------------------------------


def test_squash_is_pilcos():
    a = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    torch.testing.assert_close(squash(a), (9 * a.sin() + (3 * a).sin()) / 8)


def test_squash_never_leaves_the_unit_interval():
    near = torch.linspace(math.pi / 2 - 0.01, math.pi / 2 + 0.01, 200001)
    assert float(squash(torch.cat([near, -near])).abs().max()) <= 1


def test_rbf_is_a_sum_of_exponentials():
    policy = make("rbf", dtype=torch.float64)
    p = {key: value[0] for key, value in drawn(policy, 1, torch.float64).items()}
    state = states(6, dtype=torch.float64)
    z = features(policy, state)
    for i in range(6):
        total = torch.zeros(U, dtype=torch.float64)
        for j in range(7):
            scaled = (z[i] - STRIDE * p["centers"][j]) / p["log_lengthscales"].exp()
            total += p["weights"][j] * torch.exp(-0.5 * scaled.dot(scaled))
        torch.testing.assert_close(policy.controller(p)(state)[i], squash(total))


def test_linear_is_linear():
    policy = make("linear", dtype=torch.float64)
    p = {key: value[0] for key, value in drawn(policy, 1, torch.float64).items()}
    state = states(6, dtype=torch.float64)
    torch.testing.assert_close(
        policy.controller(p)(state), squash(features(policy, state) @ p["weights"] + p["bias"])
    )


@every_policy
def test_fresh_policies_see_the_visited_states_alone(name):
    """At their mean, linear policies and networks do nothing; RBF centres lie around the states."""
    policy, visited = make(name, dtype=torch.float64), 10 + states(30, dtype=torch.float64)
    policy.restandardize(visited)
    p = policy.initial_parameters(visited, 3, generator())
    z = policy.standardized(visited)
    torch.testing.assert_close(z.mean(0), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(z.std(0), torch.ones(4, dtype=torch.float64))
    if name == "rbf":
        distance = (STRIDE * p["centers"].unsqueeze(-2) - z).norm(dim=-1).amin(-1)
        assert float(distance.max()) < 3.0  # of 0.5 times a normal of four dimensions
        assert not p["log_lengthscales"].any()
    else:
        assert not any(bool(value.any()) for key, value in p.items() if "bias" in key)


def test_mlp_is_a_chain_of_tanh():
    policy = make("mlp", dtype=torch.float64)
    p = {key: value[0] for key, value in drawn(policy, 1, torch.float64).items()}
    state = states(6, dtype=torch.float64)
    hidden = features(policy, state)
    for index in range(3):
        hidden = torch.tanh(hidden @ p[f"weight_{index}"] + p[f"bias_{index}"])
    torch.testing.assert_close(policy.controller(p)(state), hidden)


@pytest.mark.parametrize(
    ("make_options", "error"),
    [
        (lambda: Rbf(centers=0), ValueError),
        (lambda: Rbf(centers=1.5), TypeError),
        (lambda: Rbf(weight_std=0.0), ValueError),
        (lambda: Mlp(hidden=(0,)), ValueError),
        (lambda: Mlp(hidden=32), TypeError),
        (lambda: make("mlp", hidden=32), TypeError),
        (lambda: make("rbf", centers=0), ValueError),
    ],
)
def test_options_are_checked(make_options, error):
    with pytest.raises(error, match="must be"):
        make_options()
