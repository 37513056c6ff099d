"""An environment whose observations are of the shape that it promised."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from mbrl_agent.failures import ShapeError


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Refuse an observation of another shape than that of the observation space.

    Stable-Baselines3 copies each observation into a row of an array: one that is too short for the row
    would be repeated along it without a word.

    Args:
        env: Whose observation space is a Box.
    """

    _steps = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment, whose observation is checked."""
        observation, info = self.env.reset(**options)
        self._steps = 0
        self._check(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment, whose observation is checked."""
        observation, *rest = self.env.step(action)
        self._steps += 1
        self._check(observation)
        return observation, *rest

    def _check(self, observation: Any) -> None:
        shape = np.shape(observation)
        if shape != self.observation_space.shape:
            raise ShapeError(
                f"the environment returned an observation of shape {shape} instead of "
                f"{self.observation_space.shape} at step {self._steps} of an episode"
            )
