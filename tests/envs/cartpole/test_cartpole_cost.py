"""Costs: values, signs, gradients, agreement of NumPy and torch."""

import pickle

import numpy as np
import pytest
import torch

from envs.cartpole.cost import AngleCost, TipCost, make_cost, squared_tip_distance, tip_distance, tip_position

COSTS = [AngleCost(), TipCost(), TipCost(width=0.25)]
STATES = np.random.default_rng(0).normal(0, 1.5, (50, 4))


@pytest.mark.parametrize("cost", COSTS, ids=str)
def test_numpy_and_torch_agree(cost):
    np.testing.assert_allclose(cost(torch.tensor(STATES)).numpy(), cost(STATES), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("cost", COSTS, ids=str)
def test_gradient(cost):
    states = torch.tensor(STATES[:8].reshape(2, 4, 4), requires_grad=True)
    actions = torch.zeros(2, 4, 1, dtype=torch.float64)
    assert cost(states, actions).shape == (2, 4)
    assert torch.autograd.gradcheck(lambda s: cost(s, actions), (states,))


@pytest.mark.parametrize("cost", COSTS, ids=str)
def test_zero_with_zero_gradient_at_the_goal_and_below_one_elsewhere(cost):
    goal = torch.zeros(4, requires_grad=True)
    cost(goal).backward()
    assert cost(goal).item() == 0
    assert torch.equal(goal.grad, torch.zeros(4))
    assert (cost(STATES) > 0).all()
    assert (cost(STATES) <= 1).all()


def test_values():
    state = np.array([0.6, 9.0, -0.8, 9.0])
    assert AngleCost()(state) == pytest.approx(1 - np.exp(-0.5))
    hanging = np.array([0.0, 0.0, np.pi, 0.0])
    assert TipCost(width=0.5)(hanging) == pytest.approx(1 - np.exp(-2.0))
    assert TipCost(width=0.25)(hanging) == pytest.approx(1 - np.exp(-8.0))


def test_velocities_cost_nothing():
    faster = STATES + np.array([0.0, 1.0, 0.0, -1.0])
    for cost in COSTS:
        np.testing.assert_array_equal(cost(STATES), cost(faster))


def test_positive_angle_leans_towards_positive_x():
    across, height = tip_position(np.array([0.1, 0.0, 0.3, 0.0]))
    assert across == pytest.approx(0.1 + 0.5 * np.sin(0.3))
    assert height == pytest.approx(0.5 * np.cos(0.3))
    leaning_back, leaning_out = np.array([-0.1, 0.0, 0.2, 0.0]), np.array([0.1, 0.0, 0.2, 0.0])
    assert tip_distance(leaning_back) < 0.02
    assert tip_distance(leaning_out) > 0.19


def test_tip_distance():
    assert tip_distance(np.zeros(4)) == 0
    assert tip_distance(np.array([0.0, 0.0, np.pi, 0.0])) == pytest.approx(1.0)
    np.testing.assert_allclose(tip_distance(STATES) ** 2, squared_tip_distance(STATES))
    np.testing.assert_allclose(tip_distance(torch.tensor(STATES)).numpy(), tip_distance(STATES))


def test_the_tip_cost_forgives_whole_turns_and_the_angle_cost_does_not():
    turned = np.array([0.0, 0.0, 2 * np.pi, 0.0])
    assert TipCost()(turned) == pytest.approx(0, abs=1e-12)
    assert AngleCost()(turned) > 0.99


def test_make_cost():
    assert make_cost("angle", 0.5) == AngleCost()
    assert make_cost("tip", 0.25) == TipCost(0.25)
    assert pickle.loads(pickle.dumps(make_cost("tip", 0.25))) == TipCost(0.25)


def test_unknown_cost_and_width():
    with pytest.raises(ValueError, match=r"one of 'angle', 'tip', got 'cosine'"):
        make_cost("cosine", 0.5)
    for width in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="cost_width must be a finite length > 0"):
            make_cost("tip", width)
