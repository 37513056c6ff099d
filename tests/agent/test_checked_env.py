"""Observations arrive as they were, whatever the environment does with its arrays afterwards."""

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecMonitor

from mbrl_agent.agent.collect import collect_episodes
from mbrl_agent.errors import EnvFailedError, NonFiniteError, PolicyError, ShapeError

END = 5


class Countdown(gymnasium.Env):
    """Counts down from `start` in an array that it uses again and again."""

    def __init__(self, start=100, end=END, view=False, fault=None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.start, self.end, self.view, self.fault = start, end, view, fault
        self.state = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.state[:] = self.start
        return self._state(), {}

    def step(self, action):
        self.t += 1
        self.state -= 1
        action *= 0  # an environment may spoil what it is given
        return self._state(), float(self.state[0]), self.t >= self.end, False, {}

    def _state(self):
        if self.fault is not None and self.t == self.fault:
            return self.state[:1]
        return self.state[:] if self.view else self.state


class OwnVecEnv(VecEnv):
    """Two environments as one batch, all of whose results are buffers that are used again."""

    render_mode = None

    def __init__(self, forget=False):
        one = Countdown()
        self.render_mode = None
        super().__init__(2, one.observation_space, one.action_space)
        self.obs, self.rewards = np.zeros((2, 2)), np.zeros(2, np.float32)
        self.dones, self.infos, self.forget = np.zeros(2, bool), [{}, {}], forget

    def reset(self):
        self.t = 0
        self.obs[:] = 100
        return self.obs

    def step_async(self, actions):
        pass

    def step_wait(self):
        self.t += 1
        self.obs -= 1
        self.rewards[:] = self.obs[:, 0]
        self.dones[:] = self.t == END
        for info in self.infos:
            info.clear()
        if self.t == END:
            for info in self.infos:
                if not self.forget:
                    info["terminal_observation"] = self.obs[0].copy()
            self.reset()
        return self.obs, self.rewards, self.dones, self.infos

    def close(self):
        pass

    def get_attr(self, attr_name, indices=None):
        return [getattr(self, attr_name)] * 2

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *method_args, indices=None, **method_kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False, False]


def collect(env, act=None, max_steps=50, starts=None):
    """Episodes and steps of one collection; starts of the episodes after them go into a list."""
    episodes, steps = [], []
    starts = [] if starts is None else starts
    try:
        collect_episodes(
            env,
            act or (lambda observations: np.full((len(observations), 1), 0.5)),
            lambda actions: actions.astype(np.float32),
            lambda step: steps.append(step) or True,
            max_steps,
            episodes.append,
            starts.append,
        )
    finally:
        env.close()
    return episodes, steps


def zeros(observations):
    return np.zeros((len(observations), 1), np.float32)


def subproc(*makers):
    return SubprocVecEnv(list(makers), start_method="fork")


VEC_ENVS = {
    "dummy": lambda: DummyVecEnv([Countdown]),
    "dummy of two": lambda: DummyVecEnv([Countdown, lambda: Countdown(view=True)]),
    "monitors": lambda: make_vec_env(Countdown, 2),
    "vec monitor": lambda: VecMonitor(DummyVecEnv([Countdown])),
    "wrapped": lambda: DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(Countdown(end=99), END)]),
    "subproc": lambda: subproc(Countdown, lambda: Countdown(view=True)),
    "subproc, vec monitor": lambda: VecMonitor(subproc(Countdown, lambda: Monitor(Countdown()))),
    "own": OwnVecEnv,
}


@pytest.mark.parametrize("kind", VEC_ENVS)
def test_arrays_that_are_used_again(kind):
    starts = []
    episodes, steps = collect(VEC_ENVS[kind](), starts=starts)
    np.testing.assert_array_equal(starts, np.full((len(episodes), len(starts[0])), 100.0))
    for episode in episodes:
        np.testing.assert_array_equal(episode.observations[:, 0], 100.0 - np.arange(END + 1))
        np.testing.assert_array_equal(episode.rewards, 99.0 - np.arange(END))
        np.testing.assert_array_equal(episode.actions, 0.5)
    np.testing.assert_array_equal([step.rewards[0] for step in steps], 99.0 - np.arange(END))
    assert [bool(step.dones[0]) for step in steps] == [False] * (END - 1) + [True]
    assert steps[-1].observations[0, 0] == 100
    assert steps[-1].infos[0]["terminal_observation"][0] == 95


def test_processes_end_episodes_one_by_one():
    env = subproc(lambda: Countdown(end=2), lambda: Countdown(start=50, end=4))
    episodes, steps = collect(env)
    assert [episode.observations[:, 0].tolist() for episode in episodes] == [
        [100, 99, 98],
        [50, 49, 48, 47, 46],
    ]
    assert [step.recorded.tolist() for step in steps] == [[True, True], [True, True], *[[False, True]] * 2]
    assert steps[1].infos[0]["TimeLimit.truncated"] is False


def test_of_an_episode_that_is_cut_short_nothing_follows():
    starts = []
    episodes, _ = collect(DummyVecEnv([Countdown, lambda: Countdown(end=3)]), max_steps=4, starts=starts)
    assert [len(episode) for episode in episodes] == [4, 3]
    assert len(starts) == 1


