"""Random trials, added episodes, seeds of collections, the horizon, callbacks inside callbacks."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.agent.callbacks import TrialCallback
from mbrl_agent.errors import NonFiniteError, PolicyError
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.search.policy_search import LONGEST_HORIZON
from tests.agent.test_agent import TINY_SEARCH, Stop, make, same
from tests.support.point_mass import STEPS, PointMass, distance_cost, limited


def starts(agent) -> list[float]:
    return [float(episode.observations[0, 0]) for episode in agent.replay.episodes]


def beginnings(agent):
    """The episodes' first observations and actions, which repeat where a seed repeats."""
    return [(e.observations[0].tolist(), e.actions[:3].tolist()) for e in agent.replay.episodes]


# a collection is never run twice ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", [3, STEPS, STEPS + 3, 2 * STEPS])
def test_after_a_stop_other_episodes_follow(after):
    agent = make(random_trials=3).learn(100, Stop(after))
    agent.learn(2 * STEPS, reset_num_timesteps=False)
    assert len(set(starts(agent))) == len(agent.replay.episodes) == -(-after // STEPS) + 2
    assert len({str(entry) for entry in beginnings(agent)}) == len(agent.replay.episodes)
    assert agent.collections == len(agent.replay.episodes)


def test_after_an_error_other_episodes_follow():
    class Stumbles(PointMass):
        resets = 0

        def reset(self, **options):
            self.resets += 1
            return super().reset(**options)

        def step(self, action):
            observation, *rest = super().step(action)
            return (observation * np.nan if self.resets == 2 and self.steps == 4 else observation), *rest

    agent = make(gymnasium.wrappers.TimeLimit(Stumbles(), STEPS))
    with pytest.raises(NonFiniteError):
        agent.learn(STEPS)
    agent.learn(STEPS)
    assert [len(episode) for episode in agent.replay.episodes] == [3, STEPS]
    assert len(set(starts(agent))) == 2


def test_an_error_of_a_callback_is_one_as_well():
    class Breaks(BaseCallback):
        def _on_step(self):
            if self.n_calls == 3:
                raise RuntimeError("no")
            return True

    agent = make()
    with pytest.raises(RuntimeError, match="no"):
        agent.learn(STEPS, Breaks())
    agent.learn(STEPS)
    assert [len(episode) for episode in agent.replay.episodes] == [3, STEPS]
    assert len(set(starts(agent))) == 2


def test_what_was_stopped_is_remembered_by_the_file(tmp_path):
    agent = make().learn(100, Stop(STEPS + 3))
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited())
    assert (loaded.collections, loaded.trials) == (2, 1)
    agent.learn(STEPS, reset_num_timesteps=False)
    loaded.learn(STEPS, reset_num_timesteps=False)
    assert same(agent, loaded)
    assert len(set(starts(loaded))) == 3


# random trials come before the first fit -------------------------------------------------------------------


def test_random_trials_only_collect():
    heard = []

    class Listener(TrialCallback):
        def on_trial_end(self):
            heard.append((self.model.trials, self.model.improved, self.model.fit_steps))

    agent = make(random_trials=3).learn(4 * STEPS, Listener())
    assert heard == [(1, False, 0), (2, False, 0), (3, True, 5), (4, True, 10)]
    assert agent._n_updates == 4


