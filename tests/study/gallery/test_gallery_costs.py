"""The costs of the gallery against values by hand, and the ends of its episodes against the environments."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from mbrl_agent.contract import check_cost
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.task_flags import task_arguments
from mbrl_agent.study.gallery import costs
from mbrl_agent.study.gallery.entries import ENTRIES

UPRIGHT = (0, 0, 0, 1, 1, 0, 0, 0, 0)


def cost_of(function, state, action=(0.0,)) -> float:
    return float(
        function(torch.tensor(state, dtype=torch.float64), torch.tensor(action, dtype=torch.float64))
    )


def made(env: str) -> gymnasium.Env:
    """The environment; without MuJoCo there is none of that kind."""
    if env.endswith("-v5"):
        pytest.importorskip("mujoco")
    return make_env(env)


def test_the_inverted_pendulum_pays_for_angle_place_speed_and_force():
    assert cost_of(costs.inverted_pendulum, (0, 0, 0, 0)) == 0
    by_angle = 1 - math.exp(-(0.1**2) / (2 * 0.2**2))
    assert cost_of(costs.inverted_pendulum, (0, 0.1, 0, 0)) == pytest.approx(by_angle)
    assert cost_of(costs.inverted_pendulum, (0.5, 0, 0, 0)) == pytest.approx(by_angle)
    assert cost_of(costs.inverted_pendulum, (0, 0, 0, 1)) == pytest.approx(by_angle)
    assert cost_of(costs.inverted_pendulum, (0, 0, 0, 0), (-1.0,)) == pytest.approx(0.01)


def test_the_tip_of_the_double_pendulum_adds_a_relative_angle():
    lean, bend = 0.3, -0.5
    state = (0.2, math.sin(lean), math.sin(bend), math.cos(lean), math.cos(bend), 0, 0, 0, 0)
    tip = costs.double_pendulum_tip(torch.tensor(state, dtype=torch.float64))
    across = 0.2 + 0.6 * (math.sin(lean) + math.sin(lean + bend))
    assert tip.tolist() == pytest.approx([across, 0.6 * (math.cos(lean) + math.cos(lean + bend))])


def test_the_double_pendulum_pays_nothing_upright_and_at_rest_and_almost_one_where_it_falls():
    assert cost_of(costs.inverted_double_pendulum, UPRIGHT) == 0
    leaning = (0, 0.3, 0, math.sqrt(1 - 0.3**2), 1, 0, 0, 0, 0)
    assert cost_of(costs.inverted_double_pendulum, leaning) == pytest.approx(1 - math.exp(-0.5))
    fast = (*UPRIGHT[:5], 7, 3, 0, 0)
    aside = (math.sqrt(0.18), *UPRIGHT[1:])
    assert cost_of(costs.inverted_double_pendulum, aside) == pytest.approx(1 - math.exp(-0.5))
    assert cost_of(costs.inverted_double_pendulum, fast) == pytest.approx(1 - math.exp(-0.5))
    bent = math.acos(2 / 3)  # the tip is 1 m high
    falling = (0, 0, math.sin(bent), 1, math.cos(bent), 0, 0, 0, 0)
    assert cost_of(costs.inverted_double_pendulum, falling) > 0.9


def test_the_reacher_pays_for_the_distance_alone_and_for_torques():
    state = (1, 1, 0, 0, 0.1, 0.1, 5, 5, 0.06, 0.08)
    torques = (1.0, -0.5)
    expected = 1 - math.exp(-(0.1**2) / (2 * 0.15**2)) + cost_of(costs.reacher, (0.0,) * 10, torques)
    assert cost_of(costs.reacher, state, torques) == pytest.approx(expected)
    assert cost_of(costs.reacher, (0.0,) * 10, (0.0, 0.0)) == 0
    assert cost_of(costs.reacher, (0.0,) * 10, torques) > 0


def test_the_mountain_car_pays_nothing_at_the_goal_and_more_to_its_left():
    left, nearer = (cost_of(costs.mountain_car, (place, 0.0)) for place in (-1.0, 0.2))
    assert left > nearer > cost_of(costs.mountain_car, (0.45, 0.0)) == 0


def test_the_pendulum_pays_for_what_is_not_upright_or_moves():
    assert cost_of(costs.pendulum, (1, 0, 0)) == 0
    assert cost_of(costs.pendulum, (-1, 0, 0)) == pytest.approx(1 - math.exp(-2))
    assert cost_of(costs.pendulum, (1, 0, 5)) == pytest.approx(1 - math.exp(-0.5))


@pytest.mark.parametrize("entry", [e for e in ENTRIES if "cost" in e.options], ids=lambda entry: entry.env)
def test_costs_keep_the_contract_on_visited_states(entry):
    env = made(entry.env)
    cost = task_arguments(entry.config.task)["cost"]
    (state_dims,), (action_dims,) = env.observation_space.shape, env.action_space.shape
    check_cost(cost, state_dims, action_dims)
    states, actions = visited(env)
    states.requires_grad_()
    (gradient,) = torch.autograd.grad(cost(states, actions).sum(), states)
    assert gradient.isfinite().all()
    assert (gradient != 0).any(-1).all(), "a cost without a gradient teaches nothing"


ENDING = [entry for entry in ENTRIES if "terminated" in entry.options]


@pytest.mark.parametrize("entry", ENDING, ids=lambda entry: entry.env)
def test_ends_are_those_of_the_environment(entry):
    env = made(entry.env)
    ends = task_arguments(entry.config.task)["terminated"]
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    seen = set()
    for step in range(600):
        action = env.action_space.sample()
        if entry.env.startswith("MountainCar"):  # random forces do not get there
            action = np.sign(observation[1:] + 1e-9).astype(np.float32)
        observation, _, terminated, truncated, _ = env.step(action)
        assert bool(ends(torch.as_tensor(observation))) == terminated, (step, observation)
        seen.add(terminated)
        if terminated or truncated:
            observation, _ = env.reset()
    assert seen == {True, False}


def visited(env: gymnasium.Env) -> tuple[torch.Tensor, torch.Tensor]:
    """States (64, D) and actions (64, U) of a random walk."""
    states, actions = [env.reset(seed=1)[0]], []
    env.action_space.seed(1)
    for _ in range(64):
        actions.append(env.action_space.sample())
        observation, _, terminated, _, _ = env.step(actions[-1])
        states.append(env.reset()[0] if terminated else observation)
    return torch.as_tensor(np.array(states[1:])).float(), torch.as_tensor(np.array(actions)).float()


def test_the_reachers_starts_are_distributed_as_those_of_the_environment():
    env = made("Reacher-v5")
    real = np.array([env.reset(seed=seed)[0] for seed in range(500)])
    drawn = costs.reacher_starts(500, torch.Generator().manual_seed(0)).numpy()
    assert drawn.shape == real.shape
    scale = real.std(0)
    assert (np.abs(drawn.mean(0) - real.mean(0)) / scale).max() < 0.25
    np.testing.assert_allclose(drawn.std(0) / scale, 1, atol=0.2)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(real.T), atol=0.3)


def test_a_reachers_start_is_one_arm_in_one_place():
    drawn = costs.reacher_starts(50, torch.Generator().manual_seed(0)).numpy()
    assert (np.linalg.norm(drawn[:, 4:6], axis=1) < 0.2).all(), "targets in reach"
    np.testing.assert_allclose(drawn[:, :2] ** 2 + drawn[:, 2:4] ** 2, 1, atol=1e-6)
    (first, second), tip = np.arctan2(drawn[:, 2:4], drawn[:, :2]).T, drawn[:, 8:] + drawn[:, 4:6]
    np.testing.assert_allclose(tip[:, 0], 0.1 * np.cos(first) + 0.11 * np.cos(first + second), atol=1e-6)
    np.testing.assert_allclose(tip[:, 1], 0.1 * np.sin(first) + 0.11 * np.sin(first + second), atol=1e-6)
