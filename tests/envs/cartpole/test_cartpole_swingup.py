"""The single environment: Gymnasium's contract, start, noise, reward, success, errors."""

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs  # noqa: F401
from envs.cartpole.environment import CartPoleSwingUpEnv
from envs.cartpole.physics import step

UPRIGHT = {"state": (0.0, 0.0, 0.0, 0.0)}


def make(**options):
    return gymnasium.make("CartPoleSwingUp-v0", **options)


@pytest.mark.parametrize("options", [{}, {"cost": "tip", "noise_scale": 1.0}], ids=["default", "tip"])
def test_gymnasium_checker_has_no_complaint(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*A Box observation space m.* value is -?infinity.*")
        check_env(make(render_mode="rgb_array", **options).unwrapped)


def test_stable_baselines3_checker_has_no_complaint():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(make())


def test_spaces():
    env = make()
    assert env.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert env.metadata["render_modes"] == ["human", "rgb_array"]
    assert env.metadata["render_fps"] == 10


def test_what_the_agent_reads():
    env = make(cost="tip", cost_width=0.25, initial_std=(0.1, 0.2, 0.3, 0.4)).unwrapped
    states, actions = torch.randn(3, 7, 4, requires_grad=True), torch.zeros(3, 7, 1)
    cost = env.cost(states, actions)
    assert cost.shape == (3, 7)
    assert torch.autograd.grad(cost.sum(), states)[0].abs().sum() > 0
    assert env.cost_name == "tip"
    assert env.angle_dims == (2,)
    np.testing.assert_array_equal(env.initial_mean, [0, 0, np.pi, 0])
    np.testing.assert_array_equal(env.initial_std, [0.1, 0.2, 0.3, 0.4])


def test_step_is_the_physics_under_ten_newton_times_the_clipped_action():
    env = make(noise_std=0.0)
    start = np.array([0.1, -0.2, 2.0, 0.3])
    for action, force in ((0.37, 3.7), (-5.0, -10.0), (2.0, 10.0)):
        env.reset(options={"state": start})
        observation, reward, _, _, info = env.step(np.array([action]))
        np.testing.assert_array_equal(info["state"], step(start, np.array(force)))
        np.testing.assert_array_equal(observation, info["state"].astype(np.float32))
        assert reward == 1 - env.unwrapped.cost(info["state"])


def test_reset_to_a_state():
    env = make()
    observation, info = env.reset(seed=0, options={"state": [1, 2, 3, 4]})
    np.testing.assert_array_equal(info["state"], [1.0, 2.0, 3.0, 4.0])
    assert info["state"].dtype == np.float64
    assert 0 < np.abs(observation - info["state"]).max() < 0.1


def test_the_state_of_info_is_a_copy():
    env = make()
    state = np.zeros(4)
    _, info = env.reset(options={"state": state})
    info["state"][:] = 99
    assert env.step(np.zeros(1))[4]["state"].max() < 1
    assert state.max() == 0


def episode(env, seed=None):
    rows = [env.reset(seed=seed)[0]]
    ended = False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(np.array([np.sin(len(rows))]))
        rows.append(np.r_[observation, reward, info["state"]])
        ended = terminated or truncated
    return np.concatenate(rows)


def test_seeds_repeat_and_episodes_differ():
    first, second = make(), make()
    a = [episode(first, 3), episode(first), episode(first, 4)]
    b = [episode(second, 3), episode(second), episode(second, 4)]
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(a[0], a[1])
    assert not np.array_equal(a[0], a[2])


def test_an_abandoned_episode_changes_nothing_but_the_generator_that_reset_used():
    """What carries over from one episode to the next is `np_random` alone: all that a checkpoint needs."""
    env = make().unwrapped
    env.reset(seed=1)
    for _ in range(5):
        env.step(np.zeros(1))
    generator = copy.deepcopy(env.np_random)
    fresh = make().unwrapped
    fresh.np_random = generator
    np.testing.assert_array_equal(env.reset()[0], fresh.reset()[0])


def test_starting_states():
    env = make()
    env.reset(seed=0)
    states = np.array([env.reset()[1]["state"] for _ in range(4000)])
    np.testing.assert_allclose(states.mean(0), [0, 0, np.pi, 0], atol=0.01)
    np.testing.assert_allclose(states.std(0), 0.1, rtol=0.05)


PIPPS = np.array([0.01, 0.1, np.pi / 180, np.pi / 18])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.01),
        ({"noise_std": 0.05}, 0.05),
        ({"noise_std": (0.1, 0.2, 0.3, 0.4)}, (0.1, 0.2, 0.3, 0.4)),
        ({"noise_scale": 1.0}, PIPPS),
        ({"noise_scale": 2.5}, 2.5 * PIPPS),
        ({"noise_scale": 0.0}, 0.0),
    ],
)
def test_measurement_noise(options, expected):
    env = make(max_episode_steps=3000, **options)
    observation, info = env.reset(seed=0, options=UPRIGHT)
    errors = [observation - info["state"]]
    for _ in range(2999):
        observation, _, _, _, info = env.step(np.zeros(1))
        errors.append(observation - info["state"])
    np.testing.assert_allclose(np.std(errors, axis=0), np.broadcast_to(expected, 4), rtol=0.05, atol=1e-5)
    np.testing.assert_allclose(np.mean(errors, axis=0), 0, atol=0.1 * np.max(expected) + 1e-5)