def test_random_trials_go_on_after_a_file(tmp_path):
    whole = make(random_trials=3).learn(4 * STEPS)
    for done in (1, 2, 3):
        part = make(random_trials=3).learn(done * STEPS)
        part.save(tmp_path / "agent")
        loaded = ParticlePILCO.load(tmp_path / "agent", env=limited())
        assert loaded.improved == (done == 3)
        assert same(loaded.learn((4 - done) * STEPS, reset_num_timesteps=False), whole)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_short_episodes_are_followed_by_more(steps):
    agent = make(limited(steps)).learn(50 * steps, callback=_until_trial(2))
    first = -(-5 // steps)
    assert (agent.trials, len(agent.replay.episodes), agent.collections) == (2, first + 1, first + 1)
    assert len(set(starts(agent))) == first + 1


def test_short_episodes_of_several_environments():
    agent = make(DummyVecEnv([lambda: limited(2)] * 3)).learn(600, callback=_until_trial(1))
    assert len(agent.replay) == 6
    agent = make(DummyVecEnv([lambda: limited(1)] * 2)).learn(600, callback=_until_trial(1))
    assert len(agent.replay) == 6


def _until_trial(count):
    class Until(TrialCallback):
        def on_trial_logged(self):
            return self.model.trials < count

    return Until()


def test_a_model_says_how_many_transitions_it_needs():
    agent = make(limited(3))
    agent.dynamics.min_transitions = 13
    agent.learn(100, callback=_until_trial(1))
    assert len(agent.replay) == 15
    agent = make(limited(3))
    agent.dynamics.min_transitions = 10**9
    with pytest.warns(UserWarning, match="nothing was learned yet"):
        agent.learn(10)
    assert (agent.num_timesteps, agent.trials) == (12, 0)


# episodes that the user adds -------------------------------------------------------------------------------


def logged(length=STEPS, bound=1.0, seed=0):
    rng = np.random.default_rng(seed)
    env = PointMass(bound=bound)
    observations, actions = [env.reset(seed=seed)[0]], []
    for _ in range(length):
        actions.append(rng.uniform(-bound, bound, 1).astype(np.float32))
        observations.append(env.step(actions[-1])[0])
    return np.array(observations), np.array(actions)


def test_added_episodes_take_the_place_of_random_trials(tmp_path):
    agent = make(limited(bound=4.0))
    observations, actions = logged(bound=4.0)
    agent.add_episode(observations, actions)
    np.testing.assert_array_equal(agent.replay.episodes[0].observations, observations)
    np.testing.assert_allclose(agent.replay.episodes[0].actions, actions / 4, rtol=1e-6)
    agent.save(tmp_path / "agent")
    agent.learn(STEPS, callback=_until_trial(1))
    assert (agent.trials, agent.improved, agent.collections, agent.num_timesteps) == (1, True, 0, 0)
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited(bound=4.0))
    loaded.learn(2 * STEPS)
    agent.learn(2 * STEPS)
    assert (agent.trials, loaded.trials, len(agent.replay.episodes)) == (3, 3, 3)
    assert same(agent, loaded)
    starts = [episode.observations[0] for episode in agent.replay.episodes] + agent.replay.further_starts
    mean = agent.policy_search().initial_states.mean
    np.testing.assert_allclose(mean, np.mean(starts, axis=0), rtol=1e-5)


def test_fewer_added_episodes_leave_some_random_trials():
    agent = make(random_trials=3)
    agent.add_episode(*logged())
    agent.learn(1000, callback=_until_trial(2))
    assert (agent.improved, agent.collections) == (True, 2)


def test_an_added_episode_that_is_too_short_for_a_fit():
    agent = make()
    agent.add_episode(*logged(3))
    agent.learn(1000, callback=_until_trial(1))
    assert [len(episode) for episode in agent.replay.episodes] == [3, STEPS]


def test_episodes_may_be_added_later():
    agent = make().learn(STEPS)
    agent.add_episode(*logged(), rewards=np.arange(STEPS))
    assert agent.replay.episodes[-1].rewards.tolist() == list(range(STEPS))
    assert agent.learn(STEPS, reset_num_timesteps=False).trials == 2
    assert len(agent.replay) == 3 * STEPS


GOOD = logged()


