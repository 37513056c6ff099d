"""A plant as a batch-native vector environment: hundreds of them in one NumPy step."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs.shared.arrays import FloatArray
from envs.shared.drawing import Renderer
from envs.shared.noise import Indices, NormalBlocks
from envs.shared.task import SwingUpTask, TaskAttributes, check_render_mode, state_option

Observations = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Info = dict[str, Any]


class SwingUpVectorEnv(
    TaskAttributes, gymnasium.vector.VectorEnv[Observations, npt.NDArray[np.float32], Any]
):
    """n independent plants that move together.

    Seeds, observations, rewards, infos and images are the same, to the last bit, as those of a
    `gymnasium.vector.SyncVectorEnv` of the single environment with autoreset in the same step: at the end of
    an episode, the observation and info returned are those of the next episode's start, and
    `infos["final_obs"]`, `infos["final_info"]` hold the last ones. Each sub-environment has its own random
    generator.

    Args:
        task: Settings.
        num_envs: n.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: A number is out of range.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self, task: SwingUpTask, num_envs: int, max_episode_steps: int, render_mode: str | None
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")
        self.task = task
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        dims, actions = task.state_dims, task.action_dims
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (dims,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (actions,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.offer(task)
        self._all = np.arange(num_envs)
        self._normals = NormalBlocks(num_envs, dims)
        self._states = np.full((dims, num_envs), np.nan)
        self._forces = np.zeros((num_envs, actions))
        self._steps = np.full(num_envs, -1)
        self._steps_on_target = np.zeros(num_envs, dtype=np.intp)
        self._observations = np.zeros((num_envs, dims), dtype=np.float32)
        self._renderer: Renderer | None = None

    def make_renderer(self) -> Renderer:
        """Make what draws the plant."""
        raise NotImplementedError

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generators of the sub-environments."""
        return self._normals.generators

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of the sub-environments."""
        return self._normals.seeds

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Info]:
        """Start an episode in all sub-environments, or in some.

        Args:
            seed: An integer seeds sub-environment i with seed + i; a sequence gives each its seed, None none.
            options: "state", (D,) or (n, D), sets the true states; "reset_mask", (n,) bool,
                says which sub-environments to reset.

        Returns:
            Observations (n, D) and infos.

        Raises:
            TypeError: The mask is not a boolean array.
            ValueError: An option is unknown or of the wrong shape, or there is not one seed for each.
        """
        given = state_option(
            options,
            [(self.task.state_dims,), (self.num_envs, self.task.state_dims)],
            self.task.labels,
            allowed=("state", "reset_mask"),
        )
        indices = self._all if options is None else self._masked(options.get("reset_mask"))
        self._normals.seed(indices, self._seed_list(seed))
        self._start(indices, given)
        self._observations[indices], info = self._outcome(indices)
        return self._observations.copy(), self._spread(info, indices)

    def step(self, actions: npt.NDArray[np.float32]) -> tuple[Observations, FloatArray, Flags, Flags, Info]:
        """Hold a force on each plant for a step, and start the next episode where one ends.

        Args:
            actions: (n, U), in units of the full force, clipped to [-1, 1].

        Returns:
            Observations (n, D), rewards (n,), terminated (n,), truncated (n,) and infos.

        Raises:
            ValueError: The actions have another shape or are not finite.
            gymnasium.error.ResetNeeded: A sub-environment was never reset.
        """
        if self._steps.min() < 0:
            raise gymnasium.error.ResetNeeded("Call reset before step.")
        self._forces = self.task.force(actions, (self.num_envs, self.task.action_dims))
        forces = tuple(np.ascontiguousarray(force) for force in self._forces.T)
        self._states = np.stack(self.task.advance(tuple(self._states), forces))
        self._steps += 1
        observations, info = self._outcome(self._all)
        rewards = 1.0 - self.cost(info["state"])
        truncated = self._steps >= self.max_episode_steps
        infos = self._autoreset(np.flatnonzero(truncated), observations, info)
        self._observations = observations
        return observations.copy(), rewards, np.zeros(self.num_envs, dtype=np.bool_), truncated, infos

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """Draw the true states; returns n images (400, 600, 3) in mode "rgb_array", otherwise None."""
        if self.render_mode is None:
            gymnasium.logger.warn('render() needs a render mode: pass render_mode="rgb_array".')
            return None
        if self._steps.min() < 0:
            raise gymnasium.error.ResetNeeded("Call reset before render.")
        if self._renderer is None:
            self._renderer = self.make_renderer()
        times = self._steps * self.task.time_step
        rows = zip(self._states.T.tolist(), self._forces.tolist(), times.tolist(), strict=True)
        frames = [self._renderer.render(tuple(state), tuple(force), time) for state, force, time in rows]
        return tuple(frame for frame in frames if frame is not None)

    def close_extras(self, **kwargs: Any) -> None:
        """Release the canvas."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _start(self, indices: Indices, given: FloatArray | None = None) -> None:
        """Begin an episode in the sub-environments `indices`, at `given` states (D,) or (n, D)."""
        self._normals.restart(indices)
        states = self.task.start(self._normals.draw(indices))
        if given is not None:
            states[:] = given if given.ndim == 1 else given[indices]
        self._states[:, indices] = states.T
        for array in (self._forces, self._steps, self._steps_on_target):
            array[indices] = 0

    def _outcome(self, indices: Indices) -> tuple[Observations, Info]:
        """Return observations (k, D) and info, arrays of k rows, of states that were just reached."""
        state = np.ascontiguousarray(self._states[:, indices].T)
        distance = self.task.tip_distance(state)
        counts = (distance <= self.task.success_distance) & (self._steps[indices] > 0)
        on_target = np.where(counts, self._steps_on_target[indices] + 1, 0)
        self._steps_on_target[indices] = on_target
        observations = self.task.observe(state, self._normals.draw(indices))
        return observations, {
            "state": state,
            "tip_distance": distance,
            "is_success": on_target >= self.task.success_steps,
        }

    def _autoreset(self, ended: Indices, observations: Observations, info: Info) -> Info:
        """Restart the sub-environments `ended`, in place, and return the infos of the step."""
        infos: Info = {}
        if len(ended) > 0:
            final_obs = np.full(self.num_envs, None, dtype=object)
            for index in ended:
                final_obs[index] = observations[index].copy()
            final_info = self._spread({key: value[ended] for key, value in info.items()}, ended)
            infos = self._mask({"final_obs": final_obs, "final_info": final_info}, ended)
            self._start(ended)
            observations[ended], first_info = self._outcome(ended)
            for key, value in first_info.items():
                info[key][ended] = value
        return infos | self._mask(info, self._all)

    def _spread(self, info: Info, indices: Indices) -> Info:
        """Put info of k sub-environments into arrays of n rows, zero elsewhere, with their masks."""
        spread = {
            key: np.zeros((self.num_envs, *value.shape[1:]), value.dtype) for key, value in info.items()
        }
        for key, value in info.items():
            spread[key][indices] = value
        return self._mask(spread, indices)

    def _mask(self, info: Info, indices: Indices) -> Info:
        """Add to each key its mask `_key`, (n,) bool, true for `indices`, as Gymnasium has it."""
        masks = {f"_{key}": np.zeros(self.num_envs, dtype=np.bool_) for key in info}
        for mask in masks.values():
            mask[indices] = True
        return info | masks

    def _seed_list(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        seeds: list[int | None] = (
            list(range(seed, seed + self.num_envs)) if isinstance(seed, int) else list(seed)
        )
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be an integer or {self.num_envs} of them, got {len(seeds)} seeds.")
        return seeds

    def _masked(self, mask: Any) -> Indices:
        if mask is None:
            return self._all
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"options['reset_mask'] must be a NumPy array of dtype bool, got {mask!r}.")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must have shape ({self.num_envs},) and a True value, got {mask!r}."
            )
        return np.flatnonzero(mask)