def test_noise_does_not_move_the_true_state():
    quiet, noisy = make(noise_std=0.0), make(noise_std=0.5)
    quiet.reset(seed=0)
    noisy.reset(seed=0)
    for _ in range(10):
        a, b = quiet.step(np.array([0.5])), noisy.step(np.array([0.5]))
        np.testing.assert_array_equal(a[4]["state"], b[4]["state"])
        assert a[1] == b[1]


@pytest.mark.parametrize("steps", [None, 7])
def test_truncated_and_never_terminated(steps):
    env = make() if steps is None else make(max_episode_steps=steps)
    env.reset(seed=0)
    for index in range(steps or 30):
        _, _, terminated, truncated, _ = env.step(np.ones(1))
        assert terminated is False
        assert truncated == (index == (steps or 30) - 1)


def successes(env, states):
    """Put the cart into each state in turn and return `is_success` after every step."""
    flags = [env.reset(options=UPRIGHT)[1]["is_success"]]
    for state in states:
        env.unwrapped._state = state
        flags.append(env.step(np.zeros(1))[4]["is_success"])
    return flags


ON_TARGET, OFF_TARGET = (0.0, 0.0, 0.0, 0.0), (0.25, 0.0, 0.0, 0.0)


def test_ten_steps_on_target_are_a_success_and_nine_are_not():
    env = make()
    assert successes(env, [ON_TARGET] * 12) == [False] * 10 + [True] * 3
    assert successes(env, [OFF_TARGET] + [ON_TARGET] * 9)[-1] is False
    assert successes(env, [OFF_TARGET] + [ON_TARGET] * 10)[-1] is True
    assert successes(env, [ON_TARGET] * 29 + [OFF_TARGET])[-1] is False
    assert successes(env, [ON_TARGET] * 9)[-1] is False


def test_success_is_a_distance_of_two_tenths_of_a_metre():
    env = make()
    assert successes(env, [(0.199, 0.0, 0.0, 0.0)] * 10)[-1] is True
    assert successes(env, [(0.201, 0.0, 0.0, 0.0)] * 10)[-1] is False
    assert successes(env, [(-0.24, 0.0, 0.1, 0.0)] * 1)[-1] is False


def test_a_short_episode_cannot_succeed():
    env = make(max_episode_steps=9)
    assert successes(env, [ON_TARGET] * 9)[-1] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": "cosine"}, r"cost must be one of 'angle', 'tip', got 'cosine'"),
        ({"cost_width": 0.0}, r"cost_width must be a finite length > 0 m, got 0.0"),
        ({"noise_std": -0.1}, r"noise_std must be finite and >= 0, got -0.1"),
        ({"noise_std": (0.1, 0.1)}, r"noise_std must be one number or 4 .* got shape \(2,\)"),
        ({"noise_std": np.nan}, r"noise_std must be finite"),
        ({"noise_scale": -1.0}, r"noise_scale must be finite and >= 0, got -1.0"),
        ({"noise_scale": 1.0, "noise_std": 0.01}, r"noise_std=0.01 and noise_scale=1.0: give one"),
        ({"initial_std": (0.1, 0.1, -0.1, 0.1)}, r"initial_std must be finite and >= 0"),
        ({"render_mode": "ansi"}, r"render_mode must be None or one of \['human', 'rgb_array'\], got 'ansi'"),
    ],
)
def test_constructor_errors(options, message):
    with pytest.raises(ValueError, match=message):
        CartPoleSwingUpEnv(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": (0, 0, 0)}, r"shape \(4,\) .* got shape \(3,\)"),
        ({"state": (0, 0, np.inf, 0)}, r"must be finite"),
        ({"sate": (0, 0, 0, 0)}, r"reset knows the options \['state'\], got \['sate'\]"),
    ],
)
def test_reset_errors_leave_the_environment_alone(options, message):
    env = make().unwrapped
    env.reset(seed=0)
    before = copy.deepcopy(env.np_random.bit_generator.state)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=5, options=options)
    assert env.np_random.bit_generator.state == before


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(2), r"shape \(1,\), got shape \(2,\)"),
        (0.0, r"shape \(1,\), got shape \(\)"),
        (np.array([np.nan]), r"action must be finite, got \[nan\]"),
    ],
)
def test_action_errors(action, message):
    env = CartPoleSwingUpEnv()
    env.reset()
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_step_before_reset():
    with pytest.raises(gymnasium.error.ResetNeeded):
        CartPoleSwingUpEnv().step(np.zeros(1))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_alike(duplicate):
    env = make(render_mode="rgb_array", cost="tip")
    env.reset(seed=0)
    env.step(np.ones(1))
    env.render()
    twin = duplicate(env)
    for _ in range(3):
        a, b = env.step(np.ones(1)), twin.step(np.ones(1))
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1] == b[1]
    np.testing.assert_array_equal(env.render(), twin.render())


def test_the_docstring_names_every_option():
    for name in ("cost", "cost_width", "noise_std", "noise_scale", "initial_std", "render_mode"):
        assert f"| `{name}` " in CartPoleSwingUpEnv.__doc__