def test_a_start_that_is_not_finite_is_not_kept():
    class Broken(Countdown):
        resets = 0

        def reset(self, **options):
            observation, info = super().reset(**options)
            Broken.resets += 1
            return (observation if Broken.resets == 1 else np.full_like(observation, np.nan)), info

    starts = []
    episodes, _ = collect(DummyVecEnv([Broken]), starts=starts)
    assert (len(episodes), starts) == (1, [])


def test_between_the_calls_everything_is_as_it_was():
    """Callbacks set attributes of the environments themselves, and a second collection finds them."""
    env = DummyVecEnv([Countdown])
    original = env.envs[0]
    seen = []
    collect_episodes(
        env,
        lambda observations: np.zeros((1, 1)),
        lambda actions: actions,
        lambda step: seen.append(env.envs[0]) or bool(env.set_attr("start", 7) is None),
        END,
        lambda episode: None,
        lambda start: None,
    )
    assert seen == [original] * END
    assert original.start == 7
    workers = subproc(Countdown)
    try:
        before = dict(vars(workers))
        collect_episodes(
            workers,
            lambda o: np.zeros((1, 1)),
            lambda a: a,
            lambda s: True,
            END,
            lambda e: None,
            lambda start: None,
        )
        assert vars(workers).keys() == before.keys()
        observations = workers.reset()
        assert observations.tolist() == [[100, 100]]
        assert workers.step(np.zeros((1, 1), np.float32))[0].tolist() == [[99, 99]]
    finally:
        workers.close()


def test_a_class_that_steps_its_processes_in_its_own_way_is_left_alone():
    class Loud(SubprocVecEnv):
        waits = 0

        def step_wait(self):
            Loud.waits += 1
            return super().step_wait()

    collect(Loud([Countdown], start_method="fork"))
    assert Loud.waits == END


@pytest.mark.parametrize("make", [DummyVecEnv, lambda makers: subproc(*makers)])
@pytest.mark.parametrize("step", [0, 3, END])
def test_an_observation_of_another_shape(make, step):
    with pytest.raises(ShapeError, match=rf"shape \(1,\) instead of \(2,\) at step {step} of an episode"):
        collect(make([lambda: Countdown(fault=step)]))


def test_processes_have_no_answers_left_after_one_was_refused():
    env = subproc(lambda: Countdown(fault=END), Countdown)
    try:
        with pytest.raises(ShapeError):
            collect_episodes(env, zeros, zeros, lambda step: True, END, [].append, [].append)
        assert not any(remote.poll(0.5) for remote in env.remotes)
    finally:
        env.close()


def test_an_environment_that_forgets_the_last_observation():
    with pytest.raises(EnvFailedError, match=r"OwnVecEnv ended an episode without infos\[0\]\['terminal_ob"):
        collect(OwnVecEnv(forget=True))


def test_successes_are_plain():
    class Successful(Countdown):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"is_success": np.array([True]) if self.t < 3 else [False]}

    _, steps = collect(DummyVecEnv([Successful]))
    assert [step.infos[0]["is_success"] for step in steps] == [True, True, False, False, False]


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("monitor", [False, True])
def test_dictionaries_that_are_used_again(clear, monitor):
    class Reused(Countdown):
        info: ClassVar[dict] = {}

        def reset(self, **options):
            if clear:
                self.info.clear()
            return super().reset(**options)[0], self.info

        def step(self, action):
            *rest, _ = super().step(action)
            self.info["t"] = self.t
            return *rest, self.info

    env = DummyVecEnv([lambda: Monitor(Reused()) if monitor else Reused()])
    for _ in range(2):
        (episode,), steps = collect(env)
        assert episode.observations[-1, 0] == 95
        assert [step.infos[0]["t"] for step in steps] == [1, 2, 3, 4, 5]
        assert ["episode" in step.infos[0] for step in steps] == [False] * 4 + [monitor]
        assert ["terminal_observation" in step.infos[0] for step in steps] == [False] * 4 + [True]


def test_an_action_that_is_not_finite_is_not_sent():
    sent = []

    class Watched(Countdown):
        def step(self, action):
            sent.append(float(action[0]))
            return super().step(action)

    def act(observations):
        return np.where(observations[:, :1] < 98, np.nan, 0.25)

    with pytest.raises(PolicyError, match=r"dimension 0 is nan at step 4 of an episode.*\[97\.0, 97\.0"):
        collect(DummyVecEnv([Watched]), act)
    assert sent == [0.25] * 3


def test_an_environment_that_waits_is_sent_zeros():
    class Broken(Countdown):
        """Observes nothing any more once its first episode is over."""

        resets = 0

        def reset(self, **options):
            self.resets += 1
            observation, info = super().reset(**options)
            return (observation * np.nan if self.resets > 1 else observation), info

        def step(self, action):
            assert self.resets == 1 or action[0] == 0
            return super().step(action)

    episodes, _ = collect(DummyVecEnv([lambda: Broken(end=2), Countdown]), lambda o: 0.5 + 0 * o[:, :1])
    assert [len(episode) for episode in episodes] == [2, END]


def test_rewards_have_to_be_finite():
    class Unrewarding(Countdown):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, -np.inf if self.t == 2 else 0.0, *rest

    with pytest.raises(NonFiniteError, match=r"reward = -inf at step 2"):
        collect(DummyVecEnv([Unrewarding]))
