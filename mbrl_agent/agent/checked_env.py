"""Observations are copied, and their shape is checked, where they leave the environment.

Environments may return an array of their own, which the next reset overwrites, and Stable-Baselines3's
vectorised environments reset an episode's environment before anyone has seen its last observation. They
also copy each observation into a row of an array: one that is too short would be repeated along the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from mbrl_agent.errors import ShapeError


def own_copy(observation: Any, shape: tuple[int, ...] | None, step: int) -> NDArray[Any]:
    """Copy an observation.

    Raises:
        ShapeError: It has another shape than that of the observation space.
    """
    found = np.shape(observation)
    if found != shape:
        raise ShapeError(
            f"the environment returned an observation of shape {found} instead of {shape} "
            f"at step {step} of an episode"
        )
    return np.array(observation)


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Return copies of observations and infos, and refuse an observation of another shape than the space's.

    Args:
        env: Whose observation space is a Box.
    """

    _steps = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        observation, info = self.env.reset(**options)
        self._steps = 0
        return own_copy(observation, self.observation_space.shape, 0), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        copy = own_copy(observation, self.observation_space.shape, self._steps)
        return copy, reward, terminated, truncated, dict(info)


class _Workers:
    """Step the processes of a SubprocVecEnv so that an observation is sent before the environment is reset.

    A worker's own command "step" resets an environment at the end of an episode before it sends anything;
    its command "env_method" calls the environment's `step` alone.

    Args:
        env: Its processes.
    """

    def __init__(self, env: SubprocVecEnv) -> None:
        self._env = env
        self._steps = [0] * env.num_envs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Do as the method of `VecEnv`."""
        for remote, action in zip(self._env.remotes, actions, strict=True):
            remote.send(("env_method", ("step", (action,), {})))
        self._env.waiting = True

    def step_wait(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]:
        """Do as the method of `VecEnv`."""
        remotes, shape = self._env.remotes, self._env.observation_space.shape
        results = [remote.recv() for remote in remotes]
        self._env.waiting = False
        dones = np.array([bool(terminated or truncated) for _, _, terminated, truncated, _ in results])
        reset_infos = list(self._env.reset_infos)
        observations, infos = [], []
        begun = [remote for remote, done in zip(remotes, dones, strict=True) if done]
        for remote in begun:
            remote.send(("reset", (None, {})))
        firsts = iter([remote.recv() for remote in begun])  # all answers, before one of them is refused
        for index, (observation, _, terminated, truncated, info) in enumerate(results):
            self._steps[index] += 1
            last = own_copy(observation, shape, self._steps[index])
            info["TimeLimit.truncated"] = bool(truncated and not terminated)
            if dones[index]:
                info["terminal_observation"] = last
                first, reset_infos[index] = next(firsts)
                last = own_copy(first, shape, 0)
                self._steps[index] = 0
            observations.append(last)
            infos.append(info)
        self._env.reset_infos = reset_infos
        return np.stack(observations), np.stack([result[1] for result in results]), dones, infos


def _steps_as_usual(cls: type[SubprocVecEnv]) -> bool:
    """Tell whether a class steps its processes as SubprocVecEnv itself does."""
    return all(getattr(cls, name) is getattr(SubprocVecEnv, name) for name in ("step_async", "step_wait"))


class CheckedCalls:
    """Calls of a vectorised environment in which observations are copied and checked.

    Only the calls are changed: between them the environments are what they were, so that callbacks read
    and set the attributes of the environments themselves. Of a `VecEnv` that is neither a DummyVecEnv nor a
    SubprocVecEnv the inside is not known: it has to keep the terminal observation itself.

    Args:
        env: The vectorised environment, with any wrappers around it.
    """

    def __init__(self, env: VecEnv) -> None:
        self._inner = env.unwrapped
        self._during: dict[str, Any] = {}
        if isinstance(self._inner, DummyVecEnv):
            self._during = {"envs": [CheckedEnv(one) for one in self._inner.envs]}
        elif isinstance(self._inner, SubprocVecEnv) and _steps_as_usual(type(self._inner)):
            workers = _Workers(self._inner)
            self._during = {"step_async": workers.step_async, "step_wait": workers.step_wait}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Check the calls inside the block."""
        attributes = vars(self._inner)
        before = {name: attributes[name] for name in self._during if name in attributes}
        attributes.update(self._during)
        try:
            yield
        finally:
            for name in self._during:
                attributes.pop(name, None)
            attributes.update(before)
