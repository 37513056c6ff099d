"""Observations with the last two actions, and what an agent makes of the cost of their difference."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import envs  # noqa: F401
from mbrl_agent import ActionHistory, ParticlePILCO, SearchOptions, costs
from mbrl_agent.dynamics.ensemble import Ensemble
from tests.support.point_mass import STEPS, limited

OPTIONS = {
    "search": SearchOptions(steps=2, candidates=2, num_particles=20, horizon=4),
    "dynamics": Ensemble(members=2, hidden=(8,), fit_steps=5),
    "policy_kwargs": {"centers": 4},
    "seed": 0,
    "gradient_probe": 0,
}


def wrapped():
    return ActionHistory(gymnasium.make("CartPoleSwingUp-v0"))


def test_observations_end_with_the_last_two_actions_in_their_own_scale():
    env = ActionHistory(limited(bound=2.0))
    first, _ = env.reset(seed=0)
    assert first[2:].tolist() == [0, 0]
    seen = [env.step(np.array([action], np.float32))[0][2:].tolist() for action in (2.0, -1.0, 0.5)]
    assert seen == [[1, 0], [-0.5, 1], [0.25, -0.5]]
    assert env.reset(seed=1)[0][2:].tolist() == [0, 0]
    assert (env.latest_action_dims, env.previous_action_dims) == ((2,), (3,))


def test_copied_dims_are_what_happens():
    env = ActionHistory(limited(bound=2.0))
    before, _ = env.reset(seed=0)
    for action in (1.0, -2.0, 0.5):
        after = env.step(np.array([action], np.float32))[0]
        joined = [*before, action / 2]
        assert env.copied_dims == {2: 4, 3: 2}
        assert [after[index] for index in (2, 3)] == [joined[source] for source in (4, 2)]
        before = after
    assert ParticlePILCO("RbfPolicy", env, **OPTIONS).task.copied_dims == ((2, 4), (3, 2))


def test_observations_are_in_their_space():
    env = wrapped()
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])


def test_what_the_environment_offers_is_handed_on():
    env = wrapped()
    state = torch.randn(5, 6)
    torch.testing.assert_close(env.cost(state, state[:, :1]), env.unwrapped.cost(state[:, :4], state[:, :1]))
    assert env.initial_mean.tolist() == [*env.unwrapped.initial_mean, 0, 0]
    assert env.initial_std.shape == (6,)
    assert env.observation_labels[4:] == ("1_ago_action_0", "2_ago_action_0")
    assert not ActionHistory(limited(offers_cost=False)).has_wrapper_attr("cost")
    assert not ActionHistory(limited()).has_wrapper_attr("initial_mean")


@pytest.mark.parametrize("vec_env", [None, SubprocVecEnv])
def test_an_agent_learns_with_a_cost_of_the_change(vec_env):
    env = wrapped()
    cost = env.cost + 0.1 * costs.ActionRatePenalty(env.previous_action_dims)
    if vec_env is not None:
        env = make_vec_env(wrapped, 1, vec_env_cls=vec_env)
    agent = ParticlePILCO("RbfPolicy", env, cost=cost, **OPTIONS).learn(60)
    agent.get_env().close()
    episode = agent.replay.episodes[-1]
    after = torch.as_tensor(episode.observations[1:])
    rate = costs.ActionRatePenalty((5,))(after, torch.as_tensor(episode.actions))
    changes = np.diff(np.concatenate([[0.0], episode.actions[:, 0]]))
    np.testing.assert_allclose(rate, changes**2, atol=1e-5)


def test_the_environments_own_cost_is_found_through_the_wrapper():
    agent = ParticlePILCO("RbfPolicy", ActionHistory(limited()), **OPTIONS).learn(STEPS)
    assert agent.task.cost == costs.FirstDimensions(limited().unwrapped.cost, 2)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (lambda: gymnasium.make("CartPole-v1"), "actions must be a Box"),
        (lambda: limited(bound=np.inf), "actions must be bounded"),
    ],
)
def test_spaces_that_do_not_fit(env, message):
    with pytest.raises(ValueError, match=message):
        ActionHistory(env())


class _Offering(gymnasium.Wrapper):
    def terminated(self, state):
        return state[..., 0] > 1

    def initial_states(self, count, generator):
        return torch.rand(count, 4, generator=generator)


def test_ends_and_starts_are_handed_on():
    env = ActionHistory(_Offering(gymnasium.make("CartPoleSwingUp-v0")))
    states = torch.zeros(3, 6)
    states[1, 0], states[2, 4] = 2.0, 2.0  # the last is an action
    assert env.get_wrapper_attr("terminated")(states).tolist() == [False, True, False]
    drawn = env.get_wrapper_attr("initial_states")(5, torch.Generator().manual_seed(0))
    assert drawn.shape == (5, 6)
    assert (drawn[:, 4:] == 0).all()
    assert (drawn[:, :4] > 0).all()


def test_what_the_environment_does_not_offer_is_not_handed_on():
    env = ActionHistory(gymnasium.make("Pendulum-v1"))
    assert not any(env.has_wrapper_attr(name) for name in ("cost", "terminated", "initial_states"))
