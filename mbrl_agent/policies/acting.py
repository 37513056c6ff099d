"""The face of a policy for Stable-Baselines3 and Gymnasium: spaces, and `predict` in an environment's units.

This is the one module below the agent that knows of either. A policy is both in one object, this and the
pure function of `mbrl_agent.policies.base`: a user writes one class, and `agent.policy` acts by `predict`
and is searched by `controller`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from mbrl_agent.errors import PolicyError

__all__ = ["ActingPolicy", "Box", "require_finite_actions"]


def require_finite_actions(actions: NDArray[Any], observations: NDArray[Any], where: str) -> None:
    """Raise PolicyError if an action is not finite.

    Args:
        actions: (N, U).
        observations: (N, D), what the policy saw.
        where: When, for the message.
    """
    bad = np.argwhere(~np.isfinite(actions))
    if len(bad):
        row, dimension = bad[0]
        seen = observations[row]
        broken = np.flatnonzero(~np.isfinite(seen))
        cause = (
            f"dimension {broken[0]} of the observation is {seen[broken[0]]}"
            if len(broken)
            else (
                "the observation is finite: it lies far from all that the policy has learned from, or a "
                "parameter of the policy is not finite"
            )
        )
        raise PolicyError(
            f"the policy's action dimension {dimension} is {actions[row, dimension]} at {where}, "
            f"for the observation {seen.tolist()}; {cause}"
        )


class ActingPolicy(BasePolicy):
    """Act on observations, and scale actions between [-1, 1] and the bounds of the action space.

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions with finite bounds.

    Attributes:
        state_dims: D.
        action_dims: U.
    """

    memory_dims: int = 0
    """H, how many numbers the policy remembers from step to step; more than none in a `MemoryPolicy`."""

    def __init__(self, observation_space: Box, action_space: Box) -> None:
        super().__init__(observation_space, action_space, squash_output=True)
        self.state_dims = observation_space.shape[0]
        self.action_dims = action_space.shape[0]

    @abstractmethod
    def act(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step at the policy's own parameters.

        Args:
            state: (N, D).
            memory: (N, H), what the step before has returned; zeros at the start of an episode.

        Returns:
            Actions (N, U) in [-1, 1], and the memory for the next step.
        """

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Act, and say what to remember.

        Args:
            observation: (D), or (N, D) of N environments.
            state: What the call before has returned; None where episodes start.
            episode_start: (N), in which environments an episode starts: what was before is forgotten there.
            deterministic: Not used: there is no noise.

        Returns:
            Actions (U) or (N, U) in the units of the environment, and the state for the next call: one array
            (N, H) in a tuple of a policy that remembers, of another what it was given.

        Raises:
            ValueError: `state` or `episode_start` is of another shape.
            PolicyError: An action is not finite.
        """
        if self.memory_dims == 0:
            return super().predict(observation, state, episode_start, deterministic)
        self.set_training_mode(False)
        seen, is_batch = self.obs_to_tensor(observation)
        assert isinstance(seen, Tensor)  # the agent refuses Dict observations
        with torch.no_grad():
            action, memory = self._step(seen, self._memory(state, episode_start, len(seen)))
        actions = self.unscale_action(action.cpu().numpy())
        return actions if is_batch else actions[0], (memory.cpu().numpy(),)

    def _memory(
        self, state: tuple[NDArray[Any], ...] | None, episode_start: NDArray[Any] | None, count: int
    ) -> Tensor:
        """Return what is remembered in each of some environments: (count, H)."""
        shape = (count, self.memory_dims)
        if state is None:
            return torch.zeros(shape)
        memory = np.array(state[0] if isinstance(state, tuple) and len(state) == 1 else np.nan)
        if memory.shape != shape:
            raise ValueError(
                f"state must be what the last call of predict has returned for these {count} environments, "
                f"one array {shape} in a tuple, or None where episodes start; got {type(state).__name__}"
                f"{memory.shape if memory.ndim else ''}"
            )
        if episode_start is not None:
            starts = np.asarray(episode_start, dtype=bool)
            if starts.size != count:
                raise ValueError(f"episode_start must say it of {count} environments, got {starts.shape}")
            memory[starts.reshape(count)] = 0.0
        return torch.from_numpy(memory)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Act at the start of an episode; `predict` knows of later steps."""
        assert isinstance(observation, Tensor)  # the agent refuses Dict observations
        return self._step(observation, torch.zeros(len(observation), self.memory_dims))[0]

    def _step(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Act on observations (N, D) of whatever type; PolicyError if an action is not finite."""
        parameter = next(self.parameters())
        action, memory = self.act(observation.to(parameter.dtype), memory.to(parameter))
        require_finite_actions(action.cpu().numpy(), observation.cpu().numpy(), "predict")
        return action, memory

    def unscale_action(self, scaled_action: NDArray[Any]) -> NDArray[Any]:
        """Scale actions from [-1, 1] to the bounds of the action space, which rounding cannot leave."""
        low, high = self._bounds()
        center, half = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low  # neither can overflow
        within = np.clip(center + half * np.asarray(scaled_action, dtype=np.float64), low, high)
        result: NDArray[Any] = within.astype(self.action_space.dtype)
        return result

    def scale_action(self, action: NDArray[Any]) -> NDArray[np.float64]:
        """Scale actions from the bounds of the action space to [-1, 1]; 0 where the bounds are equal."""
        low, high = self._bounds()
        center, half = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
        scaled = (np.asarray(action, dtype=np.float64) - center) / np.where(half > 0, half, 1.0)
        result: NDArray[np.float64] = np.clip(scaled, -1.0, 1.0)
        return result

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the bounds of the action space, (U) each."""
        space = self.action_space
        assert isinstance(space, Box)
        return space.low.astype(np.float64), space.high.astype(np.float64)

    def save(self, path: str) -> None:
        """Refuse: Stable-Baselines3 would pickle the policy."""
        raise NotImplementedError("a policy is saved with its agent, as plain data: use ParticlePILCO.save")

    @classmethod
    def load(cls, path: str, device: torch.device | str = "auto") -> Self:
        """Refuse: Stable-Baselines3 would unpickle the file, which can run any code that it holds."""
        raise NotImplementedError(
            "a policy is loaded with its agent, from plain data that cannot run code: use ParticlePILCO.load "
            "and take its attribute `policy`"
        )
