"""An agent whose policy remembers: real episodes, Stable-Baselines3's tools, and what it cannot do."""

import io

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agent import History, ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from tests.support.point_mass import STEPS, PointMass, limited

SMALL = SearchOptions(steps=2, num_particles=20, candidates=2)
MODEL = Ensemble(members=2, hidden=(8,), fit_steps=5)


def position_cost(state, action):
    return 1 - (-0.5 * state[..., 0] ** 2).exp()


def hidden_speed(steps: int = STEPS, **options) -> gymnasium.Env:
    """The point mass, of which the position alone is observed; a state holds the last two."""
    env = gymnasium.wrappers.TimeLimit(PointMass(**options), steps)
    env.unwrapped.cost = position_cost
    return History(env, length=2, observed=(0,))


def make(env=None, **options) -> ParticlePILCO:
    options = {
        "resampling": "none",
        "search": SMALL,
        "dynamics": MODEL,
        "gradient_probe": 0,
        "seed": 1,
    } | options
    return ParticlePILCO("recurrent:hidden=6", env or hidden_speed(), **options)


def test_the_policy_sees_the_newest_observation_alone():
    assert make().policy.seen.tolist() == [0]
    assert make(limited()).policy.seen.tolist() == [0, 1]


def test_real_episodes_are_acted_from_their_start():
    """In several environments, whose episodes end at different times, and in each of several trials."""
    env = DummyVecEnv([lambda ends=ends: hidden_speed(ends_at=ends) for ends in (3, None, 5)])
    agent = make(env).learn(3 * STEPS)  # one trial at random
    for _ in range(2):
        policy = {name: value.clone() for name, value in agent.policy.state_dict().items()}
        agent.learn(1, reset_num_timesteps=False)
        assert [len(episode) for episode in agent.latest] == [3, STEPS, 5]
        agent.policy.load_state_dict(policy)  # that which has acted
        for episode in agent.latest:
            state = None
            for observation, expected in zip(episode.observations, episode.actions, strict=False):
                action, state = agent.predict(observation.astype(np.float32), state)
                np.testing.assert_allclose(agent.policy.scale_action(action), expected, atol=1e-5)


def test_evaluate_policy_keeps_environments_apart():
    """Two environments of which one ends earlier and begins anew give what each gives alone."""
    agent = make().learn(2 * STEPS)
    lengths = (3, STEPS)
    envs = [
        lambda ends=ends: gymnasium.wrappers.RecordEpisodeStatistics(hidden_speed(ends)) for ends in lengths
    ]

    def returns(*makers, episodes):
        env = DummyVecEnv(list(makers))
        env.seed(7)
        return evaluate_policy(agent, env, episodes, return_episode_rewards=True, warn=False)

    rewards, steps = returns(*envs, episodes=4)
    assert sorted(steps) == [3, 3, STEPS, STEPS]
    alone = DummyVecEnv([envs[0]])
    alone.seed(7)
    own, _ = evaluate_policy(agent, alone, 2, return_episode_rewards=True, warn=False)
    together = [reward for reward, length in zip(rewards, steps, strict=True) if length == 3]
    np.testing.assert_allclose(together, own, rtol=1e-4)


def test_eval_callback_works():
    agent = make()
    callback = EvalCallback(
        DummyVecEnv([hidden_speed] * 2), n_eval_episodes=3, eval_freq=STEPS, warn=False, verbose=0
    )
    agent.learn(3 * STEPS, callback=callback)
    assert np.isfinite(callback.last_mean_reward)


def test_it_goes_on_bitwise_where_it_was_saved():
    agent = make().learn(2 * STEPS)
    file = io.BytesIO()
    agent.save(file)
    file.seek(0)
    loaded = ParticlePILCO.load(file, env=hidden_speed())
    assert loaded.policy.seen.tolist() == [0]
    assert loaded.policy.memory_dims == 6
    for each in (agent, loaded):
        each.learn(STEPS, reset_num_timesteps=False)
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resampling": "gaussian"}, r"resampling.*memory of another one's past: use .*'none'"),
        ({"resampling": "interpolated:0.5"}, "use one that keeps particles"),
        ({"estimator": "total-propagation"}, r"estimator.*use .*'reparameterization'"),
        ({"estimator": "likelihood-ratio"}, r"estimator.*use .*'reparameterization'"),
        (
            {"dynamics": "gp", "rollout": "moment-matching"},
            "moments are known, 'rbf' or 'linear', got Recurrent",
        ),
        ({"policy_kwargs": {"copied_dims": (1,)}}, "no option 'copied_dims'"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(**options)


def test_rollouts_with_ends_and_other_strategies_learn():
    terminated = {"terminated": lambda state: state[..., 0] > 1.3}
    for resampling in ("tangent", "own-residual"):
        agent = make(resampling=resampling, **terminated).learn(2 * STEPS)
        assert torch.isfinite(agent.candidate_costs).all()