@pytest.mark.parametrize(
    ("observations", "actions", "rewards", "error", "message"),
    [
        (GOOD[0][:-1], GOOD[1], None, ValueError, r"actions must have the shape \(7, 1\).*got \(8, 1\)"),
        (GOOD[0][:, :1], GOOD[1], None, ValueError, r"shape \(N \+ 1, 2\).*got \(9, 1\)"),
        (GOOD[0][:1], GOOD[1][:0], None, ValueError, r"N at least 1, got \(1, 2\)"),
        (GOOD[0], GOOD[1][:, 0], None, ValueError, r"actions must have the shape \(8, 1\).*got \(8,\)"),
        (GOOD[0], 1.1 + 0 * GOOD[1], None, ValueError, r"actions\[0, 0\] is 1\.1.*bounds -1\.0 to 1\.0"),
        (GOOD[0], np.nan * GOOD[1], None, ValueError, r"actions\[0, 0\] is nan, not finite"),
        (np.inf * GOOD[0], GOOD[1], None, ValueError, r"observations\[0, 0\] is inf, not finite"),
        (GOOD[0], GOOD[1], np.zeros(7), ValueError, r"rewards must have the shape \(8,\), got \(7,\)"),
        (GOOD[0].astype(str), GOOD[1], None, TypeError, "observations must be an array of numbers"),
        (None, GOOD[1], None, TypeError, "observations must be an array of numbers"),
        ([[1, 2], [3]], GOOD[1], None, TypeError, "observations must be an array of numbers"),
        (GOOD[0], 1j * GOOD[1], None, TypeError, "actions must be an array of numbers"),
    ],
)
def test_added_episodes_are_checked(observations, actions, rewards, error, message):
    agent = make()
    with pytest.raises(error, match=message):
        agent.add_episode(observations, actions, rewards)
    assert (len(agent.replay.episodes), agent.added_episodes) == (0, 0)


def test_bounds_that_were_reached_are_not_left_by_rounding():
    low, high = np.float32([-1.004801]), np.float32([-0.40506855])

    class Odd(PointMass):
        def __init__(self):
            super().__init__()
            self.action_space = spaces.Box(low, high)

    agent = make(Odd())
    agent.add_episode(np.zeros((3, 2)), np.array([low.astype(float), high.astype(float) + 1e-8]))
    assert agent.replay.episodes[0].actions.ravel().tolist() == [-1, 1]


# the horizon -----------------------------------------------------------------------------------------------


