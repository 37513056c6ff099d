"""Every environment is made in one place: options, limits, batches."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from mbrl_agent.options import OptionError
from mbrl_agent.run.env_values import hint_of, read_value, to_argument
from mbrl_agent.run.environment import (
    Environment,
    env_options,
    make_env,
    make_vector_env,
    read_env_options,
)

OURS = "CartPoleSwingUp-v0"


class Lamp(gymnasium.Env):
    """An environment with options of many types; it never ends."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(
        self, lit: bool = False, size: tuple[int, int] = (1, 2), level=3, *, mode: Literal["a", "b"] = "a",
        render_mode: str | None = None, **more: Any,
    ) -> None:  # fmt: skip
        self.given = {"lit": lit, "size": size, "level": level, "mode": mode, **more}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}


class Batch(gymnasium.vector.SyncVectorEnv):
    """A batch that takes no options of the environment's."""

    def __init__(self, num_envs: int) -> None:
        super().__init__([Lamp] * num_envs)


@pytest.fixture(autouse=True)
def _registered():
    gymnasium.register("Lamp-v0", entry_point=Lamp, kwargs={"level": 5})
    gymnasium.register("Batch-v0", entry_point=Lamp, vector_entry_point=Batch)
    yield
    del gymnasium.registry["Lamp-v0"]
    del gymnasium.registry["Batch-v0"]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("0.05", float | Sequence[float] | NDArray[np.floating[Any]] | None, 0.05),
        ("0.1,2e-1", float | Sequence[float] | NDArray[np.floating[Any]] | None, [0.1, 0.2]),
        ("[1, 2]", NDArray[np.float64], [1, 2]),
        ("[[1, 2], [3, 4]]", NDArray[np.float64], [[1, 2], [3, 4]]),
        ("none", float | None, None),
        ("none", str, "none"),
        ("3", str | int, 3),
        ("x", str | int, "x"),
        ("true", bool | None, True),
        ("1,2", tuple[int, int], (1, 2)),
        ("1,2", list[int], [1, 2]),
        ("", tuple[int, ...], ()),
        ("{a: 1}", Mapping[str, int], {"a": 1}),
        ("1e-3", Any, 1e-3),
        ("abc", Any, "abc"),
        ("none", Any, None),
        ("9.5", hint_of(inspect.Parameter.empty, 10), 9.5),
    ],
)
def test_a_value_is_read_by_its_type(text, hint, value):
    found = read_value(text, hint)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("x", float),
        ("1,2,3", tuple[int, int]),
        ("a", list[int]),
        ("c", Literal["a", "b"]),
        ("2", bool),
        (3, str),
        ("many", NDArray[np.float64]),
        ("[[1, 2], [3, x]]", float | NDArray[np.float64]),
    ],
)
def test_a_value_of_another_type_is_refused(value, hint):
    with pytest.raises(ValueError, match="expected"):
        read_value(value, hint)


def test_an_array_is_given_where_nothing_else_is_asked_for():
    assert isinstance(to_argument([1.0, 2.0], NDArray[np.float64] | None), np.ndarray)
    assert isinstance(to_argument([1.0, 2.0], float | Sequence[float] | NDArray[np.float64]), list)
    assert to_argument(3.0, float | NDArray[np.float64]) == 3.0

    class Weighted(Lamp):
        def __init__(self, gains: NDArray[np.float64] | None = None, render_mode: str | None = None) -> None:
            super().__init__(doubled=None if gains is None else 2 * gains)

    gymnasium.register("Weighted-v0", entry_point=Weighted)
    asked = Environment("Weighted-v0", {"gains": "1,2"}, 7)
    for env in (make_env(asked), make_vector_env(asked, 1).envs[0]):
        np.testing.assert_array_equal(env.unwrapped.given["doubled"], [2.0, 4.0])
    del gymnasium.registry["Weighted-v0"]


def test_options_are_those_of_the_constructor_and_the_registration():
    options = env_options("Lamp-v0")
    assert {key: option.default for key, option in options.items()} == {
        "lit": False, "size": (1, 2), "level": 5, "mode": "a"
    }  # fmt: skip
    texts = {"lit": "true", "size": "3,4", "level": "2.5", "mode": "b", "anything": "[1, x]"}
    env = make_env(Environment("Lamp-v0", texts, 7))
    expected = {"lit": True, "size": (3, 4), "level": 2.5, "mode": "b", "anything": [1, "x"]}
    assert env.unwrapped.given == expected
    assert env.spec.max_episode_steps == 7


def test_an_option_that_there_is_not_names_those_that_there_are():
    with pytest.raises(OptionError, match=r"no such option; did you mean noise-std.*it has cost, cost-width"):
        read_env_options(OURS, {"noise_sdt": 1})


@pytest.mark.parametrize("name", ["render_mode", "max_episode_steps", "num_envs", "wrappers"])
def test_an_argument_of_gymnasiums_own_is_no_option(name):
    with pytest.raises(OptionError, match="is not an option of an environment here"):
        make_env(Environment(OURS, {name: 1}))


def test_episodes_without_a_limit_need_one():
    with pytest.raises(ValueError, match="--max-episode-steps N"):
        make_env("Lamp-v0")
    assert make_env(Environment("Lamp-v0", {}, 9)).spec.max_episode_steps == 9


@pytest.mark.parametrize("limit", [None, 4, 50])
def test_a_batch_has_the_options_and_the_limit(limit):
    envs = make_vector_env(Environment(OURS, {"noise_std": 0.0, "initial_std": 0.0}, limit), 3)
    observations, _ = envs.reset(seed=0)
    np.testing.assert_allclose(observations, [[0, 0, np.pi, 0]] * 3, atol=1e-6)
    for step in range(1, (limit or 30) + 1):
        truncated = envs.step(np.zeros((3, 1), np.float32))[3]
        assert truncated.all() == (step == (limit or 30))


def test_a_batch_that_does_not_take_the_options_is_not_used():
    assert isinstance(make_vector_env(Environment("Batch-v0"), 2), Batch)
    envs = make_vector_env(Environment("Batch-v0", {"lit": True}, 5), 2)
    assert not isinstance(envs, Batch)
    assert [env.unwrapped.given["lit"] for env in envs.envs] == [True, True]
