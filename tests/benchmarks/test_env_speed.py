"""Steps a second of the vector environment, next to CartPole-v1 of Gymnasium (Euler, one substep)."""

import time

import gymnasium
import numpy as np
import pytest

import envs  # noqa: F401

ROUNDS, STEPS = 7, 90


def seconds(env, actions):
    started = time.perf_counter()
    for _ in range(STEPS):
        env.step(actions)
    return time.perf_counter() - started


@pytest.mark.benchmark
@pytest.mark.parametrize("num_envs", [100, 1000])
def test_vector_steps_per_second(num_envs, records):
    ours = gymnasium.make_vec("CartPoleSwingUp-v0", num_envs=num_envs)
    theirs = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    pairs = [(env, env.action_space.sample()) for env in (ours, theirs)]
    for env, _ in pairs:
        env.reset(seed=0)
    times = np.array([[seconds(env, actions) for env, actions in pairs] for _ in range(ROUNDS)])
    for name, own in zip(("CartPoleSwingUp-v0", "CartPole-v1"), times.T, strict=True):
        records.add(f"a step of {num_envs} {name}", own / STEPS)
    rates = num_envs * STEPS / np.median(times, axis=0)
    report = f"CartPoleSwingUp-v0 {rates[0]:,.0f} steps/s, CartPole-v1 {rates[1]:,.0f} steps/s"
    print(f"\n{num_envs} carts: {report}")  # noqa: T201


@pytest.mark.benchmark
def test_single_step(records):
    env = gymnasium.make("CartPoleSwingUp-v0", max_episode_steps=10**9)
    env.reset(seed=0)
    times = [seconds(env, np.zeros(1)) / STEPS for _ in range(ROUNDS)]
    records.add("a step of one CartPoleSwingUp-v0", times)
    print(f"\none cart: {1e6 * np.median(times):.0f} microseconds a step")  # noqa: T201