def test_the_horizon_does_not_follow_very_long_episodes():
    agent = make(limited(LONGEST_HORIZON + 20), search=TINY_SEARCH)
    with pytest.warns(UserWarning, match=r"has 120 steps, of which .* the first 100: .*`horizon`"):
        agent.learn(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert agent.policy_search().horizon == LONGEST_HORIZON
    long = make(limited(120), search=SearchOptions(steps=1, num_particles=12, candidates=1, horizon=110))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert long.learn(1).policy_search().horizon == 110


# callbacks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["every", "eval", "new best", "nested", "twice"])
def test_trial_callbacks_inside_other_callbacks(place):
    class Listener(TrialCallback):
        heard = 0

        def on_trial_end(self):
            self.heard += 1

        def on_trial_logged(self):
            return self.model.trials < 2

    listener = Listener()

    def evaluation(**options):
        return EvalCallback(Monitor(limited()), eval_freq=10**6, n_eval_episodes=1, verbose=0, **options)

    outer = {
        "every": lambda: EveryNTimesteps(10**6, listener),
        "eval": lambda: evaluation(callback_after_eval=listener),
        "new best": lambda: evaluation(callback_on_new_best=listener),
        "nested": lambda: CallbackList([EveryNTimesteps(9, CallbackList([EveryNTimesteps(9, listener)]))]),
        "twice": lambda: CallbackList([EveryNTimesteps(9, listener), listener]),
    }[place]()
    agent = make().learn(1000, outer)
    assert (agent.trials, listener.heard) == (2, 2)


# actions ---------------------------------------------------------------------------------------------------


class Saturated(LinearPolicy):
    """Gives a constant."""

    value = 1.0

    def forward(self, state):
        return torch.full((len(state), self.action_dims), self.value)


def bounded(low, high, dtype):
    class Bounded(PointMass):
        def __init__(self):
            super().__init__()
            self.action_space = spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)

    return Bounded()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_actions_do_not_leave_the_bounds_by_rounding(dtype):
    rng = np.random.default_rng(0)
    for _ in range(20):
        low = (rng.normal(size=3) * 10.0 ** rng.integers(-3, 4)).astype(dtype)
        high = np.maximum(low, (low + rng.uniform(0, 2, 3)).astype(dtype))
        agent = make(bounded(low, high, dtype), policy=Saturated)
        for value in (-1.0, 1.0, 1.0000001, 0.3):
            agent.policy.value = value
            for shape in ((2,), (4, 2)):
                for predict in (agent.predict, agent.policy.predict):
                    actions, _ = predict(np.zeros(shape, np.float32))
                    for action in np.atleast_2d(actions):
                        assert agent.action_space.contains(action)
            expected = agent.scale_action(np.full((1, 3), np.float32(value)))
            np.testing.assert_array_equal(agent.predict(np.zeros((1, 2), np.float32))[0], expected)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(np.float32, np.finfo(np.float32).max), (np.float64, np.finfo(np.float64).max),
                         (np.float64, 1e30)]
)  # fmt: skip
def test_bounds_that_are_none(dtype, bound):
    agent = make(bounded(np.full(1, -bound), np.full(1, bound), dtype))
    assert agent.scale_action(np.array([[0.0]])).item() == 0
    np.testing.assert_allclose(agent.scale_action(np.array([[-0.5], [1.0]])).ravel(), [-bound / 2, bound])
    with pytest.raises(ValueError, match=r"actions must be bounded, got .*RescaleAction"):
        agent.learn(STEPS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_never_given(value):
    agent = make(policy=Saturated).learn(STEPS)
    agent.policy.value = value
    for predict in (agent.predict, agent.policy.predict):
        with pytest.raises(PolicyError, match=rf"action dimension 0 is {value} at predict") as caught:
            predict(np.zeros((3, 2), np.float32))
        assert isinstance(caught.value, ValueError)
    with pytest.raises(PolicyError, match=rf"is {value} at step 1 of an episode"):
        agent.learn(STEPS, reset_num_timesteps=False)


def test_an_observation_that_is_not_finite_is_named():
    agent = make(policy="RbfPolicy").learn(STEPS)
    with pytest.raises(ValueError, match=r"dimension 1 of the observation is nan"):
        agent.predict(np.array([0, np.nan], np.float32))


# numbers of NumPy's ----------------------------------------------------------------------------------------


def test_numbers_of_numpys_are_numbers(tmp_path):
    search = SearchOptions(
        steps=np.int64(2), learning_rate=np.float32(0.01), num_particles=np.int32(12), candidates=np.int64(2)
    )
    agent = make(
        search=search, random_trials=np.int64(1), max_episode_steps=np.int16(6), seed=np.uint32(3),
        gradient_probe=np.int64(2), policy="MlpPolicy", policy_kwargs={"hidden": (np.int64(4),)},
    )  # fmt: skip
    agent.learn(np.int64(6)).learn(12.0, log_interval=np.int64(1))
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent")
    assert loaded.search == search
    assert (loaded.max_episode_steps, loaded.seed, loaded.trials) == (6, 3, 3)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ValueError, "seed must be at least 0, got -1"),
        (2**32, ValueError, "seed must be at most 4294967295, got 4294967296"),
        (1.5, TypeError, "seed must be a whole number, got 1.5"),
        ("1", TypeError, "seed must be a whole number"),
        (True, TypeError, "seed must be a whole number"),
    ],
)
def test_seeds_that_cannot_be(seed, error, message):
    with pytest.raises(error, match=message):
        make(seed=seed)


def test_the_largest_seed():
    assert make(seed=2**32 - 1).learn(STEPS).trials == 1


@pytest.mark.parametrize("value", [np.array([True]), [False], np.bool_(True), np.array([[1.0, 0.0]]), 1])
def test_successes_of_every_type(tmp_path, value):
    class Succeeds(PointMass):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"is_success": value}

    agent = make(gymnasium.wrappers.TimeLimit(Succeeds(), STEPS), cost=distance_cost).learn(STEPS)
    assert list(agent.ep_success_buffer) == [bool(np.all(value))]
    agent.save(tmp_path / "agent")
