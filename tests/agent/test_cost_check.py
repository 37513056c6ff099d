"""Whether a cost that contradicts the reward is noticed, and one that does not is left in peace."""

import warnings

import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from mbrl_agent import ParticlePILCO, SearchOptions, costs
from mbrl_agent.agent.cost_check import CostCheck, cost_reward_correlation, disagree, rank_correlation
from mbrl_agent.agent.replay import Episode
from mbrl_agent.dynamics.ensemble import Ensemble
from tests.support.point_mass import STEPS, PointMass, distance_cost, limited
from tests.support.tiny_run import progress

COST = costs.Quadratic((0.0,))


def episode(states, rewards, actions=None):
    """Steps to these states (N)."""
    states = np.asarray(states, dtype=np.float64)
    chosen = np.random.default_rng(7).uniform(-1, 1, (len(states), 1)) if actions is None else actions
    return Episode(np.concatenate([[0.0], states])[:, None], chosen, rewards)


def normal(count, seed=0):
    return np.random.default_rng(seed).standard_normal(count)


# ranks -----------------------------------------------------------------------------------------------------


def test_ranks_of_equal_values_are_shared():
    # ranks 0 1.5 1.5 3 and 1 0 2.5 2.5
    first, second = np.array([1.0, 5, 5, 9]), np.array([2.0, -1, 3, 3])
    expected = np.corrcoef([0, 1.5, 1.5, 3], [1, 0, 2.5, 2.5])[0, 1]
    assert rank_correlation(first, second) == pytest.approx(expected)


def test_the_correlation_is_one_for_any_rising_function():
    x = normal(50)
    assert rank_correlation(x, np.exp(3 * x)) == pytest.approx(1)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1)


# what is found ---------------------------------------------------------------------------------------------


def test_agreement_and_contradiction():
    x = normal(200)
    assert cost_reward_correlation(COST, [episode(x, -np.abs(x))]) == (pytest.approx(1), 200)
    assert cost_reward_correlation(COST, [episode(x, x**2)]) == (pytest.approx(-1), 200)
    correlation, _ = cost_reward_correlation(COST, [episode(x, normal(200, seed=1))])
    assert abs(correlation) < 0.2


def test_the_state_after_the_step_and_its_action_are_judged():
    x = normal(100)
    actions = normal(100, seed=2)[:, None]
    cost = COST + costs.ActionPenalty()
    found = cost_reward_correlation(cost, [episode(x, -(x**2) - actions[:, 0] ** 2, actions)])
    assert found == (pytest.approx(1), 100)


@pytest.mark.parametrize(
    "rewards",
    [
        np.zeros(300),
        np.ones(300),
        1 + 1e-9 * normal(300),  # rounding errors
        np.where(np.arange(300) % 100 == 99, 1.0, 0.0),  # sparse
        np.full(300, np.nan),
        None,
    ],
)
def test_rewards_that_hardly_vary_say_nothing(rewards):
    assert cost_reward_correlation(COST, [episode(normal(300), rewards)]) is None


def test_a_cost_that_hardly_varies_says_nothing():
    states = np.where(np.arange(300) % 100 == 99, 1.0, 0.0)
    assert cost_reward_correlation(COST, [episode(states, normal(300))]) is None


def test_nothing_was_collected():
    assert cost_reward_correlation(COST, []) is None
    assert cost_reward_correlation(COST, [episode([], np.zeros(0))]) is None


def test_episodes_and_steps_without_rewards_are_left_out():
    x = normal(200)
    rewards = np.where(np.arange(200) < 150, -(x**2), np.nan)
    without = episode(x, None), episode(x, np.full(200, np.nan))
    assert cost_reward_correlation(COST, [*without, episode(x, rewards)]) == (pytest.approx(1), 150)


@pytest.mark.parametrize("goal", [False, True])
@pytest.mark.parametrize("bounds", [(-1, 1), (-1, 3)])
def test_a_reward_of_the_action_alone_says_nothing(goal, bounds):
    """Until the goal is reached, some tasks penalise actions, and large actions are what leads there."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (500, 2))
    units = bounds[0] + 0.5 * (actions + 1) * (bounds[1] - bounds[0])
    rewards = -0.1 * (units**2 @ np.array([1.0, 0.3]))
    if goal:
        rewards[-1] += 100
    states = 1 - 0.5 * np.abs(actions[:, 0])
    assert cost_reward_correlation(COST, [episode(states, rewards, actions)]) is None


def test_more_steps_are_needed_for_less_clear_a_contradiction():
    assert not disagree(-1.0, 24)
    assert disagree(-1.0, 60)
    assert not disagree(-0.5, 60)
    assert disagree(-0.5, 200)
    assert not disagree(0.0, 1000)
    assert disagree(0.0, 10_000)
    assert not disagree(0.12, 10**9)
    assert not disagree(-1.0, 1)


def test_a_warning_comes_once_and_every_value_is_logged():
    check, logger = CostCheck(), Logger(None, [])
    x = normal(200)
    with pytest.warns(UserWarning, match=r"disagree: over 200 real steps, .* is -1\.00"):
        check(COST, [episode(x, x**2)], logger, "cpu")
    assert logger.name_to_value["rollout/cost_reward_correlation"] == pytest.approx(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(COST, [episode(x, np.abs(x))] * 2, logger, "cpu")


# in an agent -----------------------------------------------------------------------------------------------


def negated_cost(state, action):
    return -distance_cost(state, action)


def learn(env, trials=8, **options):
    agent = ParticlePILCO(
        "LinearPolicy",
        env,
        dynamics=Ensemble(members=2, hidden=(8,), fit_steps=5),
        search=SearchOptions(steps=1, num_particles=12, candidates=2, horizon=4),
        gradient_probe=0,
        seed=3,
        **options,
    )
    agent.learn(trials * STEPS * agent.n_envs)
    agent.get_env().close()
    return agent


@pytest.mark.parametrize("vec_env", [None, DummyVecEnv, SubprocVecEnv])
def test_an_agent_with_the_wrong_sign_is_warned_once(vec_env):
    env = limited() if vec_env is None else make_vec_env(limited, 2, vec_env_cls=vec_env)
    with pytest.warns(UserWarning, match="cost and reward disagree") as caught:
        learn(env, cost=negated_cost)
    assert sum("disagree" in str(warning.message) for warning in caught) == 1


def test_an_agent_with_the_right_cost_is_not_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(limited())


class Unrewarded(PointMass):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, 0.0, *rest


def test_an_environment_without_rewards_is_not_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(Unrewarded(), cost=negated_cost, max_episode_steps=STEPS)


def test_a_run_logs_the_correlation(undisturbed):
    rows = progress(undisturbed)
    assert [float(row["rollout/cost_reward_correlation"]) > 0.9 for row in rows] == [True] * 3


def test_float64_costs():
    x = normal(100)

    def cost(state, action):
        return state[..., 0].double().square() + torch.zeros((), dtype=torch.float64)

    assert cost_reward_correlation(cost, [episode(x, -(x**2))]) == (pytest.approx(1), 100)
