"""What an environment offers does not hold behind a wrapper that changes the observations."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
)

from mbrl_agent.agent.observation_changes import valid_attribute
from tests.agent.test_agent import make
from tests.support.point_mass import PointMass, distance_cost


class Offering(PointMass):
    """A point mass that offers all of its task."""

    cost = staticmethod(distance_cost)
    initial_mean, initial_std, angle_dims = (1.0, 0.0), 0.1, ()

    @staticmethod
    def terminated(state):
        return state[..., 0] > 5


class Doubling(gymnasium.ObservationWrapper):
    """Changes the observations and not their space."""

    def observation(self, observation):
        return 2 * observation


class OffersCost(gymnasium.Wrapper):
    cost = staticmethod(distance_cost)
    angle_dims = ()
    initial_mean = initial_std = terminated = None


class DoublingWithCost(Doubling):
    cost = staticmethod(distance_cost)
    angle_dims, initial_mean, initial_std, terminated = (), (2.0, 0.0), 0.2, None


class Logging(gymnasium.Wrapper):
    """Overrides step and leaves observations alone."""

    def step(self, action):
        return self.env.step(action)


class Widened(gymnasium.Wrapper):
    """Is no ObservationWrapper, but has another space."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)


class VecLess(VecEnvWrapper):
    """Leaves out the last dimension."""

    def __init__(self, venv):
        super().__init__(venv, spaces.Box(-np.inf, np.inf, (1,), np.float32))

    def reset(self):
        return self.venv.reset()[:, :1]

    def step_wait(self):
        observations, *rest = self.venv.step_wait()
        return observations[:, :1], *rest


class VecLessWithTask(VecLess):
    angle_dims, initial_mean, initial_std, terminated = (), None, None, None

    @staticmethod
    def cost(state, action):
        return state[..., 0] ** 2


def offering():
    return Offering()


def doubled():
    return Doubling(Offering())


def doubled_and_offered():
    return OffersCost(Doubling(Offering()))


def task_of(env):
    return make(env).task


STALE = r"does not hold any more \(terminated, cost, angle_dims, initial_mean, initial_std\)"
ALL = {"cost": distance_cost, "angle_dims": "none", "initial_mean": "none", "initial_std": "none",
       "terminated": "none"}  # fmt: skip


@pytest.mark.parametrize(
    "wrap",
    [
        Doubling,
        lambda env: Logging(Doubling(Logging(env))),
        Widened,
        lambda env: wrappers.TransformObservation(env, lambda o: o, env.observation_space),
        lambda env: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 5)),
        lambda env: wrappers.FlattenObservation(wrappers.FrameStackObservation(env, 2)),
        lambda env: wrappers.DelayObservation(env, 1),
        lambda env: wrappers.MaxAndSkipObservation(env, 2),
        lambda env: Doubling(OffersCost(env)),
    ],
)
def test_a_wrapper_that_changes_observations_needs_a_task_for_them(wrap):
    env = wrap(Offering())
    with pytest.raises(
        ValueError, match=r"a wrapper changes the observations .*does not hold any more \(.*cost"
    ):
        make(env)
    assert make(env, **ALL).task.initial_mean is None
    with pytest.raises(ValueError, match=r"does not hold any more \(cost\): pass the agent cost=\.\.\. "):
        make(env, **ALL | {"cost": None})


def test_the_message_names_all_that_is_missing():
    with pytest.raises(ValueError, match=STALE):
        make(Doubling(Offering()))
    with pytest.raises(ValueError, match=r"<Monitor<Doubling<.*\(initial_mean, initial_std\)"):
        make(Doubling(Offering()), **ALL | {"initial_mean": None, "initial_std": None})


@pytest.mark.parametrize(
    "wrap",
    [
        Logging,
        DoublingWithCost,
        lambda env: Logging(DoublingWithCost(env)),
        lambda env: OffersCost(Doubling(env)),
        lambda env: wrappers.TimeLimit(env, 5),
        lambda env: wrappers.RescaleAction(env, np.float32(-0.5), np.float32(0.5)),
        lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward),
        lambda env: wrappers.DtypeObservation(env, np.float64),
        wrappers.FlattenObservation,  # there is nothing to flatten
        wrappers.RecordEpisodeStatistics,
    ],
)
def test_other_wrappers_are_none_of_its_business(wrap):
    assert make(wrap(Offering())).task.cost is distance_cost


def test_an_environment_that_offers_nothing_may_be_wrapped():
    env = Doubling(PointMass(offers_cost=False))
    assert make(env, cost=distance_cost).task.cost is distance_cost


@pytest.mark.parametrize("wrapper", [wrappers.NormalizeObservation, wrappers.NormalizeReward])
@pytest.mark.parametrize("vectorise", [lambda env: env, lambda env: DummyVecEnv([lambda: env])])
def test_running_statistics_are_refused_whatever_is_passed(wrapper, vectorise):
    env = Logging(wrapper(Offering()))
    with pytest.raises(
        ValueError, match=rf"{wrapper.__name__} changes observations or rewards while it runs"
    ):
        make(vectorise(env), **ALL)


@pytest.mark.parametrize("cls", [DummyVecEnv, SubprocVecEnv])
def test_vectorised_environments_are_looked_into(cls):
    stale, valid = cls([doubled]), cls([doubled_and_offered])
    try:
        with pytest.raises(ValueError, match=STALE):
            make(stale)
        assert make(stale, **ALL).task.cost is distance_cost
        assert make(valid).task.cost is distance_cost
    finally:
        stale.close()
        valid.close()


def test_one_wrapped_environment_of_several_is_enough():
    with pytest.raises(ValueError, match=STALE):
        make(DummyVecEnv([offering, doubled]))


def test_wrappers_around_vectorised_environments():
    env = DummyVecEnv([offering])
    assert task_of(VecMonitor(env)).cost is distance_cost
    for wrapped in (VecFrameStack(env, 2), VecMonitor(VecLess(env))):
        with pytest.raises(ValueError, match=r"<Vec(FrameStack|Monitor).*" + STALE):
            make(wrapped)
    for wrapped in (VecLessWithTask(env), VecMonitor(VecLessWithTask(env))):
        task = task_of(wrapped)
        assert task.cost is VecLessWithTask.cost
        assert task.initial_mean is None


def test_set_env_goes_through_the_same_door():
    agent = make(Offering())
    with pytest.raises(ValueError, match=STALE):
        agent.set_env(Doubling(Offering()))


def test_attributes_for_studies_hold_or_are_none():
    env = Offering()
    env.dynamics = "physics"
    assert valid_attribute(Logging(env), "dynamics") == "physics"
    assert valid_attribute(Doubling(env), "dynamics") is None
    assert valid_attribute(env, "nothing") is None
