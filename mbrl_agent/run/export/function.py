"""The whole function of a policy in torch: raw observations to actions in the units of the environment."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import pad

from mbrl_agent.policies.base import SearchPolicy

EXAMPLES = 3
"""Rows of the observations with which a function is traced; not one, which tracers take for a constant."""


class PolicyFunction(nn.Module):
    """Map raw observations (N, S) to actions (N, U) as `predict` does, but for its checks.

    Args:
        policy: At its own parameters; a copy is taken.
        dtype: In which it computes; None takes the policy's own.
        dims: Of which S dimensions observations consist; None takes those that the policy sees, which are all
            unless it remembers.
    """

    low: Tensor
    high: Tensor
    center: Tensor
    half_range: Tensor
    places: Tensor

    def __init__(
        self, policy: SearchPolicy, dtype: torch.dtype | None = None, dims: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        policy = copy.deepcopy(policy).cpu().requires_grad_(False)
        if dtype is not None:
            policy = policy.to(dtype)
        space = policy.action_space
        assert isinstance(space, spaces.Box)
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        self.action_dtype, self.memory_dtype = torch.from_numpy(space.low).dtype, torch.float32
        self.policy_dtype = next(policy.parameters()).dtype
        self.state_dims, self.action_dims = policy.state_dims, policy.action_dims
        dims = policy.seen_dims if dims is None else dims
        self.observation_dims, self.memory_dims = len(dims), policy.memory_dims
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(high))
        self.register_buffer("center", torch.from_numpy(0.5 * low + 0.5 * high))
        self.register_buffer("half_range", torch.from_numpy(0.5 * high - 0.5 * low))
        places = np.full(self.state_dims, self.observation_dims)
        places[list(dims)] = np.arange(self.observation_dims)
        self.register_buffer("places", torch.from_numpy(places))
        self._controller = policy.controller(policy.parameter_dict())
        self.eval()

    def forward(self, observation: Tensor, memory: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Map (N, S) to (N, U); with a memory, (N, S) and (N, H) to (N, U) and (N, H)."""
        state = observation.to(self.policy_dtype)
        if self.observation_dims < self.state_dims:
            state = pad(state, (0, 1)).index_select(-1, self.places)  # zero where the policy does not look
        if memory is None:
            return self._in_units(self._controller(state))
        found = self._controller(torch.cat([state, memory.to(self.policy_dtype)], dim=-1))
        following = found[..., self.action_dims :].to(self.memory_dtype)
        return self._in_units(found[..., : self.action_dims]), following

    def _in_units(self, action: Tensor) -> Tensor:
        """Scale actions in [-1, 1] to the units of the environment."""
        scaled = self.center + self.half_range * action.double()
        return torch.minimum(torch.maximum(scaled, self.low), self.high).to(self.action_dtype)

    def example(self) -> tuple[Tensor, ...]:
        """Return observations (N, S), and memory (N, H) if there is one, to trace the function with."""
        generator = torch.Generator().manual_seed(0)
        widths = (self.observation_dims, self.memory_dims)
        return tuple(
            torch.randn(EXAMPLES, width, generator=generator, dtype=torch.float32)
            for width in widths
            if width
        )
