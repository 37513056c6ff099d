"""A plant as a Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.shared.arrays import FloatArray
from envs.shared.drawing import Renderer
from envs.shared.noise import NORMAL_ROWS
from envs.shared.task import SwingUpTask, TaskAttributes, check_render_mode, state_option

Observation = npt.NDArray[np.float32]


class SwingUpEnv(TaskAttributes, gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """One plant, which a policy shall swing up and hold there.

    Args:
        task: Settings.
        render_mode: None, "human" or "rgb_array".

    Raises:
        ValueError: The render mode is unknown.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012

    def __init__(self, task: SwingUpTask, render_mode: str | None) -> None:
        self.task = task
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self.observation_space = spaces.Box(-np.inf, np.inf, (task.state_dims,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (task.action_dims,), np.float32)
        self.offer(task)
        self._state: tuple[float, ...] | None = None
        self._forces = (0.0,) * task.action_dims
        self._steps = 0
        self._steps_on_target = 0
        self._normals = np.zeros((0, task.state_dims))
        self._next_normal = 0
        self._renderer: Renderer | None = None

    def make_renderer(self) -> Renderer:
        """Make what draws the plant."""
        raise NotImplementedError

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Restarts the random numbers.
            options: `{"state": (D,)}` sets the true state.

        Returns:
            Observation (D,) and info.

        Raises:
            ValueError: An option is unknown, or the state is not D finite numbers.
        """
        given = state_option(options, [(self.task.state_dims,)], self.task.labels)
        super().reset(seed=seed)
        self._next_normal = len(self._normals)
        start = self.task.start(self._draw())
        self._state = tuple((start if given is None else given).tolist())
        self._forces = (0.0,) * self.task.action_dims
        self._steps = self._steps_on_target = 0
        observation, info, _ = self._outcome()
        return observation, info

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold a force for one step.

        Args:
            action: (U,), in units of the full force, clipped to [-1, 1].

        Returns:
            Observation (D,), reward, terminated (always False), truncated (always False: the time limit is a
            wrapper), and info.

        Raises:
            ValueError: The action has another shape or is not finite.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset before step.")
        self._forces = tuple(self.task.force(action, (self.task.action_dims,)).tolist())
        self._state = self.task.advance(self._state, self._forces)
        self._steps += 1
        observation, info, reward = self._outcome()
        return observation, reward, False, False, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draw the true state; returns an image (400, 600, 3) in mode "rgb_array", otherwise None."""
        if self.render_mode is None:
            gymnasium.logger.warn('render() needs a render mode: pass render_mode="rgb_array".')
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset before render.")
        if self._renderer is None:
            self._renderer = self.make_renderer()
        return self._renderer.render(self._state, self._forces, self._steps * self.task.time_step)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _outcome(self) -> tuple[Observation, dict[str, Any], float]:
        """Return observation (D,), info and reward of the state just reached."""
        state = np.array(self._state)
        distance = float(self.task.tip_distance(state))
        counts = distance <= self.task.success_distance and self._steps > 0
        self._steps_on_target = self._steps_on_target + 1 if counts else 0
        observation = self.task.observe(state, self._draw())
        info = {
            "state": state,
            "tip_distance": distance,
            "is_success": self._steps_on_target >= self.task.success_steps,
        }
        if self.render_mode == "human":
            self.render()
        return observation, info, 1.0 - float(self.cost(state))

    def _draw(self) -> FloatArray:
        """Return the next D standard normals of a block, which a vector environment can draw cheaply.

        Every `reset` starts a new block: nothing but `np_random` carries over from one episode to the next.
        """
        if self._next_normal >= len(self._normals):
            self._normals = self.np_random.standard_normal((NORMAL_ROWS, self.task.state_dims))
            self._next_normal = 0
        row: FloatArray = self._normals[self._next_normal]
        self._next_normal += 1
        return row
