"""Episodes that end after a number of steps, as a truncation that everyone sees."""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mbrl_agent.errors import EnvFailedError

AnyEnv = gymnasium.Env[Any, Any] | VecEnv


class AgentTimeLimit(TimeLimit):
    """The limit of an agent: another agent on the same environment takes it away."""


def limit_episodes(env: AnyEnv, max_steps: int | None) -> AnyEnv:
    """Truncate the episodes of an environment.

    The limit lies below the monitors of Stable-Baselines3, which the environment may already have around
    it, so that they see the end of an episode. A limit that an agent has set before is taken away.

    Args:
        env: One environment, or a vectorised one.
        max_steps: Steps of an episode; None sets no limit.
    """
    return _limit_vector(env, max_steps) if isinstance(env, VecEnv) else _limit_single(env, max_steps)


def _limit_single(env: gymnasium.Env[Any, Any], max_steps: int | None) -> gymnasium.Env[Any, Any]:
    wrappers: list[gymnasium.Wrapper[Any, Any, Any, Any]] = []
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, AgentTimeLimit):
            wrappers.append(env)
        env = env.env
    monitors = [place for place, wrapper in enumerate(wrappers) if isinstance(wrapper, Monitor)]
    above = monitors[-1] + 1 if monitors else 0
    for place in reversed(range(len(wrappers) + 1)):
        if place < len(wrappers):
            wrappers[place].env = env
            env = wrappers[place]
        if place == above and max_steps is not None:
            env = AgentTimeLimit(env, max_steps)
    return env


def _limit_vector(env: VecEnv, max_steps: int | None) -> VecEnv:
    wrappers: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper):
        if not isinstance(env, EpisodeLimit):
            wrappers.append(env)
        env = env.venv
    if max_steps is not None:
        env = EpisodeLimit(env, max_steps)
    for wrapper in reversed(wrappers):
        wrapper.venv = env
        env = wrapper
    return env


def truncated_info(
    info: dict[str, Any], last: NDArray[Any], total_reward: float, steps: int, seconds: float
) -> dict[str, Any]:
    """Return the info of an episode's last step, after which it is truncated.

    Args:
        info: Of that step, without the end.
        last: The observation after it.
        total_reward: Of the episode.
        steps: Of the episode.
        seconds: Since the episodes are counted.
    """
    record = {"r": round(float(total_reward), 6), "l": int(steps), "t": round(seconds, 6)}
    return info | {"terminal_observation": last, "TimeLimit.truncated": True, "episode": record}


class EpisodeLimit(VecEnvWrapper):
    """Truncate the episodes of every environment after a number of steps.

    Args:
        venv: The environments.
        max_steps: Steps of an episode.
    """

    def __init__(self, venv: VecEnv, max_steps: int) -> None:
        super().__init__(venv)
        self.max_steps = max_steps
        self._began = time.time()
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        self._returns = np.zeros(self.num_envs)

    def reset(self) -> VecEnvObs:
        """Reset all environments."""
        observations = self.venv.reset()
        self._steps[:] = 0
        self._returns[:] = 0
        self.reset_infos = self.venv.reset_infos
        return observations

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step, and begin a new episode where one is as long as it may be."""
        result, rewards, ended, given_infos = self.venv.step_wait()
        observations, dones, infos = np.array(result), np.array(ended, dtype=bool), list(given_infos)
        self._steps += 1
        self._returns += np.asarray(rewards, dtype=np.float64).reshape(-1)
        cut = (self._steps >= self.max_steps) & ~dones
        for i in np.flatnonzero(cut):
            seconds = time.time() - self._began
            infos[i] = truncated_info(
                infos[i], observations[i].copy(), self._returns[i], self._steps[i], seconds
            )
        if cut.any():
            self._begin(observations, cut)
        dones |= cut
        self._steps[dones] = 0
        self._returns[dones] = 0
        self.reset_infos = self.venv.reset_infos
        return observations, rewards, dones, infos

    def _begin(self, observations: NDArray[Any], cut: NDArray[np.bool_]) -> None:
        """Reset the environments of the episodes that are cut, and put in their first observations."""
        if cut.all():
            observations[:] = np.asarray(self.venv.reset())
            return
        for i in np.flatnonzero(cut):
            observations[i], info = self._reset_one(int(i))
            self.venv.reset_infos = [*self.venv.reset_infos[:i], info, *self.venv.reset_infos[i + 1 :]]

    def _reset_one(self, index: int) -> tuple[Any, dict[str, Any]]:
        try:
            answer = self.venv.env_method("reset", indices=[index])
        except (NotImplementedError, AttributeError) as error:
            answer = [f"{type(error).__name__}: {error}"]
        if len(answer) != 1 or not isinstance(answer[0], tuple) or len(answer[0]) != 2:
            raise EnvFailedError(
                f"max_episode_steps ends the episode of one environment of {type(self.venv).__name__}, whose "
                f"env_method('reset', indices=[{index}]) does not return [(observation, info)] but {answer}: "
                "implement it, or limit the episodes inside the environments"
            )
        observation, info = answer[0]
        return observation, info
