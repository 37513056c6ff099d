"""Costs: values by hand, derivatives, dtypes, addition, copies, and what is refused."""

import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from envs.cartpole.cost import AngleCost, TipCost, tip_distance
from mbrl_agent import costs
from mbrl_agent.agent.task import Task
from mbrl_agent.contract import check_cost

D, U = 4, 2
COSTS = [
    costs.Saturating((0.1, 0, 0.2, 0), 0.7),
    costs.Saturating((0.1, 0, 0.2, 0), 2.0, (1, 0, 3, 0.5), angle_dims=(2,)),
    costs.Saturating((0.1, 0, 0.2, 0), angle_dims=(2,), angle_distance="chord"),
    costs.Quadratic((0.1, 0, 0.2, 0)),
    costs.Quadratic((0.1, 0, 0.2, 0), (1, 0, 3, 0.5), angle_dims=[2], angle_distance="chord"),
    costs.Quadratic((0.0, 0, 0, 0), np.diag([1.0, 2, 3, 4]) + 0.5, angle_dims=(2,)),
    costs.TipDistance((0.5,), (2,), base_dim=0),
    costs.TipDistance((0.5, 0.3), (2, 3), relative=True, width=None),
    costs.TipDistance((0.5, 0.3), (2, 3), 0, target=(0.2, 0.1), width=2.0),
    costs.ActionPenalty(),
    costs.ActionPenalty((0.1, 2), low=(-1, 0), high=(3, 5)),
    costs.ActionRatePenalty((2, 3), (1.0, 0.3)),
    costs.Quadratic((0, 0, 0, 0)) + 0.1 * costs.ActionPenalty(2.0),
    costs.FirstDimensions(costs.Quadratic((1.0, 2.0)), 2),
]
EXACT = {"atol": 1e-14, "rtol": 1e-13}


