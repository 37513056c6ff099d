"""The interface of policies that remember: what they do depends on all that they have seen of an episode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl_agent.policies.acting import Box
from mbrl_agent.policies.base import SearchPolicy


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
        observation_space: Box,
        action_space: Box,
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
        """Return the standardised features that the policy sees: (..., D or more) -> (..., len(seen))."""
        return self.standardized(state[..., : self.state_dims]).index_select(-1, self.seen)
