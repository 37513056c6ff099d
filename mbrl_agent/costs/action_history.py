"""An environment whose observations end with its last two actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.costs.base import FirstDimensions


@dataclass(frozen=True)
class EndOfFirstDimensions:
    """The test of an end for states to which further dimensions were appended; it can be pickled.

    Attributes:
        terminated: States (..., D) -> (...) of torch.bool.
        dims: D.
    """

    terminated: Callable[[Tensor], Tensor]
    dims: int

    def __call__(self, state: Tensor) -> Tensor:
        """Tell which states (..., at least D) end an episode: (...)."""
        return self.terminated(state[..., : self.dims])


@dataclass(frozen=True)
class StartsWithZeros:
    """A sampler of initial states to which zeros are appended; it can be pickled.

    Attributes:
        sample: (count, generator) -> (count, D).
        zeros: How many.
    """

    sample: Callable[[int, torch.Generator], Any]
    zeros: int

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, D + zeros)."""
        states = torch.as_tensor(self.sample(count, generator))
        return torch.cat([states, states.new_zeros(count, self.zeros)], dim=-1)


class ActionHistory(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Append the latest action and the one before to each observation: (D) -> (D + 2 U), in [-1, 1].

    Both are needed for a cost of the change between them: the latest alone would make the state complete,
    but a cost that sees the state after a step would find there the action that it is given anyway. Before
    the first steps both are 0, the middle of the action space.

    What the environment offers of the task (`cost`, `angle_dims`, `velocity_dims`, `initial_mean`,
    `initial_std`, `initial_states`, `terminated`, `observation_labels`) is handed on, as it has to be for
    the longer observations. `copied_dims` tells models where the actions come from.

    Args:
        env: Observations are a Box with one axis, actions a bounded Box with one axis.

    Raises:
        ValueError: The spaces are others.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        observed, actions = env.observation_space, env.action_space
        for name, space in (("observations", observed), ("actions", actions)):
            if not isinstance(space, spaces.Box) or len(space.shape) != 1:
                raise ValueError(f"{name} must be a Box with one axis, got {space}")
        assert isinstance(observed, spaces.Box)
        assert isinstance(actions, spaces.Box)
        if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
            raise ValueError(f"actions must be bounded, got {actions}")
        self._low, self._high = actions.low.astype(np.float64), actions.high.astype(np.float64)
        self._dims, self._count = observed.shape[0], actions.shape[0]
        dtype = np.result_type(observed.dtype, np.float32)  # whole numbers have no room for an action
        ones = np.ones(2 * self._count, dtype)
        self.observation_space = spaces.Box(
            np.concatenate([observed.low, -ones]),
            np.concatenate([observed.high, ones]),
            dtype=dtype.type,
        )
        self._latest = self._previous = np.zeros(self._count)

    @property
    def latest_action_dims(self) -> tuple[int, ...]:
        """(U), where an observation holds the action that led to it."""
        return tuple(range(self._dims, self._dims + self._count))

    @property
    def previous_action_dims(self) -> tuple[int, ...]:
        """(U), where an observation holds the action before that."""
        return tuple(range(self._dims + self._count, self._dims + 2 * self._count))

    @property
    def cost(self) -> FirstDimensions:
        """The environment's cost, which does not see what was appended."""
        return FirstDimensions(self.env.get_wrapper_attr("cost"), self._dims)

    @property
    def angle_dims(self) -> tuple[int, ...]:
        """The environment's: the actions come last."""
        return tuple(self.env.get_wrapper_attr("angle_dims"))

    @property
    def velocity_dims(self) -> dict[int, int]:
        """The environment's: the actions come last."""
        return dict(self.env.get_wrapper_attr("velocity_dims"))

    @property
    def copied_dims(self) -> dict[int, int]:
        """Where the actions come from: the latest from the one that is taken, behind the state."""
        end = self._dims + 2 * self._count
        latest = dict(zip(self.latest_action_dims, range(end, end + self._count), strict=True))
        return latest | dict(zip(self.previous_action_dims, self.latest_action_dims, strict=True))

    @property
    def terminated(self) -> EndOfFirstDimensions:
        """The environment's test of an end, which does not see what was appended."""
        return EndOfFirstDimensions(self.env.get_wrapper_attr("terminated"), self._dims)

    @property
    def initial_states(self) -> Any:
        """The environment's, with zeros for the actions."""
        states = self.env.get_wrapper_attr("initial_states")
        if callable(states):
            return StartsWithZeros(states, 2 * self._count)
        return np.pad(np.asarray(states, np.float64), ((0, 0), (0, 2 * self._count)))

    @property
    def initial_mean(self) -> NDArray[np.float64]:
        """The environment's, with zeros for the actions."""
        return self._with_zeros(self.env.get_wrapper_attr("initial_mean"))

    @property
    def initial_std(self) -> NDArray[np.float64]:
        """The environment's, with zeros for the actions."""
        return self._with_zeros(self.env.get_wrapper_attr("initial_std"))

    @property
    def observation_labels(self) -> tuple[str, ...]:
        """The environment's, and names for the actions."""
        actions = [f"{when}_action_{i}" for when in ("latest", "previous") for i in range(self._count)]
        return (*self.env.get_wrapper_attr("observation_labels"), *actions)

    def reset(self, **options: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode, and forget the actions."""
        observation, info = self.env.reset(**options)
        self._latest = self._previous = np.zeros(self._count)
        return self._observe(observation), info

    def step(self, action: Any) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]:
        """Take a step, and remember its action."""
        observation, *rest = self.env.step(action)
        middle, half = 0.5 * (self._low + self._high), 0.5 * (self._high - self._low)
        scaled = (np.asarray(action, np.float64) - middle) / np.where(half > 0, half, 1.0)
        self._latest, self._previous = np.clip(scaled, -1, 1), self._latest
        return self._observe(observation), *rest  # type: ignore[return-value]

    def _observe(self, observation: Any) -> NDArray[Any]:
        joined = np.concatenate([np.asarray(observation), self._latest, self._previous])
        return joined.astype(self.observation_space.dtype)

    def _with_zeros(self, values: Any) -> NDArray[np.float64]:
        own = np.broadcast_to(np.asarray(values, np.float64), (self._dims,))
        return np.concatenate([own, np.zeros(2 * self._count)])
