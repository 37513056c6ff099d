"""`max_episode_steps` is a truncation for everyone: monitors, callbacks, the user who steps by hand."""

import csv

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor

from mbrl_agent import ParticlePILCO
from mbrl_agent.agent.episode_limit import EpisodeLimit, limit_episodes
from mbrl_agent.errors import EnvFailedError
from tests.agent.test_agent import make
from tests.agent.test_checked_env import OwnVecEnv
from tests.support.point_mass import PointMass, limited

LIMIT = 6


def subproc(count=2):
    return SubprocVecEnv([PointMass] * count, start_method="fork")


ENVS = {
    "env": PointMass,
    "monitored": lambda: Monitor(PointMass()),
    "wrapped monitor": lambda: gymnasium.wrappers.OrderEnforcing(Monitor(PointMass())),
    "longer limit": lambda: limited(50),
    "dummy": lambda: DummyVecEnv([PointMass, PointMass]),
    "monitors": lambda: make_vec_env(PointMass, 2),
    "vec monitor": lambda: VecMonitor(DummyVecEnv([PointMass, PointMass])),
    "subproc": subproc,
    "subproc, vec monitor": lambda: VecMonitor(subproc()),
}


@pytest.mark.parametrize("kind", ENVS)
def test_an_episode_ends_at_the_limit(kind):
    env = ENVS[kind]()
    agent = make(env, max_episode_steps=LIMIT)
    try:
        count = agent.n_envs
        agent.learn(1000, StopTrainingOnMaxEpisodes(2))
        assert [len(episode) for episode in agent.replay.episodes] == [LIMIT] * 2 * count
        assert [info["l"] for info in agent.ep_info_buffer] == [LIMIT] * 2 * count
        returns = [float(episode.rewards.sum()) for episode in agent.replay.episodes]
        np.testing.assert_allclose([info["r"] for info in agent.ep_info_buffer], returns, atol=1e-4)
        assert agent.get_env().num_envs == count
    finally:
        env.close()


@pytest.mark.parametrize("make_env", [PointMass, lambda: DummyVecEnv([PointMass] * 2), subproc])
def test_the_agents_environment_is_limited_for_everyone_who_steps_it(make_env):
    original = make_env()
    env = make(original, max_episode_steps=LIMIT).get_env()
    try:
        before = env.reset()
        for episode in range(2):
            for step in range(1, LIMIT + 1):
                after, _, dones, infos = env.step(np.ones((env.num_envs, 1), np.float32))
                assert dones.tolist() == [step == LIMIT] * env.num_envs, (episode, step)
            for index, info in enumerate(infos):
                assert info["TimeLimit.truncated"] is True
                assert abs(info["terminal_observation"][0] - before[index][0]) > 1  # it was pushed away
                assert abs(after[index][0] - 1) < 0.6  # the start of the next one
    finally:
        original.close()


def test_environments_that_end_on_their_own_are_counted_each():
    env = EpisodeLimit(DummyVecEnv([lambda: PointMass(ends_at=4), PointMass]), LIMIT)
    env.reset()
    ends = []
    for step in range(1, 13):
        _, _, dones, infos = env.step(np.zeros((2, 1), np.float32))
        ends += [
            (step, i, infos[i]["TimeLimit.truncated"], infos[i].get("episode", {}).get("l"))
            for i in np.flatnonzero(dones)
        ]
    assert ends == [
        (4, 0, False, None), (6, 1, True, 6), (8, 0, False, None), (12, 0, False, None), (12, 1, True, 6)
    ]  # fmt: skip


def test_a_reset_begins_the_count_anew():
    env = EpisodeLimit(DummyVecEnv([PointMass]), LIMIT)
    for steps in (LIMIT - 1, LIMIT):
        env.reset()
        dones = [bool(env.step(np.zeros((1, 1), np.float32))[2][0]) for _ in range(steps)]
    assert dones == [False] * (LIMIT - 1) + [True]