def batch(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(*shape, D, generator=generator, dtype=torch.float64).to(dtype)
    return state, (2 * torch.rand(*shape, U, generator=generator, dtype=torch.float64) - 1).to(dtype)


def value(cost, state, action=()):
    def tensor(numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    return float(cost(tensor(state), tensor(action)))


# each cost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_contract(cost):
    check_cost(cost, D, U)
    assert (cost(*batch(7)) >= 0).all()
    state, action = batch(7, dtype=torch.float32)
    expected = cost(state.double(), action.double())
    torch.testing.assert_close(cost(state, action).double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_nothing_but_the_states_and_actions_is_on_a_device(cost):
    """On another device than the CPU: it has no values, but refuses operands that are elsewhere."""
    state, action = (tensor.to("meta") for tensor in batch(3))
    assert cost(state, action).device.type == "meta"


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_copies_and_its_repr(cost):
    assert pickle.loads(pickle.dumps(cost)) == copy.deepcopy(cost) == cost
    assert hash(copy.deepcopy(cost)) == hash(cost)
    assert eval(repr(cost), vars(costs)) == cost


def test_arrays_become_plain_numbers():
    cost = costs.Saturating(np.zeros(2, np.float32), np.float32(2), torch.ones(2), np.array([1]))
    assert cost == costs.Saturating((0.0, 0.0), 2.0, (1.0, 1.0), (1,))
    assert type(cost.width) is float
    assert type(cost.angle_dims[0]) is int
    bounds = costs.ActionPenalty(
        np.float64(0.5), np.array([-1, -2], np.float32), np.array([1, 2], np.float32)
    )
    assert bounds == costs.ActionPenalty(0.5, (-1, -2), (1, 2))


# values by hand --------------------------------------------------------------------------------------------


def test_quadratic_values():
    assert value(costs.Quadratic((1, 2)), (3, 5)) == 4 + 9
    assert value(costs.Quadratic((1, 2), (2, 0.5)), (3, 5)) == 8 + 4.5
    assert value(costs.Quadratic((1, 2), ((2, 1), (1, 3))), (3, 5)) == 2 * 4 + 2 * 1 * 6 + 3 * 9


def test_a_dimension_without_weight_is_not_looked_at():
    cost = costs.Quadratic((1, 2), (2, 0))
    assert value(cost, (3, math.inf)) == 8
    assert value(costs.Quadratic((1, 2), ((2, 0), (0, 0))), (3, math.nan)) == 8


def test_a_matrix_is_the_quadratic_form():
    state, action = batch(7)
    root = torch.randn(D, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = root @ root.T
    matrix = (matrix + matrix.T) / 2
    target = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    expected = torch.einsum("ni,ij,nj->n", state - target, matrix, state - target)
    cost = costs.Quadratic(target.tolist(), matrix.tolist())
    torch.testing.assert_close(cost(state, action), expected)
    torch.testing.assert_close(costs.Quadratic(target, matrix)(state, action), expected)


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 3])
def test_angles_by_the_shorter_way(turns):
    angle = 0.1 + 2 * math.pi * turns
    arc = costs.Quadratic((-0.2,), angle_dims=(0,))
    assert value(arc, (angle,)) == pytest.approx(0.3**2)
    assert value(arc, (angle + math.pi,)) == pytest.approx((math.pi - 0.3) ** 2)
    chord = costs.Quadratic((-0.2,), angle_dims=(0,), angle_distance="chord")
    expected = (math.sin(0.1) - math.sin(-0.2)) ** 2 + (math.cos(0.1) - math.cos(-0.2)) ** 2
    assert value(chord, (angle,)) == pytest.approx(expected)
    assert value(costs.Quadratic((-0.2,)), (angle,)) == pytest.approx((angle + 0.2) ** 2)


def test_a_chord_is_the_distance_of_observed_sine_and_cosine():
    angles = torch.linspace(-9, 9, 50, dtype=torch.float64)[:, None]
    observed = torch.cat([angles.cos(), angles.sin()], -1)
    by_angle = costs.Saturating((0.4,), 0.8, angle_dims=(0,), angle_distance="chord")
    by_point = costs.Saturating((math.cos(0.4), math.sin(0.4)), 0.8)
    torch.testing.assert_close(by_angle(angles), by_point(observed), **EXACT)


def test_small_angles_keep_their_digits():
    state = torch.tensor([1e-6], dtype=torch.float32)
    assert float(costs.Quadratic((0,), angle_dims=(0,))(state)) == pytest.approx(1e-12, rel=1e-6)
    assert float(costs.Saturating((0,), angle_dims=(0,))(state)) == pytest.approx(5e-13, rel=1e-6)


def test_saturating_values():
    cost = costs.Saturating((1, 2), 0.5, (1, 4))
    assert value(cost, (1, 2)) == 0
    assert value(cost, (1.3, 1.9)) == pytest.approx(1 - math.exp(-(0.09 + 4 * 0.01) / (2 * 0.25)))
    assert value(cost, (100, 2)) == 1


def test_tip_of_two_links():
    absolute = costs.TipDistance((2.0, 1.0), (0, 1), width=None)
    relative = costs.TipDistance((2.0, 1.0), (0, 1), width=None, relative=True)
    right = math.pi / 2
    assert value(absolute, (0, 0)) == value(relative, (0, 0)) == 0
    assert value(absolute, (right, right)) == pytest.approx(math.hypot(3, 3))
    assert value(relative, (right, right)) == pytest.approx(math.hypot(2, 4))  # the elbow points down
    assert value(relative, (math.pi, 0)) == pytest.approx(6)
    assert value(costs.TipDistance((2.0, 1.0), (0, 1), target=(3, 0), width=None), (right,) * 2) < 1e-15
    x, y = relative.tip(torch.tensor([right, right], dtype=torch.float64))
    assert (float(x), float(y)) == (pytest.approx(2), pytest.approx(-1))


def test_the_gradient_at_the_target_is_zero_not_nan():
    state = torch.zeros(1, requires_grad=True)
    costs.TipDistance((2.0,), (0,), width=None)(state).backward()
    assert state.grad.tolist() == [0]


def test_action_penalty_values():
    assert value(costs.ActionPenalty(), (), (0.5, -1)) == 1.25
    assert value(costs.ActionPenalty((2, 3)), (), (0.5, -1)) == 3.5
    assert value(costs.ActionPenalty(2, -10, 10), (), (0.5,)) == 50
    assert value(costs.ActionPenalty(1, (-1, 0), (3, 5)), (), (-1, 1)) == 1 + 25
    assert value(costs.ActionPenalty(1, 0, 4), (), (0, 1)) == 4 + 16


def test_action_rate_values():
    cost = costs.ActionRatePenalty((3, 1), (2, 5))
    assert value(cost, (9, 0.5, 9, -1), (0.5, 0.25)) == pytest.approx(2 * 1.5**2 + 5 * 0.25**2)


# the cart-pole's own ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_costs_of_the_cart_pole(dtype):
    state, action = batch(200, dtype=dtype)
    state = state * torch.tensor([1, 1, 4, 1], dtype=dtype)
    angle = costs.Saturating((0, 0, 0, 0), weights=(1, 0, 1, 0))
    torch.testing.assert_close(angle(state, action), AngleCost()(state))
    for width, length in ((0.5, 0.5), (0.25, 0.6)):
        tip = costs.TipDistance((length,), (2,), base_dim=0, width=width)
        torch.testing.assert_close(tip(state, action), TipCost(width, length)(state))
        plain = costs.TipDistance((length,), (2,), base_dim=0, width=None)
        torch.testing.assert_close(plain(state, action), tip_distance(state, length))


# added up --------------------------------------------------------------------------------------------------


def test_addition_and_multiplication():
    near, small = costs.Quadratic((0.0,)), costs.ActionPenalty()
    cost = 2 * (near + 0.5 * small) + near * 3
    assert value(cost, (2,), (4,)) == 2 * (4 + 8) + 12
    assert repr(cost) == f"2 * ({near!r} + 0.5 * {small!r}) + 3 * {near!r}"
    assert sum([near, small, near]) == near + small + near == costs.Sum((near, small, near))
    assert np.float32(2) * near == near * np.int64(2) == 2.0 * near


def test_addition_to_the_cost_of_an_environment_or_a_function():
    state, action = batch(3)
    penalty = costs.ActionPenalty(0.1)
    for cost in (AngleCost() + penalty, penalty + AngleCost()):
        torch.testing.assert_close(cost(state, action), AngleCost()(state) + 0.1 * action.square().sum(-1))
    torch.testing.assert_close(
        (penalty + (lambda state, action: state[..., 0]))(state, action),
        penalty(state, action) + state[..., 0],
    )


@pytest.mark.parametrize(
    "wrong", [1.0, 1, "cost", None, costs.ActionPenalty, True, False, np.float64(1), SimpleNamespace()]
)
def test_addition_of_something_else(wrong):
    with pytest.raises(TypeError, match=r"unsupported operand|does not support"):
        costs.ActionPenalty() + wrong
    with pytest.raises(TypeError, match=r"unsupported operand|does not support|concatenate"):
        wrong + costs.ActionPenalty()


@pytest.mark.parametrize("wrong", ["2", None, True, costs.ActionPenalty(), (2,)])
def test_multiplication_by_something_else(wrong):
    with pytest.raises(TypeError, match=r"unsupported operand|can't multiply"):
        costs.ActionPenalty() * wrong


def test_a_factor_must_be_finite():
    with pytest.raises(ValueError, match="must be finite"):
        math.nan * costs.ActionPenalty()


def test_an_agent_takes_a_sum():
    Task(COSTS[0] + 0.1 * costs.ActionPenalty() + COSTS[-1], ()).check(D, U)


# mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: costs.Quadratic(()), "target must hold at least one number"),
        (lambda: costs.Quadratic((0, math.inf)), r"target\[1\] must be finite"),
        (lambda: costs.Quadratic((0, 0), (1, 2, 3)), "weights must hold 2 numbers, one a dimension, got 3"),
        (lambda: costs.Quadratic((0, 0), (1, -2)), r"weights\[1\] must not be negative"),
        (lambda: costs.Quadratic((0, 0), (0, 0)), "above zero"),
        (lambda: costs.Quadratic((0, 0), ((1, 0),)), "2 rows and 2 columns"),
        (lambda: costs.Quadratic((0, 0), ((1, 0), (1, 1))), "symmetric"),
        (lambda: costs.Quadratic((0, 0), ((1, 2), (2, 1))), "positive semi-definite"),
        (lambda: costs.Quadratic((0, 0), ((0, 0), (0, 0))), "other than zero"),
        (lambda: costs.Quadratic((0, 0), angle_dims=(2,)), "target has dimensions 0 to 1"),
        (lambda: costs.Quadratic((0, 0), angle_dims=(-1,)), "at least 0"),
        (lambda: costs.Quadratic((0, 0), angle_dims=(1, 1)), "different indices"),
        (lambda: costs.Quadratic((0, 0), angle_distance="sine"), "one of arc, chord, got 'sine'"),
        (
            lambda: costs.Quadratic((0, 0), ((2, 1), (1, 2)), (1,), "chord"),
            "weights couple dimensions 0 and 1",
        ),
        (lambda: costs.Saturating((0, 0), 0), "width must be above zero"),
        (lambda: costs.Saturating((0, 0), math.nan), "width must be finite"),
        (lambda: costs.TipDistance((1, 0), (0, 1)), r"lengths\[1\] must be above zero"),
        (lambda: costs.TipDistance((1, 2), (0,)), "2 lengths, but 1 angles"),
        (lambda: costs.TipDistance((1,), (0,), base_dim=0), "base_dim 0 is one of angle_dims"),
        (lambda: costs.TipDistance((1,), (0,), base_dim=-1), "base_dim must hold"),
        (lambda: costs.TipDistance((1,), (0,), target=(1, 2, 3)), r"a point \(x, y\)"),
        (lambda: costs.TipDistance((1,), (0,), width=-1), "width must be above zero"),
        (lambda: costs.ActionPenalty(-1), "weights must be above zero"),
        (lambda: costs.ActionPenalty((1, -1)), r"weights\[1\] must not be negative"),
        (lambda: costs.ActionPenalty(1, low=-1), "low and high belong together"),
        (lambda: costs.ActionPenalty(1, (0, 1), (1, 1)), "low must be below high"),
        (lambda: costs.ActionPenalty(1, (0, 1), (1, 2, 3)), r"of one size, got \[2, 3\]"),
        (lambda: costs.ActionPenalty(1, -math.inf, math.inf), "low must be finite"),
        (lambda: costs.ActionRatePenalty(()), "one index an action"),
        (lambda: costs.ActionRatePenalty((0, 1), (1, 2, 3)), "3 weights"),
        (lambda: costs.Sum(()), "at least one term"),
        (lambda: costs.FirstDimensions(AngleCost(), 0), "dims must be at least 1"),
    ],
)
def test_a_value_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: costs.Quadratic(0.0), "target must be a sequence of numbers, got 0.0"),
        (lambda: costs.Quadratic("00"), "target must be a sequence of numbers"),
        (lambda: costs.Quadratic(("0", 1)), r"target\[0\] must be a number, got '0'"),
        (lambda: costs.Quadratic((True, 1)), r"target\[0\] must be a number, got True"),
        (lambda: costs.Quadratic((0, 0), "11"), "weights must be a sequence of numbers"),
        (lambda: costs.Quadratic((0, 0), (1, (1, 0))), r"weights\[0\] must be a sequence of numbers"),
        (lambda: costs.Quadratic((0, 0), 1.0), "weights must be a sequence of numbers"),
        (lambda: costs.Quadratic((0, 0), angle_dims=1), "angle_dims must be a sequence of indices"),
        (lambda: costs.Quadratic((0, 0), angle_dims=(1.0,)), "angle_dims must be a sequence of indices"),
        (lambda: costs.Quadratic((0, 0), angle_dims=(True,)), "angle_dims must be a sequence of indices"),
        (lambda: costs.Quadratic((0, 0), angle_distance=1), "angle_distance must be a string"),
        (lambda: costs.Saturating((0, 0), "1"), "width must be a number"),
        (lambda: costs.TipDistance((1,), (0,), base_dim=1.5), "base_dim must be a sequence of indices"),
        (lambda: costs.TipDistance((1,), (0,), relative="yes"), "relative must be True or False"),
        (lambda: costs.ActionPenalty("1"), "weights must be a sequence of numbers"),
        (lambda: costs.Sum((1.0,)), "a function of states and actions"),
        (lambda: costs.Scaled(AngleCost, 2.0), "a function of states and actions"),
        (lambda: costs.FirstDimensions(AngleCost(), 1.5), "dims must be a whole number"),
    ],
)
def test_a_type_that_cannot_be(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (costs.Quadratic((0, 0)), "target has 2 dimensions, but a state has 4"),
        (costs.Saturating((0,) * 5), "target has 5 dimensions, but a state has 4"),
        (costs.TipDistance((1,), (4,)), "a state has dimensions 0 to 3"),
        (costs.TipDistance((1,), (0,), base_dim=4), "a state has dimensions 0 to 3"),
        (costs.ActionPenalty((1, 2, 3)), "3 weights or bounds, but an action has 2"),
        (costs.ActionPenalty(1, (0, 0, 0), (1, 1, 1)), "3 weights or bounds, but an action has 2"),
        (costs.ActionRatePenalty((0, 5)), "a state has dimensions 0 to 3"),
        (costs.ActionRatePenalty((0,)), "names 1 dimensions, but an action has 2"),
    ],
)
def test_states_and_actions_that_do_not_fit(cost, message):
    with pytest.raises(ValueError, match=message):
        cost(*batch(3))
