"""The interface of policies that remember: what they do depends on all that they have seen of an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.policies.base import SearchPolicy, require_finite_actions


class MemoryPolicy(SearchPolicy):
    """A policy with a memory of H numbers, which are zero at the start of an episode.

    Its `controller` is a function of states with the memory behind them, (*R, P, D + H), and returns actions
    with the memory of the next step behind them, (*R, P, U + H). So it is a policy like any other of states
    that contain the memory, which is how rollouts carry it (`mbrl_agent.search.memory`).

    Dimensions in which a state only remembers what was before are there for the model. The policy does not
    see them: it has a memory of its own.

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.
        copied_dims: Indices of the dimensions that remember. The agent gives them.

    Attributes:
        seen: Indices of the features that the policy sees, torch.long.

    Raises:
        ValueError: There is nothing else in a state.
    """

    seen: Tensor

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
        copied_dims: tuple[int, ...] = (),
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        self.seen_dims = tuple(dim for dim in self.seen_dims if dim not in copied_dims)
        features, angles = self.features, self.features.angle_dims
        owners = (*features.plain_dims, *angles, *angles)  # of each feature: the dimension it is made of
        seen = [index for index, dim in enumerate(owners) if dim in self.seen_dims]
        # on the policy's device, where a step can be captured as a CUDA graph; known anew, and not saved
        self.register_buffer("seen", torch.tensor(seen, dtype=torch.long, device="cpu"), persistent=False)
        if not seen:
            raise ValueError(f"copied_dims {copied_dims}: a policy must see some dimension of a state")

    def see(self, state: Tensor) -> Tensor:
        """Standardised features that the policy sees: (..., D or more) -> (..., len(seen))."""
        return self.standardized(state[..., : self.state_dims]).index_select(-1, self.seen)

    def predict(  # type: ignore[override]  # no Dict observations here
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Act, and say what to remember.

        Args:
            observation: (D), or (N, D) of N environments.
            state: What the call before has returned; None where episodes start.
            episode_start: (N), in which environments an episode starts: what was before is forgotten there.
            deterministic: Not used: there is no noise.

        Returns:
            Actions (U) or (N, U) in the units of the environment, and the state for the next call, one array
            (N, H) in a tuple.

        Raises:
            ValueError: `state` or `episode_start` is of another shape.
            PolicyError: An action is not finite.
        """
        self.set_training_mode(False)
        seen, is_batch = self.obs_to_tensor(observation)
        assert isinstance(seen, Tensor)  # the agent refuses Dict observations
        parameter = next(self.parameters())
        memory = self._memory(state, episode_start, len(seen)).to(parameter)
        with torch.no_grad():
            action, memory = self.act(seen.to(parameter.dtype), memory)
        require_finite_actions(action.cpu().numpy(), seen.cpu().numpy(), "predict")
        actions = self.unscale_action(action.cpu().numpy())
        return actions if is_batch else actions[0], (memory.cpu().numpy(),)

    def _memory(
        self, state: tuple[NDArray[Any], ...] | None, episode_start: NDArray[np.bool_] | None, count: int
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

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """Act at the start of an episode; `predict` knows of later steps."""
        start = observation.new_zeros(len(observation), self.memory_dims)
        return self.act(observation, start)[0]