@pytest.mark.parametrize("vector", [False, True])
def test_the_users_own_monitor_writes_the_episodes(tmp_path, vector):
    name = tmp_path / "log.monitor.csv"
    env = VecMonitor(DummyVecEnv([PointMass]), str(name)) if vector else Monitor(PointMass(), str(name))
    make(env, max_episode_steps=LIMIT).learn(2 * LIMIT)
    env.close()
    with name.open() as file:
        next(file)
        assert [row["l"] for row in csv.DictReader(file)] == [str(LIMIT)] * 2


def test_the_next_agent_sets_a_limit_of_its_own():
    for env in (Monitor(PointMass()), VecMonitor(DummyVecEnv([PointMass]))):
        make(env, max_episode_steps=LIMIT).learn(LIMIT)
        agent = make(env, max_episode_steps=LIMIT + 2).learn(LIMIT + 2)
        assert [len(episode) for episode in agent.replay.episodes] == [LIMIT + 2]
        agent = make(env).learn(LIMIT + 5)
        assert [len(episode) for episode in agent.replay.episodes] == [LIMIT + 5]
    env = limit_episodes(limit_episodes(PointMass(), 3), None)
    assert isinstance(env, PointMass)


@pytest.mark.parametrize("kind", ["env", "monitored", "dummy", "vec monitor"])
def test_set_env_and_load_limit_as_well(tmp_path, kind):
    agent = make(max_episode_steps=LIMIT)
    agent.save(tmp_path / "agent")
    agent.set_env(ENVS[kind]())
    loaded = ParticlePILCO.load(tmp_path / "agent", env=ENVS[kind]())
    again = ParticlePILCO.load(tmp_path / "agent", env=loaded.get_env())
    for one in (agent, loaded, again):
        one.learn(LIMIT * one.n_envs)
        assert [info["l"] for info in one.ep_info_buffer] == [LIMIT] * one.n_envs


def test_an_environment_that_is_refused_is_left_as_it_was():
    env = Monitor(PointMass(offers_cost=False))
    below = env.env
    with pytest.raises(ValueError, match="no differentiable cost"):
        make(max_episode_steps=LIMIT).set_env(env)
    assert env.env is below


def test_a_batch_that_cannot_reset_one_environment():
    env = EpisodeLimit(OwnVecEnv(), 3)  # all end together: it is reset as a whole
    env.reset()
    for _ in range(3):
        observations, _, dones, infos = env.step(np.zeros((2, 1)))
    assert dones.all()
    assert observations[0, 0] == 100
    assert infos[0]["terminal_observation"][0] == 97
    env._steps[0] = 2
    with pytest.raises(EnvFailedError, match=r"OwnVecEnv, whose env_method\('reset', indices=\[0\]\)"):
        env.step(np.zeros((2, 1)))


def test_an_episode_that_learn_cuts_ends_for_callbacks_too():
    ends = []

    def listen(local_variables, _) -> bool:
        ends.extend(i["TimeLimit.truncated"] for i in local_variables["infos"] if "episode" in i)
        return True

    agent = make(PointMass()).learn(11, listen)
    assert ends == [True]
    assert [(info["l"], round(info["r"], 3)) for info in agent.ep_info_buffer] == [
        (11, round(float(agent.replay.episodes[0].rewards.sum()), 3))
    ]


class Says(PointMass):
    """Has an attribute of the name that Gymnasium's TimeLimit uses, for something else."""

    def __init__(self, says):
        super().__init__()
        self._max_episode_steps = says


@pytest.mark.parametrize("says", [None, "soon", -1, 0, True, np.inf, 2.5, [3]])
@pytest.mark.parametrize("count", [1, 2])
def test_attributes_that_are_no_time_limit(says, count):
    agent = make(DummyVecEnv([lambda: Says(says)] * count)).learn(7 * count)
    assert [len(episode) for episode in agent.replay.episodes] == [7] * count


def test_a_limit_that_is_a_number_of_numpys():
    agent = make(DummyVecEnv([lambda: Says(np.int32(6)), lambda: limited(5)])).learn(10)
    assert [len(episode) for episode in agent.replay.episodes] == [6, 5]


def test_where_one_environment_has_no_limit():
    agent = make(DummyVecEnv([lambda: limited(5), PointMass])).learn(16)
    assert [len(episode) for episode in agent.replay.episodes] == [5, 8]
