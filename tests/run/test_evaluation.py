"""evaluate: first episodes only, whatever the environment does after them."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

import envs  # noqa: F401
from mbrl_agent.run.environment import Environment
from mbrl_agent.run.evaluation import Evaluation, evaluate

SWINGUP = "CartPoleSwingUp-v0"


class Countdown(gymnasium.Env):
    """Ends after a number of steps that its seed decides; the reward is the step's number."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, tells_success: bool = False) -> None:
        self.tells_success = tells_success

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.steps = int(self.np_random.integers(2, 9)), 0
        return np.array([self.length], np.float32), {}

    def step(self, action):
        self.steps += 1
        done = self.steps == self.length
        info = {"is_success": self.length > 5} if self.tells_success and done else {}
        return np.array([self.length], np.float32), float(self.steps), done, False, info


@pytest.fixture(autouse=True, scope="module")
def _registered():
    gymnasium.register("TestCountdown-v0", entry_point=Countdown)
    yield
    del gymnasium.registry["TestCountdown-v0"]


def lengths_of(seeds) -> np.ndarray:
    env = Countdown()
    return np.array([int(env.reset(seed=seed)[0][0]) for seed in seeds])


def zeros(observations):
    return np.zeros((len(observations), 1), np.float32)


def test_episodes_of_different_length():
    result = evaluate(zeros, "TestCountdown-v0", 20, seed=5)
    lengths = lengths_of(range(5, 25))
    assert len(set(lengths)) > 3
    np.testing.assert_array_equal(result.lengths, lengths)
    np.testing.assert_array_equal(result.returns, lengths * (lengths + 1) / 2)
    assert (result.successes, result.success_rate, result.solved) == (None, None, None)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_kind_of_autoreset(mode, monkeypatch):
    def make_vec(spec, num_envs, vectorization_mode, **kwargs):
        makers = [lambda: Countdown(**kwargs)] * num_envs
        return gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=mode)

    monkeypatch.setattr(gymnasium, "make_vec", make_vec)
    result = evaluate(zeros, Environment("TestCountdown-v0", {"tells_success": True}), 20, seed=5)
    lengths = lengths_of(range(5, 25))
    np.testing.assert_array_equal(result.lengths, lengths)
    np.testing.assert_array_equal(result.returns, lengths * (lengths + 1) / 2)
    np.testing.assert_array_equal(result.successes, lengths > 5)
    assert result.success_rate == np.mean(lengths > 5)


def balance(observations):
    """A linear controller that keeps an upright pole upright, and does not swing up."""
    gains = np.array([0.3, 0.5, 3.0, 0.6])
    return np.clip((observations * gains).sum(-1, keepdims=True), -1, 1)


def test_the_batch_of_carts_agrees_with_one_cart_at_a_time():
    # with a wide start some episodes begin upright and succeed
    kwargs = {"initial_std": (0.01, 0.01, 3.0, 0.01)}
    result = evaluate(balance, Environment(SWINGUP, kwargs), 40, seed=11)
    env = gymnasium.make(SWINGUP, **kwargs)
    for index in range(40):
        observation, info = env.reset(seed=11 + index)
        total, done = 0.0, False
        while not done:
            observation, reward, terminated, truncated, info = env.step(balance(observation[None])[0])
            total, done = total + reward, terminated or truncated
        assert result.returns[index] == pytest.approx(total, abs=1e-9)
        assert result.successes[index] == info["is_success"]
    assert 0 < result.success_rate < 1
    assert (result.lengths == 30).all()


def test_a_seed_is_an_evaluation():
    first, second, other = (evaluate(balance, SWINGUP, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.returns, second.returns)
    assert (first.returns != other.returns).any()


@pytest.mark.parametrize(("successes", "solved"), [(94, False), (95, True), (100, True)])
def test_solved_is_95_of_100(successes, solved):
    flags = np.arange(100) < successes
    assert Evaluation(np.zeros(100), np.zeros(100, np.int64), flags).solved is solved


class Talkative(Countdown):
    """Says many things about the end of an episode, and other ones about its start."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"distance": -1.0}

    def step(self, action):
        observation, reward, terminated, truncated, _ = super().step(action)
        info = {
            "distance": self.steps / 10,
            "flag": np.bool_(self.steps > 4),
            "one": np.array([[self.steps]]),
        }
        info |= {"vector": np.zeros(2), "text": "far", "nested": {"deep": 1.0}, "nothing": None}
        if terminated and self.length % 2:
            info["odd"] = self.length
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_numbers_of_the_last_info_are_kept(mode, monkeypatch):
    def make_vec(spec, num_envs, vectorization_mode, **kwargs):
        return gymnasium.vector.SyncVectorEnv([Talkative] * num_envs, autoreset_mode=mode)

    monkeypatch.setattr(gymnasium, "make_vec", make_vec)
    result = evaluate(zeros, "TestCountdown-v0", 20, seed=5)
    lengths = lengths_of(range(5, 25))
    assert set(result.scalars) == {"distance", "flag", "one", "odd"}
    np.testing.assert_allclose(result.scalars["distance"], lengths / 10)
    np.testing.assert_array_equal(result.scalars["flag"], lengths > 4)
    np.testing.assert_array_equal(result.scalars["one"], lengths)
    np.testing.assert_array_equal(result.scalars["odd"], np.where(lengths % 2, lengths, np.nan))


def test_the_batch_of_carts_tells_the_tips_last_distance():
    result = evaluate(balance, SWINGUP, 5, seed=1)
    assert set(result.scalars) == {"tip_distance"}
    env = gymnasium.make(SWINGUP)
    for index in range(5):
        observation, info = env.reset(seed=1 + index)
        for _ in range(30):
            observation, _, _, _, info = env.step(balance(observation[None])[0])
        assert result.scalars["tip_distance"][index] == pytest.approx(info["tip_distance"], abs=1e-9)
